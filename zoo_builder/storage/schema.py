"""Names, columns and version of the format. Every other file of this room builds on these.

zoo.json                                       manifest, written last
splits.json                                    task id -> split, and the rule that made it
metadata/<split>.parquet                       one row a checkpoint
weights/<split>-00003-of-00016.safetensors     one tensor a parameter, models stacked on axis 0
rollouts/<split>-00003-of-00016.safetensors    "inputs" uint8, and "labels" where inputs have some
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.errors import RnnzooError

FORMAT_VERSION = 1
NAME = "^[a-z][a-z0-9_]{0,79}$"
"""The form of the names of zoos and presets."""
MOST_CHECKPOINTS = 127
"""Of a run: the column step_index counts them in int8."""
MANIFEST = "zoo.json"
SPLITS_FILE = "splits.json"
BUILD_FOLDER = ".build"
"""Plan, records of finished shards and saved states of a build under way; gone once the zoo is finished."""
ROOMS = (BUILD_FOLDER, "metadata", "weights", "rollouts")
"""The folders in the folder of a zoo."""
FILE_NAME = re.compile(
    r"splits\.json|metadata/[a-z]+\.parquet|(weights|rollouts)/[a-z]+-[0-9]{5,9}-of-[0-9]{5,9}\.safetensors"
)
"""The only names a manifest may list: none of them leads out of the zoo's folder."""
SYSTEM_FILES = re.compile(
    r"\..*|lost\+found|@eaDir|Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information"
)
"""What systems leave in folders by themselves: hidden files, and those that another system would hide."""


def names_in(folder: Path, names: re.Pattern[str]) -> list[str]:
    """The files below a folder whose whole names, with the folders before them, are of a pattern, sorted.

    All others are none of ours: notes of a user, what a system leaves.
    """
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if names.fullmatch(name))


def shard_name(split: str, index: int, count: int) -> str:
    """Name of a shard without folder and ending: 'train-00003-of-00016'."""
    return f"{split}-{index:05d}-of-{count:05d}"


def weights_file(shard: str) -> str:
    return f"weights/{shard}.safetensors"


def rollouts_file(shard: str) -> str:
    return f"rollouts/{shard}.safetensors"


def shard_of(weights_file: str) -> str:
    """'weights/train-00000-of-00002.safetensors' -> 'train-00000-of-00002'"""
    return PurePosixPath(weights_file).stem


def rollouts_of(weights_file: str) -> str:
    """'weights/train-00000-of-00002.safetensors' -> 'rollouts/train-00000-of-00002.safetensors'"""
    return rollouts_file(shard_of(weights_file))


def metadata_file(split: str) -> str:
    return f"metadata/{split}.parquet"


_COLUMNS: list[tuple[str, pa.DataType, str]] = [
    ("checkpoint_id", pa.string(), "run_id and step, unique in the zoo"),
    ("run_id", pa.string(), "one training from one seed"),
    ("task_id", pa.string(), "what the RNN learned; splits go by it"),
    ("split", pa.string(), "train, validation, test or ood"),
    ("paper_split", pa.string(), "train, validation or ood, as the code of the 2024 paper splits the tasks"),
    ("step", pa.int32(), "updates taken; 0 is the initialisation"),
    ("step_index", pa.int8(), "number of the checkpoint within its run"),
    ("accuracy", pa.float64(), "probability of writing a right string, or share of answers that are right"),
    ("accuracy_error", pa.float32(), "standard error of accuracy; 0 where nothing was drawn for it"),
    ("train_loss", pa.float32(), "mean cross-entropy on training items at these weights"),
    ("train_loss_error", pa.float32(), "standard error of train_loss; 0 where it is of all training items"),
    ("eval_loss", pa.float32(), "mean cross-entropy on evaluation items at these weights"),
    ("eval_loss_error", pa.float32(), "standard error of eval_loss; 0 where it is of all evaluation items"),
    ("rollout_loss", pa.float32(), "mean cross-entropy on the stored rollouts"),
    ("diverged", pa.bool_(), "a weight is not finite; losses are NaN and accuracy is 0"),
    ("seed", pa.int64(), "the run's own seed"),
    ("learning_rate", pa.float32(), "the schedule's first rate times the run's scale"),
    ("learning_rate_scale", pa.float32(), "factor on the schedule, drawn from the run's seed"),
    ("weight_decay", pa.float32(), "AdamW's weight decay, drawn from the run's seed"),
    ("batch_size", pa.int32(), "sequences of a training step, with a factor drawn from the run's seed"),
    ("initial_scale", pa.float32(), "factor on the initial weights, drawn from the run's seed"),
    (
        "data_fraction",
        pa.float32(),
        "share of its task's training items that the run trains on, drawn from its seed",
    ),
    ("cell", pa.string(), "kind of recurrent cell"),
    ("num_layers", pa.int16(), "recurrent layers"),
    ("hidden_size", pa.int16(), "hidden units a layer"),
    ("input_size", pa.int16(), "inputs a step"),
    ("output_size", pa.int16(), "outputs a step"),
    ("num_parameters", pa.int32(), "weights of one model"),
    ("shard", pa.string(), "file of the weights"),
    ("row", pa.int32(), "row in that file"),
    ("rollout_row", pa.int32(), "row in the rollouts file of the same name"),
    ("sha256", pa.string(), "of the row's weights: little-endian float32, in the order of the layout"),
    (
        "tensors_sha256",
        pa.string(),
        "the first 16 digits of the sha256 of each parameter of the row, in the order of the layout",
    ),
    (
        "rollout_sha256",
        pa.string(),
        "of the row's rollouts, after the JSON of the names and shapes of their tensors",
    ),
]


LATER = ("tensors_sha256", "rollout_sha256")
"""Columns that zoos lack which were built before there were any: they are read as they are."""
NULLABLE = ("seed", "batch_size")
"""Whole numbers that may be unknown of a zoo that was imported."""


def current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, its fields as they are called now: version 0.1 called `source` `images`."""
    return {"source" if name == "images" else name: value for name, value in config.items()}


def metadata_schema(family_schema: pa.Schema) -> pa.Schema:
    """The columns of every zoo, followed by those of its task family."""
    return pa.schema([*(column(*described) for described in _COLUMNS), *family_schema])


def stored_numbers(field: pa.Field, values: ArrayLike) -> NDArray[Any]:
    """Numbers as a column stores them, in its precision: [M], or [M, K] of a column of lists.

    Raises:
        RnnzooError: A column of whole numbers or truth values cannot hold one of them.
    """
    kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
    given = np.asarray(values)
    with np.errstate(invalid="ignore"):
        stored = given.astype(kind.to_pandas_dtype())
    if not pa.types.is_floating(kind) and (other := stored != given).any():
        raise RnnzooError(f"{field.name}: found {given[other].flat[0]}, expected {field.type}")
    return stored


def check_columns(table: pa.Table, where: str, names: Sequence[str] | None = None) -> None:
    """Raise RnnzooError unless a table has the columns of every zoo, of the right types and without gaps.

    names: only these are looked at.
    """
    for name, kind, _ in _COLUMNS:
        if names is not None and name not in names:
            continue
        if name not in table.column_names:
            if name in LATER:
                continue
            raise RnnzooError(f"{where}: found no column {name!r}")
        if (found := table.schema.field(name).type) != kind:
            raise RnnzooError(f"{where}: column {name!r}: found {found}, expected {kind}")
        if name not in NULLABLE and (empty := table[name].null_count):
            raise RnnzooError(f"{where}: column {name!r}: found {empty} rows without a value")

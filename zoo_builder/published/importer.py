"""Turns the arrays of the original release into a zoo.

What the arrays do not say stays unknown: `seed` is null; learning rate and its scale are NaN, and so is the weight
decay where neither args.json nor the family's arrays have it. Of RNNs that write, losses are computed from the
items of their tasks, accuracies from the task's words or the stored strings; of others they are the published
ones, and their standard errors NaN.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

import rnnzoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.published.arrays import MENDED, PublishedArrays, open_published
from rnnzoo.zoo_builder.rnn import unflatten_weights
from rnnzoo.zoo_builder.rollouts import loss_columns, rollout_losses, rollout_outputs, string_scores
from rnnzoo.zoo_builder.splits import SPLITS, Splits, assign_splits, count_tasks
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import write_contents
from rnnzoo.zoo_builder.storage.digest import (
    ZooDigest,
    checkpoint_hashes,
    config_digest,
    contents_share,
    join_contents,
    one_nan,
)
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, SplitEntry, write_manifest
from rnnzoo.zoo_builder.storage.schema import MOST_CHECKPOINTS
from rnnzoo.zoo_builder.storage.shards import METADATA_KEY, encode_note
from rnnzoo.zoo_builder.storage.writing import check_new, new_folder, replacing, write_json
from rnnzoo.zoo_builder.tasks.exact import estimate
from rnnzoo.zoo_builder.tasks.family import Task
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.zoos import IMPORTED, metadata_columns

RUNS_PER_SHARD = 64
MOST_RUNS, MOST_STEPS = 10**9, 2**31
"""What the metadata's columns hold, and more than anybody has."""
LARGEST_OUTPUT = float(np.finfo(np.float16).max)
"""Beyond it stored outputs are infinite."""
UNKNOWN = (
    "learning_rate",
    "learning_rate_scale",
    "initial_scale",
    "data_fraction",
    "rollout_loss",
    "accuracy_error",
    "train_loss_error",
    "eval_loss_error",
)
"""Columns of numbers that arrays may not say."""
SPLIT_SEED = 0
TOLERANCE, RELATIVE_TOLERANCE = 0.05, 0.01
"""How far stored outputs, float16 from another machine, may lie from ours. Other weights lie far beyond."""
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Imported:
    """A zoo that was imported.

    Attributes:
        manifest: Its manifest.
        largest_difference: The largest difference between a stored output and the one computed from the weights.
        not_finite: Checkpoints with weights that are not finite, whose outputs were not compared.
        mended: How many sequences the published program had damaged as it stored them.
        damage: What it had done to them, for people.
    """

    manifest: Manifest
    largest_difference: float
    not_finite: int
    mended: int
    damage: str


def import_published(
    published: Path, out: Path, kernel: Kernel | None = None, progress: Progress = lambda rows: None
) -> Imported:
    """Write the zoo of the arrays in `published` to the new folder `out`.

    Args:
        published: The folder of the arrays.
        out: The folder of the zoo, which must not exist yet.
        kernel: What scores the models. None stands for plain torch.
        progress: Called with the number of rows done since the last call.

    Raises:
        RnnzooError: The arrays do not fit together, their outputs are not those of the weights, or `out` exists or
            cannot be written.
    """
    from rnnzoo.zoo_builder.training.kernels import TorchKernel

    check_new(out)
    arrays = open_published(published)
    with new_folder(out) as folder:
        imported = _Import(arrays, folder, kernel or TorchKernel(), progress).write()
    return imported


class _Import:
    """The work on one folder of arrays."""

    def __init__(self, arrays: PublishedArrays, folder: Path, kernel: Kernel, progress: Progress) -> None:
        self.arrays, self.folder, self.kernel, self.progress = arrays, folder, kernel, progress
        self.family, self.form = arrays.family, arrays.form
        self.rows, self.steps = _runs(arrays)
        self.tasks = {run: _task(arrays, rows) for run, rows in self.rows.items()}
        self.splits: Splits = assign_splits(self.family, list(self.tasks.values()), SPLIT_SEED)
        self.largest_difference = 0.0
        self.not_finite = 0
        self.shares: list[str] = []
        self.config = self._config()

    def write(self) -> Imported:
        files: dict[str, FileEntry] = {}
        entries = {}
        members: dict[str, list[int]] = defaultdict(list)
        for run, task in self.tasks.items():
            members[self.splits.split[task.task_id]].append(run)
        for split in SPLITS:
            runs = members[split]
            groups = [runs[first : first + RUNS_PER_SHARD] for first in range(0, len(runs), RUNS_PER_SHARD)]
            names = [schema.shard_name(split, number, len(groups)) for number in range(len(groups))]
            tables = [self._write_shard(name, split, group) for name, group in zip(names, groups, strict=True)]
            columns = metadata_columns(self.config)
            table = pa.concat_tables(tables) if tables else columns.empty_table()
            table = table.replace_schema_metadata({METADATA_KEY: encode_note({"split": split, "zoo": self.zoo})})
            with replacing(self.folder / schema.metadata_file(split)) as parquet:
                pq.write_table(table, parquet, compression="zstd")
            rooms = [room(name) for name in names for room in (schema.weights_file, schema.rollouts_file)]
            for file in (*rooms, schema.metadata_file(split)):
                files[file] = FileEntry.of(self.folder / file)
            tasks = count_tasks(self.splits)[split]
            entries[split] = SplitEntry(tasks=tasks, runs=len(runs), checkpoints=len(table), shards=names)
        write_json(self.folder / schema.SPLITS_FILE, self.splits.to_dict(SPLIT_SEED))
        files[schema.SPLITS_FILE] = FileEntry.of(self.folder / schema.SPLITS_FILE)
        digest = ZooDigest(IMPORTED, config_digest(self.config), join_contents(self.shares))
        libraries = {library: version(library) for library in ("torch", "numpy", "pyarrow", "safetensors")}
        built_with = {"imported by rnnzoo": rnnzoo.__version__, **libraries}
        manifest = Manifest.of(
            self.config, self.arrays.spec, self.family.encoding, digest, built_with, entries, files
        )
        write_manifest(self.folder, manifest)
        return Imported(manifest, self.largest_difference, self.not_finite, self.config[MENDED], self.form.damage)

    @property
    def zoo(self) -> str:
        return self.form.zoo

    @property
    def source(self) -> str | None:
        return self.family.zoos[self.zoo].source

    def _config(self) -> dict[str, Any]:
        """What is known of how the zoo was made; it is no config that a build could repeat."""
        return {
            "zoo": self.zoo,
            "preset": IMPORTED,
            "family": self.family.name,
            "source": self.source,
            "runs": len(self.rows),
            "steps": self.steps[-1],
            "checkpoints": self.steps,
            "seed": None,
            "rollouts": self.arrays.sequences.shape[1],
            "published_args": self.arrays.args,
            MENDED: 0,
        }

    def _write_shard(self, name: str, split: str, runs: list[int]) -> pa.Table:
        """Write the weights and rollouts of some runs, sorted by (step, run); returns their metadata."""
        where = np.stack([self.rows[run] for run in runs], axis=1).reshape(-1)
        flat = one_nan(np.array(self.arrays.parameters[where], dtype=np.float32))
        inputs = self._inputs(where)
        self._check_outputs(where, flat, inputs)
        stored = write_contents(self.folder, self.zoo, name, self.arrays.spec, flat, {"inputs": inputs})
        scores = self._scores(runs, flat, inputs) if self.family.generates else [{}] * len(where)
        column = self.family.source_column
        rows = []
        for number, (step, run) in enumerate((step, run) for step in self.steps for run in runs):
            task = self.tasks[run]
            rows.append(
                {
                    "checkpoint_id": f"run-{run:06d}-step-{step:06d}",
                    "run_id": f"run-{run:06d}",
                    "task_id": task.task_id,
                    "split": split,
                    "paper_split": self.splits.paper_split[task.task_id],
                    "step": step,
                    "step_index": self.steps.index(step),
                    **({} if column is None else {column.name: self.source}),
                    **stored[number],
                    **task.columns(),
                    **self._known(where[number]),
                    **scores[number],
                }
            )
        self.progress(len(rows))
        table = pa.Table.from_pylist(rows, schema=metadata_columns(self.config))
        hashes = checkpoint_hashes(table, table["sha256"].to_pylist(), {"inputs": inputs})
        self.shares.append(contents_share(hashes))
        return table

    def _known(self, row: int) -> dict[str, Any]:
        """What the arrays say of a row besides weights and rollouts."""
        decay = self.arrays.args.get("weight_decay")
        unknown = {**dict.fromkeys(schema.NULLABLE), **dict.fromkeys(UNKNOWN, np.nan)}
        known = {"weight_decay": decay if isinstance(decay, float) else np.nan}
        scores = None if self.arrays.scores is None else self.arrays.scores[row]
        task, numbers = self.arrays.tasks[row], self.arrays.numbers[row]
        return unknown | known | dict(self.form.read_scores(task, numbers, scores))

    def _scores(
        self, runs: list[int], flat: NDArray[np.float32], inputs: NDArray[np.uint8]
    ) -> list[dict[str, Any]]:
        """Losses, and scores of words and of the stored strings; a row each, in the shard's order."""
        spec, encoding, family = self.arrays.spec, self.family.encoding, self.family.load(self.source)
        weights = torch.from_numpy(flat)
        losses = rollout_losses(self.kernel, spec, encoding, weights, inputs)
        tasks = [self.tasks[run] for _ in self.steps for run in runs]
        scores = string_scores(self.kernel, spec, family, tasks, weights, inputs)
        for place, run in enumerate(runs):
            task, mine = self.tasks[run], slice(place, None, len(runs))
            words = family.items[family.evaluation_items(task)]
            words = np.broadcast_to(words, (len(self.steps), *words.shape))
            eval_losses = rollout_losses(self.kernel, spec, encoding, weights[mine].contiguous(), words)
            for row, loss in zip(range(len(flat))[mine], eval_losses, strict=True):
                exact = estimate([loss], population=1)
                scores[row] |= loss_columns(exact, exact) | {"rollout_loss": losses[row]}
        return scores

    def _inputs(self, where: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The stored sequences as bytes [N, R, F]."""
        try:
            items, mended = self.form.read_items(np.array(self.arrays.sequences[where]))
        except ValueError as error:
            raise RnnzooError(f"{self.arrays.folder / 'sequences.npy'}: {error}") from error
        self.config[MENDED] += mended
        return items

    def _check_outputs(
        self, where: NDArray[np.int64], flat: NDArray[np.float32], inputs: NDArray[np.uint8]
    ) -> None:
        """Compare the outputs of finite models along their sequences with the stored ones."""
        weights = unflatten_weights(self.arrays.spec, torch.from_numpy(flat))
        named = {name: tensor.numpy() for name, tensor in weights.items()}
        for rows, logits in rollout_outputs(self.family.encoding, named, inputs):
            outputs = (logits.log_softmax(dim=-1) if self.form.log_softmax else logits).numpy()
            outputs = outputs.clip(-LARGEST_OUTPUT, LARGEST_OUTPUT)
            stored = np.array(self.arrays.logits[where[rows]], np.float32).clip(-LARGEST_OUTPUT, LARGEST_OUTPUT)
            difference = np.abs(outputs - stored)
            not_finite = ~np.isfinite(flat[rows]).all(axis=1)
            self.not_finite += int(not_finite.sum())
            difference[not_finite] = 0
            allowed = TOLERANCE + RELATIVE_TOLERANCE * np.abs(stored)
            wrong = ~(difference <= allowed).reshape(len(difference), -1).all(axis=1)
            if wrong.any():
                row = where[rows][wrong][0]
                raise RnnzooError(
                    f"{self.arrays.folder / 'logits.npy'}: row {row}: found outputs up to {difference.max():.3g} "
                    f"away from those of the weights in parameters.npy, expected at most {TOLERANCE}"
                )
            self.largest_difference = max(self.largest_difference, float(difference.max()))


def _runs(arrays: PublishedArrays) -> tuple[dict[int, NDArray[np.int64]], list[int]]:
    """Run -> its rows by step, and the steps, which must be the same for all runs."""
    order = np.lexsort((arrays.step, arrays.run))
    numbers, starts = np.unique(arrays.run[order], return_index=True)
    rows = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
    steps = arrays.step[next(iter(rows.values()))]
    for run, where in rows.items():
        found = arrays.step[where]
        fits = 0 <= run < MOST_RUNS and found[0] >= 0 and found[-1] < MOST_STEPS and len(found) <= MOST_CHECKPOINTS
        if not fits or not np.array_equal(found, steps) or (np.diff(found) <= 0).any():
            raise RnnzooError(
                f"{arrays.folder}: run {run} has steps {found.tolist()}, expected {steps.tolist()}, each once, as "
                f"run {numbers[0]}"
            )
    return rows, steps.tolist()


def _task(arrays: PublishedArrays, rows: NDArray[np.int64]) -> Task:
    """The task of a run, the same in all its rows."""
    path, found = arrays.folder / arrays.form.tasks.file, np.array(arrays.tasks[rows])
    if (found != found[0]).any():
        raise RnnzooError(f"{path}: rows {rows.tolist()} are of one run, found several tasks")
    try:
        return arrays.form.read_task(found[0])
    except ValueError as error:
        raise RnnzooError(f"{path}: row {rows[0]}: {error}") from error

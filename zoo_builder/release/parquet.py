"""The Parquet files of a release: what stock `datasets`, DuckDB and Polars read.

    data/<split>-00000-of-00003.parquet            metadata and flat weights, a row a checkpoint
    data_rollouts/<split>-00000-of-00001.parquet   the sequences that go with them
    data_outputs/<split>-00000-of-00002.parquet    the log-probabilities along those sequences

Rows stand in the order of the metadata. Beside rollouts stands what viewers of tables show of a row
(`TaskFamily.shown_column`); beside weights too, where each checkpoint has rollouts of its own. Lists are flat
and of fixed size: nested ones are corrupted by pyarrow when a stream of them is shuffled. What shape a list has
is written in the file's header.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import PICTURE, column
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rollouts import rollout_outputs
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import Shard, read_shard, row_sha256
from rnnzoo.zoo_builder.tasks import find_family
from rnnzoo.zoo_builder.tasks.encodings import encoding_of

if TYPE_CHECKING:
    from datasets import Features

FOLDERS = {"default": "data", "rollouts": "data_rollouts", "outputs": "data_outputs"}
"""Config -> folder of its files. The config `metadata` is the zoo's own `metadata/<split>.parquet`."""
FILE_BYTES = 200_000_000
"""A file is closed before its uncompressed lists outgrow this."""
GROUP_BYTES = 2_000_000
"""A row group holds whole checkpoint steps of a shard, as many as it takes to reach this."""
SHOWN_SEQUENCES = 20
"""Of a row's rollouts, in the column that viewers of tables show."""


@dataclass(frozen=True)
class Piece:
    """One row group to be: a table of everything but the lists, and the rows of a shard it stands for."""

    table: pa.Table
    shard: str
    rows: slice


@dataclass(frozen=True)
class Kind:
    """One config's kind of file.

    schema: all columns. made: those columns of a piece that are not in its table, by name. layout: what the lists
    hold, for the header.
    """

    schema: pa.Schema
    made: Callable[[Piece], dict[str, pa.Array]]
    layout: dict[str, Any]

    @property
    def row_bytes(self) -> int:
        """Uncompressed bytes of a row's lists."""
        fields = [field.type for field in self.schema if pa.types.is_fixed_size_list(field.type)]
        return sum(kind.list_size * kind.value_type.bit_width // 8 for kind in fields)


class ZooTables:
    """The tables of a finished zoo, split by split, config by config."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.spec = manifest.rnn_spec()
        self.family = find_family(manifest.config["family"])
        self.metadata = {name: read_table(file_in(folder, schema.metadata_file(name))) for name in manifest.splits}
        self.splits = [name for name, table in self.metadata.items() if len(table)]

    @property
    def are_released(self) -> bool:
        """Whether the folder is a release, and has them as files."""
        return (self.folder / FOLDERS["default"]).is_dir()

    @property
    def configs(self) -> list[str]:
        """Names of the configs; `outputs` is one where it was written."""
        has_outputs = (self.folder / FOLDERS["outputs"]).is_dir()
        return ["default", "metadata", "rollouts", *(["outputs"] if has_outputs else [])]

    def schema(self, config: str) -> pa.Schema:
        """The columns of a config, with their descriptions."""
        return self.metadata[self.splits[0]].schema if config == "metadata" else self.kind(config).schema

    def kind(self, config: str) -> Kind:
        """How the files of a config look."""
        return {"default": self._weights, "rollouts": self._rollouts, "outputs": self._outputs}[config]()

    def pieces(self, config: str, split: str, row_bytes: int) -> Iterator[Piece]:
        """The row groups of a split: steps of one shard, in order, for lists of so many bytes a row."""
        table = self.metadata[split]
        if config == "rollouts" and self.rollouts_are_shared:
            table = table.filter(np.array(table["step_index"]) == 0)
        shards, steps = table["shard"].to_pylist(), table["step"].to_numpy()
        first, start_of_shard = 0, 0
        for row in range(1, len(table) + 1):
            ends = row == len(table) or shards[row] != shards[first]
            if ends or (steps[row] != steps[row - 1] and (row - first) * row_bytes >= GROUP_BYTES):
                rows = slice(first - start_of_shard, row - start_of_shard)
                yield Piece(table.slice(first, row - first), schema.shard_of(shards[first]), rows)
                first = row
                start_of_shard = row if ends else start_of_shard

    @cached_property
    def rollouts_are_shared(self) -> bool:
        """Whether all checkpoints of a run have the same sequences: a run's row is then there once."""
        rows = [table["rollout_row"].to_numpy() != table["row"].to_numpy() for table in self.metadata.values()]
        return bool(np.concatenate(rows).any())

    def shard(self, name: str, room: str = "weights") -> Shard:
        return read_shard(file_in(self.folder, f"{room}/{name}.safetensors"))

    def _weights(self) -> Kind:
        fields = list(self.metadata[self.splits[0]].schema)
        if not self.rollouts_are_shared:
            fields.insert(1 + [field.name for field in fields].index("task_id"), self.family.shown_column)
        length = self.spec.num_parameters
        weights = column("weights", pa.list_(pa.float32(), length), f"all {length} parameters, see the layout")
        return Kind(pa.schema([*fields, weights]), self._made_of_weights, {"weights": self.manifest.layout})

    def _made_of_weights(self, piece: Piece) -> dict[str, pa.Array]:
        tensors = self.shard(piece.shard).tensors
        named = [tensors[parameter.name][piece.rows] for parameter in self.spec.parameters]
        flat = np.concatenate([tensor.reshape(len(tensor), -1) for tensor in named], axis=1)
        shown = {} if self.rollouts_are_shared else self._shown(self._sequences(piece)["inputs"])
        return shown | {"weights": _lists(flat)}

    def _sequences(self, piece: Piece) -> dict[str, NDArray[np.uint8]]:
        """The rollouts of a piece: "inputs" [rows, R, F], and "labels" [rows, R] where there are some."""
        where = piece.table["rollout_row"].to_numpy()
        return {name: tensor[where] for name, tensor in self.shard(piece.shard, "rollouts").tensors.items()}

    def _shown(self, inputs: NDArray[np.uint8]) -> dict[str, pa.Array]:
        field = self.family.shown_column
        values = [self.family.show(sequences[:SHOWN_SEQUENCES]) for sequences in inputs]
        return {field.name: pa.array(values, field.type)}

    def _rollouts(self) -> Kind:
        table = self.metadata[self.splits[0]]
        tensors = self.shard(schema.shard_of(table["shard"][0].as_py()), "rollouts").tensors
        fields = [*(table.schema.field(name) for name in self._rollout_columns()), self.family.shown_column]
        described = {
            "inputs": f"the sequences, one after the other: {self.family.items_text}",
            "labels": f"of each sequence: {self.family.labels_text}",
        }
        for name, tensor in tensors.items():
            fields.append(column(name, pa.list_(pa.uint8(), int(np.prod(tensor.shape[1:]))), described[name]))
        layout = {name: list(tensor.shape[1:]) for name, tensor in tensors.items()}
        return Kind(pa.schema(fields), self._made_of_rollouts, layout | {"encoding": self.manifest.encoding})

    def _rollout_columns(self) -> list[str]:
        """Who wrote or saw the sequences: a checkpoint, or a run; and the columns that tell its task."""
        who = ["run_id"] if self.rollouts_are_shared else ["checkpoint_id", "run_id", "step"]
        return [*who, "task_id", *self.family.task_columns.names]

    def _made_of_rollouts(self, piece: Piece) -> dict[str, pa.Array]:
        sequences = self._sequences(piece)
        flat = {name: _lists(tensor.reshape(len(tensor), -1)) for name, tensor in sequences.items()}
        return flat | self._shown(sequences["inputs"])

    def _outputs(self) -> Kind:
        table = self.metadata[self.splits[0]]
        inputs = self.shard(schema.shard_of(table["shard"][0].as_py()), "rollouts").tensors["inputs"]
        encoding = encoding_of(self.manifest.encoding)
        shape = (inputs.shape[1], encoding.steps(inputs.shape[2]), self.spec.output_size)
        text = "log-probabilities [sequence, step, output] along the rollouts, recomputed"
        outputs = column("log_probabilities", pa.list_(pa.float16(), int(np.prod(shape))), text)
        fields = [table.schema.field(name) for name in ("checkpoint_id", "run_id", "step", "task_id")]
        layout = {"log_probabilities": list(shape)}
        return Kind(pa.schema([*fields, outputs]), self._made_of_outputs, layout)

    def _made_of_outputs(self, piece: Piece) -> dict[str, pa.Array]:
        weights = {name: tensor[piece.rows] for name, tensor in self.shard(piece.shard).tensors.items()}
        inputs = self._sequences(piece)["inputs"]
        found = [
            logits.log_softmax(dim=-1).flatten(1).half().numpy()
            for _, logits in rollout_outputs(encoding_of(self.manifest.encoding), weights, inputs)
        ]
        return {"log_probabilities": _lists(np.concatenate(found))}


def write_config(
    tables: ZooTables, config: str, out: Path, on_rows: Callable[[int], None], file_bytes: int = FILE_BYTES
) -> None:
    """Write the files of a config: every split that has rows.

    Args:
        tables: The tables of the zoo.
        config: Name of the config.
        out: The folder of the release. The files go into the config's folder below it.
        on_rows: Called after each row group with the number of its rows.
        file_bytes: Bytes of lists at which a new file begins.
    """
    kind = tables.kind(config)
    for split in tables.splits:
        files = _files_of(list(tables.pieces(config, split, kind.row_bytes)), kind.row_bytes, file_bytes)
        for number, pieces in enumerate(files):
            path = out / FOLDERS[config] / f"{schema.shard_name(split, number, len(files))}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, kind, pieces, on_rows)


def _files_of(pieces: list[Piece], row_bytes: int, file_bytes: int) -> list[list[Piece]]:
    files: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        size = len(piece.table) * row_bytes
        if not files or size > room:
            files.append([])
            room = file_bytes
        files[-1].append(piece)
        room -= size
    return files


def write_file(path: Path, kind: Kind, pieces: Sequence[Piece], on_rows: Callable[[int], None]) -> None:
    """Write one file of a config, a row group a piece."""
    lists = [field.name for field in kind.schema if pa.types.is_fixed_size_list(field.type)]
    wide = [name for name in lists if name not in pieces[0].table.column_names]
    # Bytes of floats compress when they are sorted by their place: all the exponents, then all the mantissas.
    streams = [
        f"{name}.list.element" for name in wide if not pa.types.is_uint8(kind.schema.field(name).type.value_type)
    ]
    note = json.dumps(kind.layout, sort_keys=True)
    layout = kind.schema.with_metadata({**features_of(kind.schema).arrow_schema.metadata, "rnnzoo": note})
    with pq.ParquetWriter(
        path,
        layout,
        compression="zstd",
        use_dictionary=[name for name in kind.schema.names if name not in lists],
        use_byte_stream_split=streams,
        write_page_index=True,
        use_content_defined_chunking=True,  # so that a new version shares most of its chunks on the hub
    ) as writer:
        for piece in pieces:
            made = kind.made(piece)
            columns = [
                made[name] if name in made else piece.table[name].combine_chunks() for name in kind.schema.names
            ]
            writer.write_table(pa.table(columns, schema=layout), row_group_size=len(piece.table))
            on_rows(len(piece.table))


def _lists(values: NDArray[Any]) -> pa.Array:
    """Rows [N, length] as lists of fixed size."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def features_of(schema: pa.Schema) -> Features:
    """The columns as `datasets` reads them."""
    from datasets import Features, Image

    generic = Features.from_arrow_schema(schema.remove_metadata())
    return Features({field.name: Image() if field.type == PICTURE else generic[field.name] for field in schema})


def check_weights(tables: ZooTables, out: Path, on_rows: Callable[[int], None]) -> int:
    """Read the written weights back, and compare the bits and metadata of every row with those of the zoo.

    Args:
        tables: The tables of the zoo.
        out: The folder of the release.
        on_rows: Called with the number of rows compared since the last call.

    Returns:
        The number of rows.

    Raises:
        RnnzooError: A row differs. The error names file and checkpoint of the first.
    """
    count = 0
    for split in tables.splits:
        expected, done = tables.metadata[split], 0
        for path in sorted((out / FOLDERS["default"]).glob(f"{split}-*.parquet")):
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                same = expected.slice(done, len(table))
                flat = table["weights"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
                for checkpoint, sha256, row in zip(
                    same["checkpoint_id"].to_pylist(), same["sha256"].to_pylist(), flat, strict=True
                ):
                    if row_sha256(row) != sha256:
                        raise RnnzooError(f"{path}: {checkpoint}: its weights are not those of the zoo")
                _check_same_columns(path, table.drop_columns("weights"), same)
                done += len(table)
                on_rows(len(table))
        if done != len(expected):
            raise RnnzooError(f"{out}: split {split}: found {done} rows of weights, expected {len(expected)}")
        count += done
    return count


def _check_same_columns(path: Path, found: pa.Table, expected: pa.Table) -> None:
    for name in expected.column_names:
        ours, theirs = (table[name].combine_chunks().to_pylist() for table in (found, expected))
        if any(a != b and not (a != a and b != b) for a, b in zip(ours, theirs, strict=True)):
            raise RnnzooError(f"{path}: column {name}: not that of the zoo's metadata")

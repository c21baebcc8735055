"""Shards as Arrow: the weights stay where they are, mapped into memory or as they came from the hub.

A parameter lies in a shard as one block [N, *shape], which is also how Arrow lays out the numbers of a column of N
lists. So a shard becomes columns of a table without a byte being copied.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from numpy.typing import NDArray

from rnnzoo.loaders.reading.formats import features_of, tensor_feature, tensor_type
from rnnzoo.loaders.reading.selection import Selection
from rnnzoo.loaders.source.base import PendingRows, Rows, Source, TensorFile
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.contents import (
    check_rollout_hashes,
    check_rollouts,
    check_weight_hashes,
    check_weights,
)
from rnnzoo.zoo_builder.storage.schema import rollouts_of

ROLLOUT_COLUMN = "rollout_{}"
"""Columns of the rollouts: "rollout_inputs" and, where there are any, "rollout_labels"."""
LARGEST_OFFSET = 2**31 - 1
"""Numbers in a list of lists of Arrow, at most."""
SHORT_RUN = 8
"""Runs that are shorter than this on average are copied together: so many small Arrow arrays cost more."""


@dataclass(frozen=True)
class ShardRows:
    """Rows of one shard: its weights file, how many models it holds, and the metadata of the wanted rows."""

    name: str
    models: int
    metadata: pa.Table

    def __reduce__(self) -> tuple[Any, ...]:
        """With its own rows: Arrow would pickle all of the table that they are a slice of, with every shard."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.metadata.schema) as stream:
            stream.write_table(self.metadata)
        return _unpickled, (self.name, self.models, sink.getvalue().to_pybytes())


def _unpickled(name: str, models: int, metadata: bytes) -> ShardRows:
    return ShardRows(name, models, pa.ipc.open_stream(metadata).read_all())


def split_by_shard(metadata: pa.Table, rows: NDArray[np.int64] | None = None) -> list[ShardRows]:
    """The shards of a split's metadata, those that hold any of `rows` (None: all), with those rows of theirs."""
    names, edges = runs_of_names(metadata["shard"])
    models = dict(zip(names, np.diff(edges).tolist(), strict=True))
    if rows is not None:
        metadata = metadata.take(pa.array(rows)).combine_chunks()
        names, edges = runs_of_names(metadata["shard"])
    return [
        ShardRows(name, models[name], metadata.slice(start, end - start))
        for name, (start, end) in zip(names, pairwise(edges.tolist()), strict=True)
    ]


def runs_of_names(names: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The names that stand there, each in one run of rows, and the edges [K + 1] of those runs."""
    runs = pc.run_end_encode(names.combine_chunks())
    return runs.values.to_pylist(), np.concatenate([[0], runs.run_ends.to_numpy()]).astype(np.int64)


def rows_fingerprint(zoo: str, shards: Iterable[ShardRows]) -> str:
    """16 hexadecimal digits for these rows in this order, of the zoo whose zoo.json has this sha256."""
    content = hashlib.sha256(zoo.encode())
    for shard in shards:
        content.update(shard.name.encode() + b"\0" + shard.metadata["row"].to_numpy().tobytes())
    return content.hexdigest()[:16]


def files_of(shard: str, selection: Selection) -> list[str]:
    """The files that a selection needs of a shard: of its rollouts, then of its weights."""
    rollouts = [rollouts_of(shard)] if selection.rollouts else []
    return rollouts + ([shard] if selection.tensors else [])


def hashes_of(selection: Selection) -> list[str]:
    """The metadata columns that the rows of a selection are compared with."""
    rollouts = ["rollout_sha256"] if selection.rollouts else []
    return rollouts + (["sha256", "tensors_sha256"] if selection.tensors else [])


@dataclass(frozen=True)
class FileColumns:
    """The columns that an open file of a shard has for a dataset.

    row_column: the metadata column that numbers the file's rows. tensors: column of the dataset -> tensor in the
    file.
    """

    file: TensorFile
    row_column: str
    tensors: Mapping[str, str]

    @property
    def row_bytes(self) -> int:
        specs = [self.file.specs[name] for name in self.tensors.values()]
        return sum(math.prod(spec.shape[1:]) * spec.dtype.itemsize for spec in specs)

    def request(self, metadata: pa.Table) -> PendingRows:
        """Begin to read the rows that these metadata name."""
        return self.file.request(list(self.tensors.values()), metadata[self.row_column].to_numpy())

    def check(self, rows: Rows, metadata: pa.Table, spec: RNNSpec) -> None:
        """Raise RnnzooError unless what was read for a request has the hashes that these metadata say."""
        tensors = {name: rows.tensors[name] for name in self.tensors.values()}
        if self.row_column == "row":
            check_weight_hashes(metadata, spec, tensors, rows.places, self.file.where)
        else:
            check_rollout_hashes(metadata, tensors, rows.places, self.file.where)

    def arrow(self, rows: Rows) -> dict[str, TensorColumn]:
        """What was read for a request, as columns of the dataset."""
        return {column: TensorColumn(rows.tensors[name]) for column, name in self.tensors.items()}


def columns_of(
    shard: ShardRows, selection: Selection, spec: RNNSpec, files: Iterable[TensorFile]
) -> list[FileColumns]:
    """The columns in the files of a shard, opened in the order of `files_of`.

    Raises RnnzooError when their tensors are not those of so many models, or lack rollouts that the metadata name.
    """
    opened, columns = iter(files), []
    if selection.rollouts:
        file = next(opened)
        check_rollouts(file.specs, shard.metadata["rollout_row"].to_numpy(), file.where)
        columns.append(
            FileColumns(file, "rollout_row", {ROLLOUT_COLUMN.format(name): name for name in file.specs})
        )
    if selection.tensors:
        file = next(opened)
        check_weights(file.specs, spec, shard.models, file.where)
        columns.append(FileColumns(file, "row", {name: name for name in selection.tensors}))
    return columns


def check_rows(source: Source, selection: Selection, shards: Sequence[ShardRows]) -> None:
    """Compare the wanted rows of some shards with their hashes, where the source is to be checked by rows."""
    if source.check != "rows":
        return
    spec = source.manifest.rnn_spec()
    for shard in shards:
        for part in columns_of(shard, selection, spec, source.map_files(files_of(shard.name, selection))):
            part.check(part.request(shard.metadata).wait(), shard.metadata, spec)


def dataset_features(source: Source, metadata: pa.Schema, shard: str, selection: Selection) -> Features:
    """Features of what a selection loads. Only shapes of rollouts are read, from the shard of this name."""
    tensors: dict[str, Any] = {}
    if selection.rollouts:
        with source.file_opener() as open_file:
            rollouts = open_file(rollouts_of(shard)).result()
        check_rollouts(rollouts.specs, np.empty(0, int), rollouts.where)
        for name, found in rollouts.specs.items():
            tensors[ROLLOUT_COLUMN.format(name)] = tensor_feature(found.shape[1:], "uint8")
    spec = source.manifest.rnn_spec()
    for name in selection.tensors:
        tensors[name] = tensor_feature(spec.shape(name), "float32")
    return features_of(pa.schema([metadata.field(name) for name in selection.columns]), tensors)


class TensorColumn:
    """A tensor [N, *shape] as a column of N lists over the same memory."""

    def __init__(self, tensor: NDArray[Any]) -> None:
        self._shape, self._dtype = tensor.shape[1:], tensor.dtype
        self._numbers = tensor.reshape(-1)

    def rows(self, runs: NDArray[np.int64]) -> pa.ChunkedArray:
        """The rows of all runs [K, 2]. Long runs are not copied."""
        size = math.prod(self._shape)
        if len(runs) == 1 or (runs[:, 1] - runs[:, 0]).sum() >= SHORT_RUN * len(runs):
            most = max(1, LARGEST_OFFSET // max(1, size))
            edges = [(n, min(n + most, last)) for first, last in runs.tolist() for n in range(first, last, most)]
            parts = [self._numbers[first * size : last * size] for first, last in edges]
        else:
            content = memoryview(self._numbers).cast("B")  # type: ignore[arg-type]  # NumPy's stubs lack the protocol
            parts = [
                np.frombuffer(join_rows([content] * len(runs), runs, size * self._dtype.itemsize), self._dtype)
            ]
        kind = tensor_type(self._shape, self._dtype.name)
        return pa.chunked_array([_lists(part, self._shape, kind) for part in parts], kind)


def join_rows(blocks: Sequence[memoryview], runs: NDArray[np.int64], width: int) -> bytearray:
    """Runs [K, 2] of rows of `width` bytes, one run from each of K blocks, in one copy.

    NumPy would copy them twice, first block by block and then into the order asked for; Arrow likewise.
    """
    starts, ends = (runs * width).T.tolist()
    return bytearray().join([block[start:end] for block, start, end in zip(blocks, starts, ends, strict=True)])


def _lists(numbers: NDArray[Any], shape: tuple[int, ...], kind: pa.DataType) -> pa.Array:
    """Numbers [N * size] as N lists, or lists of lists, of a type of `tensor_type`, over the same memory."""
    array = pa.array(numbers)
    if len(shape) == 1:
        return pa.FixedSizeListArray.from_arrays(array, shape[0])
    for length in reversed(shape):
        array = pa.ListArray.from_arrays(_offsets(len(array) // length, length), array)
    return pa.ExtensionArray.from_storage(kind, array)


@lru_cache(maxsize=64)
def _offsets(count: int, length: int) -> pa.Array:
    """Where `count` lists of one length begin, and the last one ends. Shards of one size share them."""
    return pa.array(np.arange(0, (count + 1) * length, length, dtype=np.int32))

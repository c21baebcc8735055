"""Shards as Arrow: the weights stay where they are, mapped into memory.

A parameter lies in a shard as one block [N, *shape], which is also how Arrow lays out a column of N
fixed-size lists. So a shard becomes a table without a byte being copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from numpy.typing import NDArray

from rnnzoo.loaders.reading.formats import StoredTensor, features_of
from rnnzoo.loaders.reading.selection import Selection
from rnnzoo.loaders.source.local import ZooFolder
from rnnzoo.zoo_builder.storage.schema import rollouts_of

ROLLOUT_COLUMN = "rollout_{}"
"""Columns of the rollouts: "rollout_inputs" and, where there are any, "rollout_labels"."""
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


def dataset_features(folder: ZooFolder, metadata: pa.Schema, shard: str, selection: Selection) -> Features:
    """Features of what a selection loads. Only shapes of rollouts are read, from the shard of this name."""
    tensors: dict[str, StoredTensor] = {}
    if selection.rollouts:
        for name, shape in folder.rollout_shapes(shard).items():
            tensors[ROLLOUT_COLUMN.format(name)] = StoredTensor(shape, "uint8")
    for name in selection.tensors:
        tensors[name] = StoredTensor(folder.spec.shape(name), "float32")
    return features_of(pa.schema([metadata.field(name) for name in selection.columns]), tensors)


def files_of(shard: ShardRows, selection: Selection) -> list[str]:
    """The files that a selection needs of a shard."""
    weights = [shard.name] if selection.tensors else []
    return weights + ([rollouts_of(shard.name)] if selection.rollouts else [])


class ShardReader:
    """An open shard, whose rows come as Arrow tables that point into the files."""

    def __init__(self, folder: ZooFolder, shard: ShardRows, selection: Selection) -> None:
        self._shard = shard
        self._columns = selection.columns
        self._files: list[tuple[str, dict[str, TensorColumn]]] = []
        """For each file: the metadata column that numbers its rows, and the file's columns."""
        if selection.rollouts:
            rollouts = folder.open_rollouts(shard.name, shard.metadata["rollout_row"].to_numpy())
            named = {ROLLOUT_COLUMN.format(name): TensorColumn(tensor) for name, tensor in rollouts.items()}
            self._files.append(("rollout_row", named))
        if selection.tensors:
            weights = folder.open_weights(shard.name, shard.models)
            self._files.append(("row", {name: TensorColumn(weights[name]) for name in selection.tensors}))

    def read(self, start: int, end: int) -> pa.Table:
        """The wanted rows number `start` to `end - 1` of this shard."""
        metadata = self._shard.metadata.slice(start, end - start)
        columns = {name: metadata[name] for name in self._columns}
        return pa.table(columns | {name: pa.chunked_array(chunks) for name, chunks in self.chunks(metadata)})

    def chunks(self, metadata: pa.Table) -> Iterator[tuple[str, list[pa.Array]]]:
        """The columns of rollouts and weights at the rows that these metadata name, in pieces."""
        for row_column, tensors in self._files:
            rows = metadata[row_column].to_numpy()
            if row_column == "row" and len(rows) == self._shard.models:
                yield from ((name, [tensor.array]) for name, tensor in tensors.items())
            else:
                runs = runs_of(rows)
                yield from ((name, tensor.rows(runs).chunks) for name, tensor in tensors.items())


class TensorColumn:
    """A tensor [N, *shape] as a column of N flat fixed-size lists over the same memory."""

    def __init__(self, tensor: NDArray[Any]) -> None:
        self.array = _flat_lists(tensor, tensor.dtype, math.prod(tensor.shape[1:]))
        self._tensor = tensor

    def rows(self, runs: NDArray[np.int64]) -> pa.ChunkedArray:
        """The rows of all runs [K, 2]. Long runs are not copied."""
        size, dtype = self.array.type.list_size, self._tensor.dtype
        if len(runs) == 1 or (runs[:, 1] - runs[:, 0]).sum() >= SHORT_RUN * len(runs):
            chunks = [self.array.slice(first, last - first) for first, last in runs.tolist()]
        else:
            content = memoryview(self._tensor).cast("B")  # type: ignore[arg-type]  # NumPy's stubs lack the protocol
            chunks = [_flat_lists(join_rows([content] * len(runs), runs, size * dtype.itemsize), dtype, size)]
        return pa.chunked_array(chunks, self.array.type)


def runs_of(rows: NDArray[np.integer[Any]], breaks: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Runs of consecutive numbers as [K, 2] of (first, last + 1): [3, 4, 5, 9] -> [[3, 6], [9, 10]].

    rows: [B], not empty. breaks: [B - 1], whether a run must end between two neighbours all the same.
    """
    ends_run = np.diff(rows) != 1
    if breaks is not None:
        ends_run |= breaks
    cuts = np.flatnonzero(ends_run)
    firsts = rows[np.concatenate([[0], cuts + 1])]
    lasts = rows[np.concatenate([cuts, [len(rows) - 1]])]
    return np.stack([firsts, lasts + 1], axis=1).astype(np.int64)


def join_rows(blocks: Sequence[memoryview], runs: NDArray[np.int64], width: int) -> bytearray:
    """Runs [K, 2] of rows of `width` bytes, one run from each of K blocks, in one copy.

    NumPy would copy them twice, first block by block and then into the order asked for; Arrow likewise.
    """
    starts, ends = (runs * width).T.tolist()
    return bytearray().join([block[start:end] for block, start, end in zip(blocks, starts, ends, strict=True)])


def _flat_lists(values: Any, dtype: np.dtype[Any], size: int) -> pa.FixedSizeListArray:
    """The memory of an array or bytearray as fixed-size lists."""
    buffer = pa.py_buffer(values)
    array = pa.Array.from_buffers(pa.from_numpy_dtype(dtype), buffer.size // dtype.itemsize, [None, buffer])
    return pa.FixedSizeListArray.from_arrays(array, size)

"""Arrow tables straight over the shards: the weights stay where they are, mapped into memory.

A parameter lies in a shard as one block [N, *shape], which is also how Arrow lays out a column of N
fixed-size lists. So a shard becomes a table without a byte being copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features
from datasets.table import TableBlock, table_cast, table_flatten
from numpy.typing import NDArray

from loaders.formatting import StoredTensor, features_of, is_tensor
from loaders.selection import Selection
from loaders.zoo_folder import ZooFolder
from zoo_builder.errors import RnnzooError

ROLLOUT_COLUMN = "rollout_{}"
"""Columns of the rollouts: "rollout_inputs" and, where there are any, "rollout_labels"."""


@dataclass(frozen=True)
class ShardRows:
    """Rows of one shard: its weights file, how many models it holds, and the metadata of the wanted rows."""

    name: str
    models: int
    metadata: pa.Table


def split_by_shard(metadata: pa.Table, rows: NDArray[np.int64] | None = None) -> list[ShardRows]:
    """The shards of a split's metadata, those that hold any of `rows` (None: all), with those rows of theirs."""
    names, models = np.unique(metadata["shard"].to_pylist(), return_counts=True)
    sizes = dict(zip(names.tolist(), models.tolist(), strict=True))
    if rows is not None:
        metadata = metadata.take(pa.array(rows)).combine_chunks()
    wanted = metadata["shard"].to_pylist()
    starts = [i for i, name in enumerate(wanted) if i == 0 or wanted[i - 1] != name]
    ends = [*starts[1:], len(wanted)]
    return [
        ShardRows(wanted[start], sizes[wanted[start]], metadata.slice(start, end - start))
        for start, end in zip(starts, ends, strict=True)
    ]


class ShardReader:
    """An open shard, whose rows come as Arrow tables that point into the files."""

    def __init__(self, folder: ZooFolder, shard: ShardRows, selection: Selection) -> None:
        self._shard = shard
        self._columns = selection.columns
        self._tables: list[tuple[str, pa.Table]] = []
        """For each file: the metadata column that numbers its rows, and the file as a table."""
        if selection.rollouts:
            rollouts = folder.open_rollouts(shard.name)
            self._check_rollout_rows(folder, len(rollouts["inputs"]))
            named = {ROLLOUT_COLUMN.format(name): tensor for name, tensor in rollouts.items()}
            self._tables.append(("rollout_row", _table_over(named)))
        if selection.tensors:
            weights = folder.open_weights(shard.name, shard.models)
            self._tables.append(("row", _table_over({name: weights[name] for name in selection.tensors})))

    def read(self, start: int, end: int) -> pa.Table:
        """The wanted rows number `start` to `end - 1` of this shard."""
        metadata = self._shard.metadata.slice(start, end - start)
        columns = {name: metadata[name] for name in self._columns}
        for row_column, table in self._tables:
            runs = list(runs_of(metadata[row_column].to_numpy()))
            rows = pa.concat_tables([table.slice(first, last - first) for first, last in runs])
            columns |= {name: rows[name] for name in rows.column_names}
        return pa.table(columns)

    def _check_rollout_rows(self, folder: ZooFolder, count: int) -> None:
        rows = self._shard.metadata["rollout_row"].to_numpy()
        if len(rows) and not 0 <= rows.min() <= rows.max() < count:
            raise RnnzooError(
                f"{folder.path / self._shard.name}: its metadata name rollout row {rows.max()}, there are {count}"
            )


def dataset_features(folder: ZooFolder, metadata: pa.Schema, shard: ShardRows, selection: Selection) -> Features:
    """Features of what a selection loads. Only shapes of rollouts are read, from `shard`."""
    tensors: dict[str, StoredTensor] = {}
    if selection.rollouts:
        for name, tensor in folder.open_rollouts(shard.name).items():
            tensors[ROLLOUT_COLUMN.format(name)] = StoredTensor(tensor.shape[1:], "uint8")
    for name in selection.tensors:
        tensors[name] = StoredTensor(folder.spec.shape(name), "float32")
    return features_of(pa.schema([metadata.field(name) for name in selection.columns]), tensors)


def runs_of(rows: NDArray[np.integer[Any]], breaks: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers as (first, last + 1): [3, 4, 5, 9] -> (3, 6), (9, 10).

    breaks: bool [len(rows) - 1], whether a run must end between two neighbours all the same.
    """
    if not len(rows):
        return
    ends_run = np.diff(rows) != 1
    if breaks is not None:
        ends_run |= breaks
    cuts = np.flatnonzero(ends_run)
    firsts = rows[np.concatenate([[0], cuts + 1])]
    lasts = rows[np.concatenate([cuts, [len(rows) - 1]])]
    yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)


def _table_over(tensors: dict[str, NDArray[Any]]) -> pa.Table:
    """Tensors [N, *shape] as columns of N flat fixed-size lists, over the same memory."""
    columns = {}
    for name, tensor in tensors.items():
        kind, size = pa.from_numpy_dtype(tensor.dtype), math.prod(tensor.shape[1:])
        values = pa.Array.from_buffers(kind, tensor.size, [None, pa.py_buffer(tensor)])
        columns[name] = pa.FixedSizeListArray.from_arrays(values, size)
    return pa.table(columns)


@dataclass(frozen=True)
class TableSource:
    """What a map-style table is made of, enough to make it again in another process."""

    folder: ZooFolder
    split: str
    shards: tuple[str, ...]
    selection: Selection

    def open(self) -> pa.Table:
        """All rows of the shards, in order."""
        shards = split_by_shard(self.folder.read_metadata(self.split))
        chosen = [shard for shard in shards if shard.name in self.shards]
        tables = [ShardReader(self.folder, s, self.selection).read(0, len(s.metadata)) for s in chosen]
        return pa.concat_tables(tables)


def _transform(name: str) -> Callable[..., ShardTable]:
    def method(self: ShardTable, *args: Any, **kwargs: Any) -> ShardTable:
        return ShardTable(
            self.source, (*self.replays, (name, args, kwargs)), _apply(self.table, name, args, kwargs)
        )

    return method


def _apply(table: pa.Table, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> pa.Table:
    if name == "cast":
        return table_cast(table, *args, **kwargs)
    if name == "flatten":
        return table_flatten(table, *args, **kwargs)
    return getattr(table, name)(*args, **kwargs)


class ShardTable(TableBlock):
    """The table under a map-style dataset. It pickles as its source, and the steps that led from there.

    It is no `MemoryMappedTable`: `datasets` would take the shards for cache files of its own and write the
    results of `map` beside them.
    """

    def __init__(
        self,
        source: TableSource,
        replays: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (),
        table: pa.Table | None = None,
    ) -> None:
        super().__init__(_replayed(source, replays) if table is None else table)
        self.source = source
        self.replays = replays

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardTable, (self.source, self.replays)

    def __deepcopy__(self, memo: dict[int, Any]) -> ShardTable:
        return self  # immutable, and `Dataset` copies deeply at every turn

    slice = _transform("slice")
    filter = _transform("filter")
    flatten = _transform("flatten")
    combine_chunks = _transform("combine_chunks")
    cast = _transform("cast")
    replace_schema_metadata = _transform("replace_schema_metadata")
    add_column = _transform("add_column")
    append_column = _transform("append_column")
    remove_column = _transform("remove_column")
    set_column = _transform("set_column")
    rename_columns = _transform("rename_columns")
    drop = _transform("drop")
    select = _transform("select")

    @cached_property
    def tensor_columns(self) -> dict[str, list[memoryview]]:
        """The bytes of every tensor column without nulls, one memoryview a record batch."""
        return {
            field.name: [memoryview(batch.column(index).flatten().to_numpy()).cast("B") for batch in self._batches]
            for index, field in enumerate(self.schema)
            if is_tensor(field.type) and not self.table.column(index).null_count
        }

    def gather(self, rows: NDArray[np.integer[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The tensor columns at these rows, in any order: (name, new array [B, size]), one column at a time.

        A column is copied once, by joining slices of the mapped files: NumPy and Arrow would both have to copy
        it twice, first by shard and then into the order asked for.
        """
        batches = np.searchsorted(self._offsets, rows, side="right") - 1
        runs = list(runs_of(rows, breaks=np.diff(batches) != 0))
        batch_of_run = np.searchsorted(self._offsets, [first for first, _ in runs], side="right") - 1
        first_rows = self._offsets[batch_of_run].tolist()
        places = [
            (batch, first - offset, last - offset)
            for batch, offset, (first, last) in zip(batch_of_run.tolist(), first_rows, runs, strict=True)
        ]
        for name, views in self.tensor_columns.items():
            kind = self.schema.field(name).type
            dtype = np.dtype(kind.value_type.to_pandas_dtype())
            width = kind.list_size * dtype.itemsize
            block = bytearray().join([views[batch][first * width : last * width] for batch, first, last in places])
            yield name, np.frombuffer(block, dtype).reshape(len(rows), kind.list_size)


def _replayed(source: TableSource, replays: tuple[Any, ...]) -> pa.Table:
    table = source.open()
    for name, args, kwargs in replays:
        table = _apply(table, name, args, kwargs)
    return table

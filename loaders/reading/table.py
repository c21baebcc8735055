"""The Arrow table under a map-style dataset: shards one below the other, still in their files."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.loaders.reading.blocks import columns_of, files_of, join_rows, split_by_shard
from rnnzoo.loaders.reading.formats import dtype_of, flat, is_tensor, shape_of
from rnnzoo.loaders.reading.private_parts import TableBlock, table_cast, table_flatten
from rnnzoo.loaders.reading.selection import Selection
from rnnzoo.loaders.source.base import Source
from rnnzoo.loaders.source.runs import runs_of


@dataclass(frozen=True)
class TableRecipe:
    """What a map-style table is made of, enough to make it again in another process."""

    source: Source
    split: str
    shards: tuple[str, ...]
    selection: Selection

    def make(self, metadata: pa.Table | None = None) -> pa.Table:
        """All rows of the shards, in order. metadata: those of the split, where they have been read already.

        The metadata stay in one piece, and the tensors of a shard are a chunk: a piece a shard would cost time.
        """
        if metadata is None:
            (metadata,) = self.source.read_metadata([self.split])
        if len(self.shards) < len(self.source.manifest.splits[self.split].shards):
            metadata = metadata.filter(pc.is_in(metadata["shard"], pa.array(self.shards))).combine_chunks()
        shards = split_by_shard(metadata.select(["shard", "row", "rollout_row"]))
        files = self.source.map_files([name for shard in shards for name in files_of(shard.name, self.selection)])
        opened, spec = iter(files), self.source.manifest.rnn_spec()
        tensors: dict[str, list[pa.Array]] = defaultdict(list)
        for shard in shards:
            for part in columns_of(shard, self.selection, spec, opened):
                rows = part.request(shard.metadata).wait()
                runs = runs_of(rows.places)
                for name, column in part.arrow(rows).items():
                    tensors[name] += column.rows(runs).chunks
        columns = {name: metadata[name] for name in self.selection.columns}
        return pa.table(columns | {name: pa.chunked_array(chunks) for name, chunks in tensors.items()})


def _transform(name: str) -> Callable[..., ShardTable]:
    def method(self: ShardTable, *args: Any, **kwargs: Any) -> ShardTable:
        replays = (*self.replays, (name, args, kwargs))
        return ShardTable(self.recipe, replays, _apply(self.table, name, args, kwargs))

    return method


def _apply(table: pa.Table, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> pa.Table:
    if name == "cast":
        return table_cast(table, *args, **kwargs)
    if name == "flatten":
        return table_flatten(table, *args, **kwargs)
    return getattr(table, name)(*args, **kwargs)


class ShardTable(TableBlock):
    """The table under a map-style dataset. It pickles as its recipe, and the steps that led from there.

    It is no `MemoryMappedTable`: `datasets` would take the shards for cache files of its own and write the
    results of `map` beside them.
    """

    def __init__(
        self,
        recipe: TableRecipe,
        replays: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (),
        table: pa.Table | None = None,
    ) -> None:
        super().__init__(_replayed(recipe, replays) if table is None else table)
        self.recipe = recipe
        self.replays = replays

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardTable, (self.recipe, self.replays)

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
    def chunks(self) -> list[pa.RecordBatch]:
        """The table in pieces in which every column lies in one block."""
        return [chunk for chunk in self.table.to_batches() if len(chunk)]

    @cached_property
    def tensor_columns(self) -> dict[str, list[memoryview]]:
        """The bytes of every tensor column without nulls, one memoryview a chunk."""
        return {
            field.name: [
                memoryview(flat(chunk.column(index), len(shape_of(field.type))).to_numpy()).cast("B")
                for chunk in self.chunks
            ]
            for index, field in enumerate(self.schema)
            if is_tensor(field.type) and not self.table.column(index).null_count
        }

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """The number of each chunk's first row."""
        return np.cumsum([0, *map(len, self.chunks[:-1])])

    def gather(self, rows: NDArray[np.integer[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The tensor columns at these rows, in any order: (name, new array [B, *shape]), one column at a time."""
        chunks = np.searchsorted(self.first_rows, rows, side="right") - 1
        runs = runs_of(rows, breaks=np.diff(chunks) != 0)
        chunk_of_run = np.searchsorted(self.first_rows, runs[:, 0], side="right") - 1
        runs -= self.first_rows[chunk_of_run, None]
        numbers = chunk_of_run.tolist()
        for name, views in self.tensor_columns.items():
            kind = self.schema.field(name).type
            dtype, shape = dtype_of(kind), shape_of(kind)
            block = join_rows([views[number] for number in numbers], runs, math.prod(shape) * dtype.itemsize)
            yield name, np.frombuffer(block, dtype).reshape(len(rows), *shape)


def _replayed(recipe: TableRecipe, replays: tuple[Any, ...]) -> pa.Table:
    table = recipe.make()
    for name, args, kwargs in replays:
        table = _apply(table, name, args, kwargs)
    return table

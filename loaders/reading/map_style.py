"""Map-style: a `datasets.Dataset` over the shards, whose batches are read as blocks."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, NamedSplit
from numpy.typing import NDArray

from rnnzoo.loaders.reading.blocks import check_rows, dataset_features, runs_of_names, split_by_shard
from rnnzoo.loaders.reading.formats import FORMATS, BlockFormatter
from rnnzoo.loaders.reading.private_parts import HF_DATASETS_CACHE, chosen_rows, get_formatter, keep_class
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.reading.table import ShardTable, TableRecipe
from rnnzoo.loaders.reading.text_files import TextFiles
from rnnzoo.loaders.source.base import Source
from rnnzoo.zoo_builder.errors import check_whole_number


class ZooDataset(TextFiles, Dataset):
    """A `Dataset` that reads batches in the zoo's formats straight from the shards, each column in one copy.

    `Dataset` itself gathers rows one by one into an Arrow table, which is then copied again. Other formats,
    and tables that `map` or the like have rewritten, go that way here too.
    """

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return super().__getitem__(key)
        rows = row_numbers(key, len(self))
        if isinstance(rows, int):
            return super().__getitem__(rows)
        return self._read_block(rows) if len(rows) and self._reads_blocks() else super().__getitem__(rows.tolist())

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        check_whole_number("batch_size", batch_size, 1)
        return (
            self._blocks(batch_size, drop_last_batch)
            if self._reads_blocks()
            else super().iter(batch_size, drop_last_batch)
        )

    def _blocks(self, batch_size: int, drop_last_batch: bool) -> Iterator[Any]:
        end = len(self) // batch_size * batch_size if drop_last_batch else len(self)
        for first in range(0, end, batch_size):
            yield self[first : first + batch_size]

    @property
    def cache_files(self) -> list[dict[str, str]]:
        """Where `map` keeps its results: in the cache of `datasets`, as nothing may be written into a zoo."""
        own: list[dict[str, str]] = super().cache_files
        tables = [self.data] + [part for row in getattr(self.data, "blocks", []) for part in row]
        recipe = next((table.recipe for table in tables if isinstance(table, ShardTable)), None)
        if own or recipe is None:
            return own
        folder = Path(HF_DATASETS_CACHE, "rnnzoo", recipe.source.sha256[:16])
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(folder, os.W_OK | os.X_OK)
        return [{"filename": str(folder / "zoo.arrow")}] if is_writable else []  # else they stay in memory

    def _reads_blocks(self) -> bool:
        return (
            isinstance(self.data, ShardTable)
            and self.format["type"] in FORMATS.values()
            and self.format["columns"] == self.column_names
        )

    def _read_block(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        if (chosen := chosen_rows(self)) is not None:
            rows = chosen[rows].astype(np.int64)
        formatter = cast(BlockFormatter, get_formatter(self.format["type"], features=self.features))
        batch = dict.fromkeys(self.column_names)
        others = [name for name in self.column_names if name not in self.data.tensor_columns]
        batch |= formatter.format_batch(self.data.table.select(others).take(pa.array(rows)))
        for name, block in self.data.gather(rows):
            batch[name] = formatter.wrap(block)
        return batch


keep_class(
    ZooDataset,
    Dataset,
    [
        "select",
        "shuffle",
        "sort",
        "train_test_split",
        "map",
        "cast",
        "add_column",
        "add_item",
        "repeat",
        "flatten_indices",
    ],
)


def row_numbers(key: Any, length: int) -> int | NDArray[np.int64]:
    """What stands in the brackets behind a dataset, by NumPy's rules.

    Args:
        key: A whole number, a slice, whole numbers [B], or a truth value for each row.
        length: How many rows there are.

    Returns:
        A row's number, or the numbers of rows [B].

    Raises:
        IndexError: A row is not there, or there are too few or too many truth values.
        TypeError: It is none of these.
    """
    if isinstance(key, slice):
        return np.arange(length)[key]
    if isinstance(key, SupportsIndex) and not isinstance(key, bool) and getattr(key, "ndim", 0) == 0:
        return int(key)
    rows = np.asarray(key if hasattr(key, "__array__") else list(key) if isinstance(key, Iterable) else key)
    if rows.size == 0 and rows.dtype != bool:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iub":
        raise TypeError(
            f"rows: found {rows.dtype} of shape {rows.shape}, expected a list of whole numbers or truth values"
        )
    if rows.dtype == bool:
        if len(rows) != length:
            raise IndexError(f"rows: found {len(rows)} truth values, expected one for each of {length} rows")
        return np.flatnonzero(rows)
    if len(outside := rows[(rows < -length) | (rows >= length)]):
        raise IndexError(f"rows: found {outside[0]}, expected {-length} to {length - 1}")
    rows = rows.astype(np.int64)  # the number of all rows may have no place in the type they came in
    return np.where(rows < 0, rows + length, rows)


def map_style(
    source: Source, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> Dataset:
    """A dataset over the shards of a split that hold matching rows; the others are not opened."""
    rows = matching_rows(metadata, filters)
    names = metadata["shard"]
    held = rows if rows is None or len(rows) else np.zeros(1, np.int64)  # no table without a shard
    shards, _ = runs_of_names(names if held is None else names.take(pa.array(held)))
    check_rows(source, selection, split_by_shard(metadata, rows))
    recipe = TableRecipe(source, split, tuple(shards), selection)
    table = ShardTable(recipe, table=recipe.make(metadata))
    features = dataset_features(source, metadata.schema, shards[0], selection)
    fingerprint = _fingerprint(source, split, selection)
    dataset = ZooDataset(
        table.replace_schema_metadata(features.arrow_schema.metadata),
        info=DatasetInfo(features=features),
        split=NamedSplit(split),
        fingerprint=fingerprint,
    )
    if rows is None:
        return dataset
    there = pc.is_in(names, pa.array(recipe.shards)).to_numpy()
    indices = (np.cumsum(there) - 1)[rows]
    digest = hashlib.sha256(fingerprint.encode() + rows.tobytes())
    return dataset.select(indices, new_fingerprint=digest.hexdigest()[:16])


def _fingerprint(source: Source, split: str, selection: Selection) -> str:
    """What `datasets` names cached results by: the zoo's content and what was chosen of it."""
    chosen = [source.sha256, split, selection.columns, selection.rollouts, selection.tensors]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:16]

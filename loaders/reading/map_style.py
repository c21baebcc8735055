"""Map-style: a `datasets.Dataset` over the shards, whose batches are read as blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from numbers import Integral
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo, NamedSplit
from numpy.typing import NDArray

from rnnzoo.loaders.reading.blocks import dataset_features, runs_of_names
from rnnzoo.loaders.reading.formats import FORMATS, BlockFormatter
from rnnzoo.loaders.reading.private_parts import chosen_rows, get_formatter
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.reading.table import ShardTable, TableRecipe
from rnnzoo.loaders.source.base import Source


class ZooDataset(Dataset):
    """A `Dataset` that reads batches in the zoo's formats straight from the shards, each column in one copy.

    `Dataset` itself gathers rows one by one into an Arrow table, which is then copied again. Other formats,
    and tables that `map` or the like have rewritten, go that way here too.
    """

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Integral | str) or not self._reads_blocks():
            return super().__getitem__(key)
        rows = np.arange(len(self))
        rows = rows[key] if isinstance(key, slice) else rows[np.fromiter(key, np.int64)]
        return self._read_block(rows) if len(rows) else super().__getitem__(key)

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        if not self._reads_blocks():
            yield from super().iter(batch_size, drop_last_batch)
            return
        end = len(self) // batch_size * batch_size if drop_last_batch else len(self)
        for first in range(0, end, batch_size):
            yield self[first : first + batch_size]

    def select(self, *args: Any, **kwargs: Any) -> Dataset:
        """As `Dataset.select`, on which `shuffle`, `sort`, `shard` and `train_test_split` build."""
        selected = super().select(*args, **kwargs)
        selected.__class__ = ZooDataset  # `Dataset` names its own class where it makes a new dataset
        return selected

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
            batch[name] = formatter.tensor(name, block)
        return batch


def map_style(
    source: Source, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> Dataset:
    """A dataset over the shards of a split that hold matching rows; the others are not opened."""
    rows = matching_rows(metadata, filters)
    names = metadata["shard"]
    held = rows if rows is None or len(rows) else np.zeros(1, np.int64)  # no table without a shard
    shards, _ = runs_of_names(names if held is None else names.take(pa.array(held)))
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

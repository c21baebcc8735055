"""Streaming: an `IterableDataset` over the shards, read block by block.

A shard is what workers, nodes and the shuffling of shards divide the data by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import DatasetInfo, IterableDataset, NamedSplit
from datasets.iterable_dataset import ArrowExamplesIterable

from rnnzoo.loaders.reading.blocks import ShardRows, dataset_features, files_of, split_by_shard
from rnnzoo.loaders.reading.read_ahead import ReadAhead
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.source.base import Source


def streamed(
    source: Source, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> IterableDataset:
    """A stream over the shards of a split that hold matching rows; the others are not opened.

    The stream resumes exactly from a `state_dict`, unless it goes through a shuffle buffer. What a worker gets
    is the metadata of the wanted rows; it opens the shards itself.
    """
    shards = split_by_shard(metadata, matching_rows(metadata, filters))
    any_shard = shards[0].name if shards else metadata["shard"][0].as_py()
    features = dataset_features(source, metadata.schema, any_shard, selection)
    source.check_files([name for shard in shards for name in files_of(shard.name, selection)])
    return IterableDataset(
        ShardExamples(shards, source, selection), info=DatasetInfo(features=features), split=NamedSplit(split)
    )


class ShardExamples(ArrowExamplesIterable):
    """The shards of a stream. `datasets` deals them out among workers, shuffles and counts them.

    It asks for each shard's tables by themselves; here they come from one `ReadAhead`, which knows the shards that
    follow.
    """

    def __init__(self, shards: list[ShardRows], source: Source, selection: Selection) -> None:
        super().__init__(_no_tables, {"shards": shards, "source": source, "selection": selection})

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        with self._read_ahead() as ahead:
            yield from self._reading(ahead)

    def _iter_arrow(self) -> Iterator[tuple[Any, pa.Table]]:
        with self._read_ahead() as ahead:
            yield from self._reading(ahead).iter_arrow()

    def _read_ahead(self) -> ReadAhead:
        """Of the shards from the one on where a saved state says that iteration goes on."""
        first = self._state_dict["shard_idx"] if self._state_dict else 0
        return ReadAhead(self.kwargs["source"], self.kwargs["shards"][first:], self.kwargs["selection"])

    def _reading(self, ahead: ReadAhead) -> ArrowExamplesIterable:
        """What `datasets` iterates over: for each shard the next one's tables, numbered as keys."""

        def tables(**_: Any) -> Iterator[tuple[Any, pa.Table]]:
            yield from enumerate(ahead.blocks_of_next_shard())

        examples = ArrowExamplesIterable(tables, self.kwargs)
        examples._state_dict = self._state_dict
        return examples

    def shuffle_data_sources(self, generator: np.random.Generator) -> ShardExamples:
        return ShardExamples(**super().shuffle_data_sources(generator).kwargs)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> ShardExamples:
        return ShardExamples(**super().shard_data_sources(num_shards, index, contiguous).kwargs)

    def reshard_data_sources(self) -> ShardExamples:
        return self


def _no_tables(**kwargs: Any) -> Iterator[tuple[Any, pa.Table]]:
    raise AssertionError("ShardExamples iterates by ReadAhead")

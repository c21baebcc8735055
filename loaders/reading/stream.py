"""Streaming: an `IterableDataset` over the shards, read block by block.

A shard is what workers, nodes and the shuffling of shards divide the data by.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from datasets import DatasetInfo, IterableDataset, NamedSplit
from datasets.iterable_dataset import ArrowExamplesIterable

from rnnzoo.loaders.reading.blocks import ShardReader, ShardRows, dataset_features, files_of, split_by_shard
from rnnzoo.loaders.reading.hub_stream import BLOCK_ROWS, HubExamples
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.source.hub import HubZoo
from rnnzoo.loaders.source.local import ZooFolder


def streamed(
    folder: ZooFolder, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> IterableDataset:
    """A stream over the shards of a split that hold matching rows; the others are not opened.

    The stream resumes exactly from a `state_dict`, unless it goes through a shuffle buffer. What a worker gets
    is the metadata of the wanted rows; it opens the shards itself.
    """
    shards = split_by_shard(metadata, matching_rows(metadata, filters))
    any_shard = shards[0].name if shards else metadata["shard"][0].as_py()
    features = dataset_features(folder, metadata.schema, any_shard, selection)
    return IterableDataset(
        _examples(folder, shards, selection), info=DatasetInfo(features=features), split=NamedSplit(split)
    )


def _examples(folder: ZooFolder, shards: list[ShardRows], selection: Selection) -> ArrowExamplesIterable:
    if isinstance(folder, HubZoo):
        return HubExamples(shards, folder, selection)
    folder.check_sizes([name for shard in shards for name in files_of(shard, selection)])
    # datasets deals out the items of lists among workers, and hands everything else to each of them.
    # ArrowBasedBuilder.as_streaming_dataset comes to the same by way of a cache folder and a lock file.
    return ArrowExamplesIterable(_read_blocks, {"shards": shards, "folder": folder, "selection": selection})


def _read_blocks(
    shards: list[ShardRows], folder: ZooFolder, selection: Selection
) -> Iterator[tuple[tuple[int, int], pa.Table]]:
    """(number of the shard, number of the block) and the block's rows."""
    for shard_number, shard in enumerate(shards):
        reader = ShardReader(folder, shard, selection)
        for start in range(0, len(shard.metadata), BLOCK_ROWS):
            yield (shard_number, start), reader.read(start, start + BLOCK_ROWS)

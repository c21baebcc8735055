"""Streaming: an `IterableDataset` over the shards, read block by block.

A shard is what workers, nodes and the shuffling of shards divide the data by.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
from datasets import DatasetInfo, IterableDataset, NamedSplit

from rnnzoo.loaders.reading.blocks import dataset_features, files_of, hashes_of, split_by_shard
from rnnzoo.loaders.reading.private_parts import ShardExamples
from rnnzoo.loaders.reading.read_ahead import read_shards
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.source.base import Source


def streamed(
    source: Source, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> IterableDataset:
    """A stream over the shards of a split that hold matching rows; the others are not opened.

    The stream resumes exactly from a `state_dict`, unless it goes through a shuffle buffer. What a worker gets
    is the metadata of the wanted rows, as much of them as it uses; it opens the shards itself.
    """
    rows = matching_rows(metadata, filters)
    used = {*selection.columns, "shard", "row", "rollout_row", *hashes_of(selection)}
    shards = split_by_shard(metadata.select([name for name in metadata.column_names if name in used]), rows)
    any_shard = shards[0].name if shards else metadata["shard"][0].as_py()
    features = dataset_features(source, metadata.schema, any_shard, selection)
    source.check_files([name for shard in shards for name in files_of(shard.name, selection)])
    examples = ShardExamples(partial(read_shards, source, selection), shards)
    return IterableDataset(examples, info=DatasetInfo(features=features), split=NamedSplit(split))

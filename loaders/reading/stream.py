"""Streaming: an `IterableDataset` over the shards, read block by block.

A shard is what workers, nodes and the shuffling of shards divide the data by.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from datasets import DatasetInfo, IterableDataset, NamedSplit

from rnnzoo.loaders.reading.blocks import (
    dataset_features,
    files_of,
    hashes_of,
    rows_fingerprint,
    split_by_shard,
)
from rnnzoo.loaders.reading.private_parts import ShardExamples, keep_class
from rnnzoo.loaders.reading.read_ahead import read_shards
from rnnzoo.loaders.reading.selection import Filters, Selection, matching_rows
from rnnzoo.loaders.reading.text_files import TextFiles
from rnnzoo.loaders.source.base import Source
from rnnzoo.zoo_builder.errors import ParameterError, check_whole_number

STATE = {"epoch", "examples_iterable"}
"""What every state of an iteration says."""


class ZooStream(TextFiles, IterableDataset):
    """An `IterableDataset` that goes on from a state only in the way in which the state came about.

    `datasets` would count batches of one size as those of another, and so skip rows or give them twice. It would
    also hear a state only in the epoch that it is of, and begin there each time that this epoch is gone through.
    """

    _batch_size: int | None = None
    """Rows at a time of the iteration that was last begun; None before any."""
    _process: int | None = None
    """Where it was begun: a worker has a copy of the stream, and begins anew. None before any, or after a load."""
    _loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands; before its first row, where it will begin: a worker has rows of its own."""
        if self._process == os.getpid():
            return super().state_dict() | {"batch_size": self._batch_size}
        return {"epoch": self.epoch, "examples_iterable": None, "batch_size": None, **self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; {} for the beginning. Raises ParameterError for what is no state.

        The state of a stream of other rows raises it where the iteration begins: only then they are known.
        """
        is_state = isinstance(state_dict, dict) and state_dict.keys() >= STATE and type(state_dict["epoch"]) is int
        if not is_state and state_dict != {}:
            expected = f"expected what `state_dict()` gave, with {' and '.join(sorted(STATE))}"
            raise ParameterError("state_dict", f"found {state_dict!r:.200}, {expected}")
        super().load_state_dict(state_dict if state_dict.get("examples_iterable") else {})
        self._loaded, self._process = state_dict or None, None
        if state_dict:
            self.set_epoch(state_dict["epoch"])

    @property
    def _start(self) -> dict[str, Any]:
        """The state that an iteration goes on from; {} for the beginning."""
        return self._loaded if self._loaded is not None and self._loaded["epoch"] == self.epoch else {}

    def __iter__(self) -> Iterator[Any]:
        return self._begun(super().__iter__(), 1)

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Any]:
        check_whole_number("batch_size", batch_size, 1)
        return self._begun(super().iter(batch_size, drop_last_batch), batch_size)

    def _begun(self, rows: Iterator[Any], batch_size: int) -> Iterator[Any]:
        before = self._start.get("batch_size")
        if before not in (None, batch_size):
            raise ParameterError(
                "batch_size",
                f"found {batch_size}, expected {before}, that of the iteration whose state was loaded",
            )
        return self._to_the_end(rows, batch_size)

    def _to_the_end(self, rows: Iterator[Any], batch_size: int) -> Iterator[Any]:
        """What is gone through; whoever comes to its end begins at the beginning again."""
        state, self._batch_size, self._process = self._loaded, batch_size, os.getpid()
        yield from rows
        if state is not None and self._loaded is state:
            super().load_state_dict({})
            self._loaded = None


keep_class(
    ZooStream,
    IterableDataset,
    [
        "with_format",
        "map",
        "filter",
        "shuffle",
        "skip",
        "take",
        "repeat",
        "shard",
        "reshard",
        "rename_column",
        "rename_columns",
        "remove_columns",
        "select_columns",
        "cast",
        "cast_column",
        "add_column",
        "batch",
        "decode",
    ],
)


def streamed(
    source: Source, split: str, metadata: pa.Table, selection: Selection, filters: Filters | None
) -> IterableDataset:
    """A stream over the shards of a split that hold matching rows; the others are not opened.

    The stream resumes exactly from a `state_dict` if it goes on as it was begun, by rows or by batches of the same
    size, and not through a shuffle buffer. What a worker gets is the metadata of the wanted rows, as much of them
    as it uses; it opens the shards itself.
    """
    rows = matching_rows(metadata, filters)
    used = {*selection.columns, "shard", "row", "rollout_row", *hashes_of(selection)}
    shards = split_by_shard(metadata.select([name for name in metadata.column_names if name in used]), rows)
    any_shard = shards[0].name if shards else metadata["shard"][0].as_py()
    features = dataset_features(source, metadata.schema, any_shard, selection)
    source.check_files([name for shard in shards for name in files_of(shard.name, selection)])
    examples = ShardExamples(
        partial(read_shards, source, selection), shards, partial(rows_fingerprint, source.sha256)
    )
    return ZooStream(examples, info=DatasetInfo(features=features), split=NamedSplit(split))

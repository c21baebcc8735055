"""Streaming from the hub: the byte ranges that a selection needs, read ahead of the one who iterates.

A shard is read in windows: as many of its wanted rows as fit WINDOW_BYTES. While the tables of a window are
used, the next windows are on their way, also those of the shards that follow. Of a shard that the cache of
huggingface_hub holds as a whole, nothing is read from the hub.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets.iterable_dataset import ArrowExamplesIterable

from rnnzoo.loaders.reading.blocks import ROLLOUT_COLUMN, ShardReader, ShardRows, files_of, runs_of
from rnnzoo.loaders.reading.selection import Selection
from rnnzoo.loaders.source.hub import HubZoo
from rnnzoo.loaders.source.ranges import Extent, RowsOnTheirWay, read_layout
from rnnzoo.loaders.source.requests import RemoteFile
from rnnzoo.zoo_builder.storage.contents import Kind, check_rollouts, check_weights
from rnnzoo.zoo_builder.storage.schema import rollouts_of

BLOCK_ROWS = 256
"""Rows in a table: about 14 MB of weights."""
WINDOW_BYTES = 32 << 20
AHEAD_BYTES = 96 << 20
"""Bytes asked for and not yet used, at most; but always one window."""
REQUESTS = 20
"""Requests under way at the same time."""
SHARDS_AHEAD = 16
"""Shards whose headers are read ahead."""

Key = tuple[int, int]


class HubExamples(ArrowExamplesIterable):
    """The shards of a stream. `datasets` deals them out, shuffles and counts them as it does those of a folder.

    Its own iteration is used on each shard, but with tables that know which shards come next.
    """

    def __init__(self, shards: list[ShardRows], folder: HubZoo, selection: Selection) -> None:
        super().__init__(_no_tables, {"shards": shards, "folder": folder, "selection": selection})

    def __iter__(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        with ReadAhead(**self._following()) as ahead:
            yield from self._reading(ahead)

    def _iter_arrow(self) -> Iterator[tuple[Key, pa.Table]]:
        with ReadAhead(**self._following()) as ahead:
            yield from self._reading(ahead).iter_arrow()

    def _following(self) -> dict[str, Any]:
        """The shards from the one on where a saved state says that iteration goes on."""
        first = self._state_dict["shard_idx"] if self._state_dict else 0
        return {**self.kwargs, "shards": self.kwargs["shards"][first:]}

    def _reading(self, ahead: ReadAhead) -> ArrowExamplesIterable:
        examples = ArrowExamplesIterable(ahead.tables_of_next_shard, self.kwargs)
        examples._state_dict = self._state_dict
        return examples

    def shuffle_data_sources(self, generator: np.random.Generator) -> HubExamples:
        return HubExamples(**super().shuffle_data_sources(generator).kwargs)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> HubExamples:
        return HubExamples(**super().shard_data_sources(num_shards, index, contiguous).kwargs)

    def reshard_data_sources(self) -> HubExamples:
        return self


def _no_tables(**kwargs: Any) -> Iterator[tuple[Key, pa.Table]]:
    raise AssertionError("HubExamples iterates by ReadAhead")


class ReadAhead:
    """Reads shards in order, and those that follow ahead. Threads end with the `with` block."""

    def __init__(self, shards: list[ShardRows], folder: HubZoo, selection: Selection) -> None:
        self._folder = folder
        self._selection = selection
        self._coming = deque(enumerate(shards))
        self._opened: deque[Future[Iterator[Window]]] = deque()
        self._windows: deque[Window] = deque()

    def __enter__(self) -> ReadAhead:
        self._openers = ThreadPoolExecutor(SHARDS_AHEAD, "rnnzoo-open")
        self._readers = ThreadPoolExecutor(REQUESTS, "rnnzoo-read")
        return self

    def __exit__(self, *exception: object) -> None:
        for pool in (self._openers, self._readers):
            pool.shutdown(wait=False, cancel_futures=True)

    def tables_of_next_shard(self, **_: Any) -> Iterator[tuple[Key, pa.Table]]:
        """(number of the shard, number of a row) and the tables of the next shard."""
        is_last = False
        while not is_last:
            self._ask()
            window = self._windows.popleft()
            yield from window.tables()
            is_last = window.is_last

    def _ask(self) -> None:
        """Start reading until enough is on its way. Waits for a shard's header only if there is nothing to do."""
        while sum(window.bytes for window in self._windows) < AHEAD_BYTES:
            while self._coming and len(self._opened) < SHARDS_AHEAD:
                self._opened.append(self._openers.submit(self._open, *self._coming.popleft()))
            if not self._opened or (self._windows and not self._opened[0].done()):
                return
            window = next(self._opened[0].result(), None)
            if window is None:
                self._opened.popleft()
            else:
                self._windows.append(window)

    def _open(self, number: int, shard: ShardRows) -> Iterator[Window]:
        """A shard's windows, each of which starts reading when it is asked for."""
        if all(self._folder.is_cached(name) for name in files_of(shard, self._selection)):
            return iter([CachedWindow(number, shard, ShardReader(self._folder, shard, self._selection))])
        return self._remote_windows(number, shard, open_sources(self._folder, shard, self._selection))

    def _remote_windows(self, number: int, shard: ShardRows, sources: list[Source]) -> Iterator[Window]:
        row_bytes = sum(extent.width for source in sources for extent in source.extents.values())
        step = max(1, WINDOW_BYTES // row_bytes // BLOCK_ROWS) * BLOCK_ROWS
        for start in range(0, len(shard.metadata), step):
            metadata = shard.metadata.slice(start, step)
            is_last = start + step >= len(shard.metadata)
            ways = [source.ask(metadata, self._readers) for source in sources]
            yield RemoteWindow(number, start, metadata, is_last, self._selection.columns, ways)


@dataclass(frozen=True)
class Source:
    """An opened file on the hub: what is wanted of it, and the metadata column that numbers its rows."""

    row_column: str
    file: RemoteFile
    extents: dict[str, Extent]
    """Name of the dataset's column -> the tensor."""

    def ask(self, metadata: pa.Table, pool: ThreadPoolExecutor) -> RowsOnTheirWay:
        """Start reading the rows that the metadata name."""
        return RowsOnTheirWay(self.file, self.extents, metadata[self.row_column].to_numpy(), pool)


def open_sources(folder: HubZoo, shard: ShardRows, selection: Selection) -> list[Source]:
    """The files of a shard, whose headers are checked as those of a folder are."""
    sources = []
    if selection.rollouts:
        file = folder.remote_file(rollouts_of(shard.name))
        layout = read_layout(file)
        check_rollouts(_kinds_of(layout), shard.metadata["rollout_row"].to_numpy(), file.where)
        named = {ROLLOUT_COLUMN.format(name): extent for name, extent in layout.items()}
        sources.append(Source("rollout_row", file, named))
    if selection.tensors:
        file = folder.remote_file(shard.name)
        layout = read_layout(file)
        check_weights(_kinds_of(layout), folder.spec, shard.models, file.where)
        sources.append(Source("row", file, {name: layout[name] for name in selection.tensors}))
    return sources


def _kinds_of(layout: dict[str, Extent]) -> dict[str, Kind]:
    return {name: Kind(extent.dtype, (extent.models, *extent.shape)) for name, extent in layout.items()}


@dataclass(frozen=True)
class CachedWindow:
    """A whole shard in the cache of huggingface_hub."""

    number: int
    shard: ShardRows
    reader: ShardReader
    bytes: int = 0
    is_last: bool = True

    def tables(self) -> Iterator[tuple[Key, pa.Table]]:
        for start in range(0, len(self.shard.metadata), BLOCK_ROWS):
            yield (self.number, start), self.reader.read(start, start + BLOCK_ROWS)


@dataclass(frozen=True)
class RemoteWindow:
    """Rows of a shard that are on their way. start: the number of the first among the wanted rows."""

    number: int
    start: int
    metadata: pa.Table
    is_last: bool
    columns: tuple[str, ...]
    ways: list[RowsOnTheirWay]

    @property
    def bytes(self) -> int:
        return sum(way.bytes for way in self.ways)

    def tables(self) -> Iterator[tuple[Key, pa.Table]]:
        for way in self.ways:
            way.wait()
        tensors = [(way, way.columns()) for way in self.ways]
        for start in range(0, len(self.metadata), BLOCK_ROWS):
            metadata = self.metadata.slice(start, BLOCK_ROWS)
            table = {name: metadata[name] for name in self.columns}
            for way, columns in tensors:
                runs = runs_of(way.places(start, start + len(metadata)))
                table |= {name: column.rows(runs) for name, column in columns.items()}
            yield (self.number, self.start + start), pa.table(table)


Window = CachedWindow | RemoteWindow

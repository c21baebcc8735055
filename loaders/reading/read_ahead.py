"""Blocks of rows of many shards, one after the other, of which those that come next are already on their way.

A shard is read in windows: as many of its wanted rows as take WINDOW_BYTES. While the blocks of a window are used,
the next windows are asked for, also those of the shards that follow. Rows that are mapped from files are there at
once; so nothing is asked for ahead of them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import pyarrow as pa

from rnnzoo.loaders.reading.blocks import FileColumns, ShardRows, columns_of, files_of
from rnnzoo.loaders.reading.selection import Selection
from rnnzoo.loaders.source.base import PendingRows, Source, TensorFile
from rnnzoo.loaders.source.runs import runs_of
from rnnzoo.zoo_builder.rnn import RNNSpec

BLOCK_ROWS = 256
"""Rows in a block: about 14 MB of weights."""
WINDOW_BYTES = 32 << 20
AHEAD_BYTES = 96 << 20
"""Bytes asked for and not yet used, at most, by all readers of a process together; but always one window each."""
SHARDS_AHEAD = 16
"""Shards whose files are opened ahead."""

OpenFile: TypeAlias = "Callable[[str], Future[TensorFile]]"


@contextmanager
def read_shards(
    source: Source, selection: Selection, shards: list[ShardRows]
) -> Iterator[Iterator[Iterator[pa.Table]]]:
    """For each shard in order its wanted rows, in tables of BLOCK_ROWS rows; reading ends with the `with`
    block."""
    with source.file_opener() as open_file:
        ahead = ReadAhead(open_file, shards, selection, source.manifest.rnn_spec())
        try:
            yield (ahead.blocks_of_next_shard() for _ in shards)
        finally:
            ahead.close()


class ReadAhead:
    """Reads shards in order, and asks for those that follow."""

    _all: ClassVar[set[ReadAhead]] = set()
    """Those of this process that are in use: a shuffled stream has one for each of the shards that it mixes."""

    def __init__(self, open_file: OpenFile, shards: list[ShardRows], selection: Selection, spec: RNNSpec) -> None:
        self._open_file = open_file
        self._selection = selection
        self._spec = spec
        self._coming = deque(shards)
        self._opening: deque[tuple[ShardRows, list[Future[TensorFile]]]] = deque()
        self._asking: Iterator[Window] = iter(())
        self._windows: deque[Window] = deque()
        self._all.add(self)

    def close(self) -> None:
        """Nothing more is asked for: what was on its way no longer counts for other readers."""
        self._all.discard(self)

    def blocks_of_next_shard(self) -> Iterator[pa.Table]:
        """The wanted rows of the next shard, BLOCK_ROWS of them at a time."""
        is_last = False
        while not is_last:
            self._ask()
            window = self._windows.popleft()
            yield from window.blocks()
            is_last = window.is_last

    def _ask(self) -> None:
        """Ask for windows until enough is on its way. Waits for a shard to open only if there is nothing to
        use."""
        while not self._windows or (self._windows[-1].nbytes > 0 and self._bytes_ahead < AHEAD_BYTES):
            window = next(self._asking, None)
            if window is not None:
                self._windows.append(window)
                continue
            self._open_ahead()
            if not self._opening or (self._windows and not all(file.done() for file in self._opening[0][1])):
                return
            self._asking = self._windows_of(*self._opening.popleft())

    @property
    def _bytes_ahead(self) -> int:
        return sum(window.nbytes for reader in tuple(self._all) for window in tuple(reader._windows))

    def _open_ahead(self) -> None:
        while self._coming and len(self._opening) < SHARDS_AHEAD:
            shard = self._coming.popleft()
            self._opening.append(
                (shard, [self._open_file(name) for name in files_of(shard.name, self._selection)])
            )

    def _windows_of(self, shard: ShardRows, files: list[Future[TensorFile]]) -> Iterator[Window]:
        """A shard's windows, each of which is asked for when it is taken."""
        parts = columns_of(shard, self._selection, self._spec, [file.result() for file in files])
        row_bytes = max(1, sum(part.row_bytes for part in parts))
        step = max(1, WINDOW_BYTES // row_bytes // BLOCK_ROWS) * BLOCK_ROWS
        for start in range(0, len(shard.metadata), step):
            metadata = shard.metadata.slice(start, step)
            pending = [(part, part.request(metadata)) for part in parts]
            is_last = start + step >= len(shard.metadata)
            yield Window(metadata, self._selection.columns, self._spec, pending, is_last)


os.register_at_fork(after_in_child=ReadAhead._all.clear)  # those of the parent read nothing here


@dataclass(frozen=True)
class Window:
    """Rows of one shard that were asked for: their metadata, and what is pending of its files."""

    metadata: pa.Table
    columns: tuple[str, ...]
    spec: RNNSpec
    pending: list[tuple[FileColumns, PendingRows]]
    is_last: bool

    @property
    def nbytes(self) -> int:
        return sum(rows.nbytes for _, rows in self.pending)

    def blocks(self) -> Iterator[pa.Table]:
        """Waits for the rows, and gives them in tables that point to them."""
        there = [(rows.wait(), part) for part, rows in self.pending]
        for rows, part in there:
            if part.file.check_rows:
                part.check(rows, self.metadata, self.spec)
        tensors = [(rows.places, part.arrow(rows)) for rows, part in there]
        for start in range(0, len(self.metadata), BLOCK_ROWS):
            metadata = self.metadata.slice(start, BLOCK_ROWS)
            block = {name: metadata[name] for name in self.columns}
            for places, columns in tensors:
                runs = runs_of(places[start : start + len(metadata)])
                block |= {name: column.rows(runs) for name, column in columns.items()}
            yield pa.table(block)

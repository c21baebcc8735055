"""Rows of a safetensors file on the hub: which byte ranges they take, and reading those.

Every request costs the time to the hub and back, every byte the time it takes to arrive. So ranges are joined
across the smallest gaps between them, until the bytes in the gaps come to as much as those that are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.reading.blocks import TensorColumn, runs_of
from rnnzoo.loaders.source.requests import RemoteFile
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.shards import Entry, data_start, parse_header

FIRST_BYTES = 4096
"""Enough for the header of a shard."""
WIDEST_GAP = 1 << 20
"""Bytes that take about as long as one more request."""
FREE_GAPS = 1 << 17
"""Bytes in gaps that are read in any case."""
REQUEST_BYTES = 8 << 20


@dataclass(frozen=True)
class Extent:
    """A tensor [N, *shape] in a file: N models from byte `offset` on."""

    dtype: np.dtype[Any]
    models: int
    shape: tuple[int, ...]
    offset: int

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_layout(file: RemoteFile) -> dict[str, Extent]:
    """Where each tensor of a safetensors file lies. Raises RnnzooError when its header does not fit its size."""
    content = file.read(0, min(FIRST_BYTES, file.size))
    try:
        start = data_start(content, file.size)
    except ValueError as error:
        raise RnnzooError(f"{file.where}: not a whole safetensors file: {error}") from error
    if start > len(content):
        content += file.read(len(content), start)
    try:
        _, entries = parse_header(content[8:start], file.size - start)
        return {name: _extent(entry, start) for name, entry in entries.items()}
    except ValueError as error:
        raise RnnzooError(f"{file.where}: not a whole safetensors file: {error}") from error


def _extent(entry: Entry, start: int) -> Extent:
    models, *shape = entry.shape
    return Extent(entry.dtype, models, tuple(shape), start + entry.first)


def join_ranges(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranges [K, 2] of (first byte, last byte + 1), rising, joined to the fewest that read little too much.

    >>> join_ranges(np.array([[0, 10], [12, 20], [9_000_000, 9_000_010]])).tolist()
    [[0, 20], [9000000, 9000010]]
    """
    gaps = ranges[1:, 0] - ranges[:-1, 1]
    wanted = (ranges[:, 1] - ranges[:, 0]).sum()
    smallest_first = np.argsort(gaps, kind="stable")
    joined = np.zeros(len(gaps), bool)
    joined[smallest_first] = np.cumsum(gaps[smallest_first]) <= max(wanted, FREE_GAPS)
    cuts = np.flatnonzero(~joined | (gaps > WIDEST_GAP))
    firsts, lasts = ranges[np.r_[0, cuts + 1], 0], ranges[np.r_[cuts, len(ranges) - 1], 1]
    return np.stack([firsts, lasts], axis=1)


class RowsOnTheirWay:
    """Rows of some tensors of one file, whose bytes are being read by the threads of a pool."""

    def __init__(
        self, file: RemoteFile, extents: Mapping[str, Extent], rows: NDArray[np.integer[Any]], pool: Executor
    ) -> None:
        """rows: numbers of rows in the file, in any order and as often as they are needed."""
        self._extents = extents
        different, self._place = np.unique(rows, return_inverse=True)
        self._runs = runs_of(different)
        ranges = np.concatenate([extent.offset + self._runs * extent.width for extent in extents.values()])
        self._spans = join_ranges(ranges[np.argsort(ranges[:, 0])])
        self._buffers = [np.empty(end - start, np.uint8) for start, end in self._spans.tolist()]
        self._requests: list[Future[None]] = []
        for buffer, start in zip(self._buffers, self._spans[:, 0].tolist(), strict=True):
            content = memoryview(buffer)  # type: ignore[arg-type]  # NumPy's stubs lack the protocol
            for first in range(0, len(content), REQUEST_BYTES):
                piece = content[first : first + REQUEST_BYTES]
                self._requests.append(pool.submit(file.read_into, start + first, piece))

    @property
    def bytes(self) -> int:
        return sum(len(buffer) for buffer in self._buffers)

    def wait(self) -> None:
        """Until all is there. Raises RnnzooError for what cannot be read."""
        for request in self._requests:
            request.result()

    def columns(self) -> dict[str, TensorColumn]:
        """Name -> the column's different rows; `places` says which of them a row is."""
        return {name: TensorColumn(self._rows(extent)) for name, extent in self._extents.items()}

    def places(self, start: int, end: int) -> NDArray[np.int64]:
        """For the rows number `start` to `end - 1` that were asked for: their places in the columns."""
        return self._place[start:end]

    def _rows(self, extent: Extent) -> NDArray[Any]:
        """The different rows of a tensor, flat; without a copy where they follow one another."""
        ranges = extent.offset + self._runs * extent.width
        spans = np.searchsorted(self._spans[:, 0], ranges[:, 0], side="right") - 1
        pieces = [
            self._buffers[span][first - self._spans[span, 0] : last - self._spans[span, 0]]
            for span, (first, last) in zip(spans.tolist(), ranges.tolist(), strict=True)
        ]
        block = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return block.view(extent.dtype).reshape(-1, math.prod(extent.shape))

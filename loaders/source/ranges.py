"""Rows of a safetensors file on the hub: which byte ranges they take, and reading those.

Every request costs the time to the hub and back, every byte the time it takes to arrive. So ranges are joined
across the smallest gaps between them, until the bytes in the gaps come to as much as those that are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.source.base import Rows
from rnnzoo.loaders.source.requests import RemoteFile
from rnnzoo.loaders.source.runs import runs_of
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.shards import Extent, TensorSpec, data_start, header_from_afar

FIRST_BYTES = 4096
"""Enough for the header of a shard."""
WIDEST_GAP = 1 << 20
"""Bytes that take about as long as one more request."""
FREE_GAPS = 1 << 17
"""Bytes in gaps that are read in any case."""
REQUEST_BYTES = 8 << 20


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


class RemoteTensors:
    """The `TensorFile` of a safetensors file on the hub, whose header has been read."""

    def __init__(self, file: RemoteFile, readers: Executor, check_rows: bool) -> None:
        """readers: the threads that read ranges."""
        self._file = file
        self.check_rows = check_rows
        self._readers = readers
        self._extents = read_extents(file)

    @property
    def where(self) -> str:
        return self._file.where

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return {name: extent.spec for name, extent in self._extents.items()}

    def request(self, names: Sequence[str], rows: NDArray[np.integer[Any]]) -> PendingRanges:
        return PendingRanges(self._file, {name: self._extents[name] for name in names}, rows, self._readers)


def read_extents(file: RemoteFile) -> dict[str, Extent]:
    """Where the tensors of a file lie. Raises RnnzooError when its header does not fit its size."""
    content = file.read(0, min(FIRST_BYTES, file.size))
    try:
        start = data_start(content, file.size)
    except ValueError as error:
        raise RnnzooError(f"{file.where}: not a whole safetensors file: {error}") from error
    if start > len(content):
        content += file.read(len(content), start)
    return header_from_afar(content[:start], file.size, file.where).extents


class PendingRanges:
    """Rows of some tensors of one file, whose bytes are being read by the threads of a pool."""

    def __init__(
        self, file: RemoteFile, extents: Mapping[str, Extent], rows: NDArray[np.integer[Any]], readers: Executor
    ) -> None:
        self._extents = extents
        different, self._places = np.unique(rows, return_inverse=True)
        self._runs = runs_of(different)
        ranges = np.concatenate([extent.offset + self._runs * extent.row_bytes for extent in extents.values()])
        self._spans = join_ranges(ranges[np.argsort(ranges[:, 0])])
        self._buffers = [np.empty(end - start, np.uint8) for start, end in self._spans.tolist()]
        self._requests: list[Future[None]] = []
        for buffer, start in zip(self._buffers, self._spans[:, 0].tolist(), strict=True):
            content = memoryview(buffer)  # type: ignore[arg-type]  # NumPy's stubs lack the protocol
            for first in range(0, len(content), REQUEST_BYTES):
                piece = content[first : first + REQUEST_BYTES]
                self._requests.append(readers.submit(file.read_into, start + first, piece))

    @property
    def nbytes(self) -> int:
        return sum(len(buffer) for buffer in self._buffers)

    def wait(self) -> Rows:
        for request in self._requests:
            request.result()
        tensors = {name: self._different_rows(extent) for name, extent in self._extents.items()}
        return Rows(tensors, self._places, self.nbytes)

    def _different_rows(self, extent: Extent) -> NDArray[Any]:
        """The different rows [U, *shape] of a tensor; without a copy where they follow one another."""
        ranges = extent.offset + self._runs * extent.row_bytes
        spans = np.searchsorted(self._spans[:, 0], ranges[:, 0], side="right") - 1
        pieces = [
            self._buffers[span][first - self._spans[span, 0] : last - self._spans[span, 0]]
            for span, (first, last) in zip(spans.tolist(), ranges.tolist(), strict=True)
        ]
        block = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return block.view(extent.spec.dtype).reshape(-1, *extent.spec.shape[1:])

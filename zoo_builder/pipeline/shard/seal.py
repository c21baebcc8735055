"""A seal on the Parquet files of a build: the sha256 of all other bytes, by which any damage shows.

Parquet's own checksums cover pages alone, and a damaged footer may end the process that reads it. The seal lies
right before the footer, where readers of Parquet, which go by offsets, never look.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError

_SEAL_BYTES = 32
_TAIL_BYTES = 8
"""The footer's length, in four bytes, and the four that end every Parquet file."""


def seal(content: bytes | memoryview) -> bytes:
    """A Parquet file's bytes with a seal in them."""
    footer = len(content) - _TAIL_BYTES - _footer_bytes(content)
    return b"".join((content[:footer], hashlib.sha256(content).digest(), content[footer:]))


def check_seal(path: Path) -> None:
    """Raise RnnzooError unless a file has a seal, and is as it was when it was sealed."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            whole = _is_whole(memoryview(content))
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: cannot be read: {error}") from error
    if not whole:
        raise RnnzooError(f"{path}: its bytes have changed since it was written, or it was not written by a build")


def _is_whole(content: memoryview) -> bool:
    with content:
        end = len(content) - _TAIL_BYTES - _footer_bytes(content)
        first = end - _SEAL_BYTES
        if first < 0:
            return False
        digest = hashlib.sha256(content[:first])
        digest.update(content[end:])
        return digest.digest() == content[first:end]


def _footer_bytes(content: bytes | memoryview) -> int:
    return int.from_bytes(content[-_TAIL_BYTES:-4], "little")

"""Shards: safetensors files of N stacked models. Writer and reader stand side by side.

`safetensors.torch.load_file(shard)` is exactly the dict that `torch.func.functional_call` takes under
`vmap`. Nothing here ever unpickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.numpy import save

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import parse_json
from rnnzoo.zoo_builder.storage.writing import replacing

METADATA_KEY = "rnnzoo"
"""The header's one metadata entry, a JSON text: several entries would come out in no fixed order."""
LONGEST_HEADER = 4_000_000
MOST_DIMENSIONS = 8
LONGEST_TENSOR = 1 << 48
"""Bytes, and the length of an axis: beyond all files, and far from where arithmetic gets slow."""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: temporary file beside it, fsync, rename."""
    with replacing(path) as file:
        file.write(content)


def write_shard(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write tensors [R, ...] and a JSON header. The same values always give the same bytes."""
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    header = {METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    write_file(path, save(contiguous, metadata=header))


@dataclass(frozen=True)
class Shard:
    """A shard on disk: its header, checked against the file's size, and tensors mapped into memory."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def read_shard(path: Path) -> Shard:
    """Open a shard without reading its data: tensors are read-only memory maps.

    Raises RnnzooError, naming the file, when it is missing, truncated or no shard. It does not compare
    hashes: that is `zoo-builder verify`.
    """
    try:
        with open(path, "rb") as file:  # a mapped page that is looked at would count as memory held
            size = path.stat().st_size
            start = data_start(file.read(8), size)
            metadata, entries = parse_header(file.read(start - 8), size - start)
        with pa.memory_map(str(path)) as mapped:  # Python's own mmap would keep every file open
            data = np.frombuffer(mapped.read_buffer(), np.uint8)[start:]
        tensors = {name: data[e.first : e.last].view(e.dtype).reshape(e.shape) for name, e in entries.items()}
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this shard is missing") from error
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: not a whole safetensors file: {error}") from error
    return Shard(path, metadata, tensors)


def data_start(prefix: bytes, size: int) -> int:
    """Where the data of a safetensors file of `size` bytes begin, from its first 8 bytes or more.

    Raises ValueError when the header would not fit the file.
    """
    if len(prefix) < 8:
        raise ValueError(f"found {size} bytes, expected at least 8")
    (length,) = struct.unpack_from("<Q", prefix)
    if length > min(LONGEST_HEADER, size - 8):
        raise ValueError(f"the header should have {length} bytes, the file has {size}")
    return 8 + length


@dataclass(frozen=True)
class Entry:
    """What a header says of a tensor: it takes the bytes `first` to `last - 1`, counted from where data begin."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int
    last: int


def parse_header(text: bytes, data_bytes: int) -> tuple[dict[str, Any], dict[str, Entry]]:
    """A header's JSON note, and its tensors. Raises ValueError unless they fill the data, one after the other."""
    note, between, tensors = text.partition(b'},"')
    if between and note.startswith(b'{"__metadata__":'):  # as safetensors writes it: an object in two halves
        with contextlib.suppress(ValueError):
            notes = _json_object(note + b"}}")["__metadata__"]
            return _note(notes), dict(_entries_in(b'{"' + tensors, data_bytes))
    header = _json_object(text)
    return _note(header.pop("__metadata__", {})), _entries(header, data_bytes)


def _json_object(text: bytes) -> dict[str, Any]:
    header = parse_json(text, "the header")
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    return header


def _note(notes: Any) -> dict[str, Any]:
    if not isinstance(notes, dict) or not isinstance(note := notes.get(METADATA_KEY, "{}"), str):
        raise ValueError("the header's entry '__metadata__' is no JSON object of texts")
    metadata = parse_json(note.encode(), f"header entry {METADATA_KEY!r}")
    if not isinstance(metadata, dict):
        raise ValueError(f"header entry {METADATA_KEY!r} is no JSON object")
    return metadata


@lru_cache(maxsize=8)
def _entries_in(text: bytes, data_bytes: int) -> dict[str, Entry]:
    """Kept, because the shards of a zoo differ in little but their notes, and there may be many thousands."""
    return _entries(_json_object(text), data_bytes)


def _entries(values: Mapping[str, Any], data_bytes: int) -> dict[str, Entry]:
    entries = {name: _entry(name, value) for name, value in values.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].first, item[1].last)):
        if entry.first != end:
            raise ValueError(f"tensor {name!r} begins at byte {entry.first} of the data, expected {end}")
        end = entry.last
    if end != data_bytes:
        raise ValueError(f"found {data_bytes} bytes of data, expected {end}")
    return entries


def _entry(name: str, value: Any) -> Entry:
    try:
        dtype, shape, (first, last) = DTYPES[value["dtype"]], tuple(value["shape"]), value["data_offsets"]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"tensor {name!r} has no known dtype, shape and offsets") from error
    numbers = (*shape, first, last)
    if not all(type(n) is int and 0 <= n <= LONGEST_TENSOR for n in numbers) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"tensor {name!r} has a shape or offset that is no natural number, or is out of bounds")
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name!r} does not fill its bytes {first} to {last}")
    return Entry(dtype, shape, first, last)


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_sha256(row: NDArray[np.float32]) -> str:
    """sha256 of one model's flat weights [P], as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(row, dtype="<f4").tobytes()).hexdigest()

"""Shards: safetensors files of N stacked models. Writer and reader stand side by side.

`safetensors.torch.load_file(shard)` is exactly the dict that `torch.func.functional_call` takes under
`vmap`. Nothing here ever unpickles.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from zoo_builder.errors import RnnzooError

METADATA_KEY = "rnnzoo"
"""The header's one metadata entry, a JSON text: several entries would come out in no fixed order."""
TEMPORARY_FILES = ".*.tmp"
"""Pattern of the names under which files are written before they get their own."""
LONGEST_HEADER = 100_000_000
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
    "I32": np.dtype("<i4"),
    "BOOL": np.dtype("?"),
}


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: temporary file beside it, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RnnzooError(
            f"{path}: could not be written: {error.strerror or error}. Finished files are kept; make room "
            "or choose another folder, and run the same command again."
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
        with open(path, "rb") as file:
            start, header = _read_header(file, path.stat().st_size)
        data = np.memmap(path, mode="r", dtype=np.uint8)[start:]
        metadata = json.loads(header.pop("__metadata__", {}).get(METADATA_KEY, "{}"))
        if not isinstance(metadata, dict):
            raise ValueError(f"header entry {METADATA_KEY!r} is no JSON object")
        tensors = {name: _map_tensor(data, name, entry) for name, entry in header.items()}
        if len(data) != (expected := sum(tensor.nbytes for tensor in tensors.values())):
            raise ValueError(f"found {len(data)} bytes of data, expected {expected}")
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this shard is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RnnzooError(f"{path}: not a whole safetensors file: {error}") from error
    return Shard(path, metadata, tensors)


def _read_header(file: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """Where the data begin, and the header: tensor name -> {"dtype", "shape", "data_offsets"}."""
    start = data_start(file.read(8), size)
    header = json.loads(file.read(start - 8))
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    return start, header


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


def check_entry(name: str, entry: Mapping[str, Any]) -> tuple[np.dtype[Any], list[int], int, int]:
    """Dtype, shape, first byte and end of a tensor, from its entry in a header, counted from where data begin.

    Raises ValueError, KeyError or TypeError for an entry that describes no tensor.
    """
    dtype, shape, (first, last) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)):
        raise ValueError(f"tensor {name!r} has a shape or offset that is no natural number")
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name!r} does not fill its bytes {first} to {last}")
    return dtype, shape, first, last


def _map_tensor(data: NDArray[np.uint8], name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, first, last = check_entry(name, entry)
    if last > len(data):
        raise ValueError(f"tensor {name!r} does not fill its bytes {first} to {last}")
    return data[first:last].view(dtype).reshape(shape)


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_sha256(row: NDArray[np.float32]) -> str:
    """sha256 of one model's flat weights [P], as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(row, dtype="<f4").tobytes()).hexdigest()

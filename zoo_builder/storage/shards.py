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
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import parse_json
from rnnzoo.zoo_builder.storage.writing import write_file

METADATA_KEY = "rnnzoo"
"""The header's one metadata entry, a JSON text: several entries would come out in no fixed order."""
LONGEST_HEADER = 4_000_000
"""Bytes; safetensors itself takes 25 times as many."""
TENSOR_DIGITS = 16
"""Hexadecimal digits of the hash of one parameter of one model: damage shows, in a quarter of the room."""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def write_shard(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write a shard. The same values always give the same bytes.

    Args:
        path: The file, which is written whole or not at all.
        tensors: name -> [R, ...].
        metadata: The JSON note of the header.
    """
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_file(path, save(contiguous, metadata={METADATA_KEY: encode_note(metadata)}))


def encode_note(metadata: Mapping[str, Any]) -> str:
    """The note of a header as its text."""
    return json.dumps(metadata, sort_keys=True)


class TensorSpec(NamedTuple):
    """dtype and shape of a tensor."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def specs_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, TensorSpec]:
    """The dtypes and shapes of arrays."""
    return {name: TensorSpec(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Extent:
    """Where a tensor [N, *shape] lies in a file.

    Attributes:
        spec: Its dtype and shape.
        offset: The number of bytes before it in the file.
    """

    spec: TensorSpec
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one of the N rows."""
        return math.prod(self.spec.shape[1:]) * self.spec.dtype.itemsize

    def view(self, content: NDArray[np.uint8]) -> NDArray[Any]:
        """The tensor in a file's content [bytes], without a copy."""
        end = self.offset + math.prod(self.spec.shape) * self.spec.dtype.itemsize
        return content[self.offset : end].view(self.spec.dtype).reshape(self.spec.shape)


@dataclass(frozen=True)
class Header:
    """A shard's header.

    Attributes:
        metadata: Its JSON note.
        extents: Its tensors, in the order in which they lie in the file.
    """

    metadata: dict[str, Any]
    extents: dict[str, Extent]


@dataclass(frozen=True)
class Shard:
    """A shard on disk.

    Attributes:
        path: The file.
        metadata: The JSON note of its header.
        tensors: Its tensors, mapped into memory.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def read_shard(path: Path) -> Shard:
    """Open a shard without reading its data: tensors are read-only memory maps.

    It does not compare hashes: that is `zoo-builder verify`.

    Raises:
        RnnzooError: The file is missing, truncated or no shard. The error names it.
    """
    header = read_header(path)
    try:
        with pa.memory_map(os.fsencode(path)) as mapped:  # Python's own mmap would keep every file open
            content = np.frombuffer(mapped.read_buffer(), np.uint8)
        tensors = {name: extent.view(content) for name, extent in header.extents.items()}
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: not a whole safetensors file: {error}") from error
    return Shard(path, header.metadata, tensors)


def read_header(path: Path) -> Header:
    """The header of a shard, as safetensors reads it.

    safetensors makes sure that every shape fills its bytes and that the tensors fill the file, one after the
    other. So their offsets follow from their order.

    Raises:
        RnnzooError: The file is not whole. The error names it.
    """
    try:
        with open(path, "rb") as file:
            offset = data_start(file.read(8), os.fstat(file.fileno()).st_size)
        with safe_open(path, framework="numpy") as shard:
            note = (shard.metadata() or {}).get(METADATA_KEY, "{}")
            slices = [(name, shard.get_slice(name)) for name in shard.offset_keys()]
        extents = {}
        for name, entry in slices:
            spec = TensorSpec(_dtype(name, entry.get_dtype()), tuple(entry.get_shape()))
            extents[name] = Extent(spec, offset)
            offset += math.prod(spec.shape) * spec.dtype.itemsize
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this shard is missing") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise RnnzooError(f"{path}: not a whole safetensors file: {error}") from error
    return Header(parse_note(note, path), extents)


def header_from_afar(content: bytes, size: int, where: str) -> Header:
    """The header of a shard that lies elsewhere, from its first bytes.

    safetensors reads headers from files only: so there is one for a moment, with a hole in place of the data.

    Args:
        content: The first bytes of the shard, with its whole header.
        size: Bytes of the whole shard.
        where: The name of the shard in errors.

    Raises:
        RnnzooError: The header is not that of a whole shard.
    """
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        try:
            file.write(content)
            file.truncate(size)
            return read_header(Path(file.name))
        except (OSError, RnnzooError) as error:
            raise RnnzooError(f"{where}: {str(error).removeprefix(f'{file.name}: ')}") from error


def data_start(prefix: bytes, size: int) -> int:
    """Where the data of a safetensors file begin.

    Args:
        prefix: The first 8 bytes of the file, or more.
        size: Bytes of the whole file.

    Returns:
        The number of bytes before the data.

    Raises:
        ValueError: The header would not fit the file.
    """
    if len(prefix) < 8:
        raise ValueError(f"found {size} bytes, expected at least 8")
    (length,) = struct.unpack_from("<Q", prefix)
    if length > min(LONGEST_HEADER, size - 8):
        raise ValueError(f"the header should have {length} bytes, the file has {size}")
    return 8 + length


def _dtype(name: str, dtype: str) -> np.dtype[Any]:
    if dtype not in DTYPES:
        raise ValueError(f"tensor {name!r}: found {dtype}, expected one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def parse_note(note: str, path: Path) -> dict[str, Any]:
    """The note of a header from its text. Raises RnnzooError, with the file's name, where it is no JSON object."""
    metadata = parse_json(note.encode(), f"{path}: header entry {METADATA_KEY!r}")
    if not isinstance(metadata, dict):
        raise RnnzooError(f"{path}: header entry {METADATA_KEY!r}: found {note:.80}, expected a JSON object")
    return metadata


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal. Raises RnnzooError for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be read: {error.strerror or error}") from error


def tensors_sha256(tensors: Sequence[NDArray[Any]]) -> list[str]:
    """What says whether single parameters of N models are whole: for each model TENSOR_DIGITS digits a parameter.

    tensors: the parameters [N, ...] in the order of the layout. Their bytes are hashed, little-endian.
    """
    stored = (np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")) for tensor in tensors)
    columns = [[hashlib.sha256(row).hexdigest()[:TENSOR_DIGITS] for row in tensor] for tensor in stored]
    return ["".join(digits) for digits in zip(*columns, strict=True)]


def row_sha256(row: NDArray[np.float32]) -> str:
    """sha256 of one model's flat weights [P], as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(row, dtype="<f4").tobytes()).hexdigest()

"""The .npy files of an export: written by ordinary writes, so that a full disk is an error.

A write through a memory map would end the process there.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.writing import write_file


class ArrayFile:
    """A new file for an array [R, ...] that is too large for memory: its rows come in any order.

    Its methods raise RnnzooError, with the file's name, when the disk refuses.
    """

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self._path, self._dtype = path, np.dtype(dtype)
        header = io.BytesIO()
        description = {"descr": dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        write_array_header_1_0(header, description)
        self._start = header.tell()
        try:
            self._file = open(path, "xb")  # noqa: SIM115 (closed by `__exit__`)
            self._file.write(header.getvalue())
        except OSError as error:
            raise self._refusal(error) from error

    def write(self, where: NDArray[np.integer[Any]], rows: NDArray[Any]) -> None:
        """Write rows [N, ...] to their places [N] in the array."""
        rows = np.ascontiguousarray(rows, self._dtype)
        try:
            for place, row in zip(where.tolist(), rows, strict=True):
                self._file.seek(self._start + place * row.nbytes)
                self._file.write(row.data)
        except OSError as error:
            raise self._refusal(error) from error

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError as late:  # of the last rows, which were still in memory
            if kind is None:
                raise self._refusal(late) from late

    def _refusal(self, error: OSError) -> RnnzooError:
        return RnnzooError(f"{self._path}: could not be written: {error.strerror or error}")


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a small array. Raises RnnzooError, with the file's name, when the disk refuses."""
    content = io.BytesIO()
    np.save(content, array)
    write_file(path, content.getbuffer())

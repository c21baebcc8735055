"""How files come to be: whole or not at all, under their own name only when every byte is on the disk."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rnnzoo.zoo_builder.errors import RnnzooError

TEMPORARY_FILES = ".*.tmp"
"""Pattern of the names that `temporary_for` makes."""


def temporary_for(path: Path) -> Path:
    """The name under which this process, of all that share the disk, writes a file before it gets its own."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path` to write to; at the end of the block fsync, then rename.

    The file at `path` is the old one, or none, until the block ends without an error. Raises RnnzooError when
    the disk is full or refuses.
    """
    temporary = temporary_for(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise RnnzooError(
            f"{path}: could not be written: {error.strerror or error}. Finished files are kept; make room "
            "or choose another folder, and run the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """See that a folder's names are on the disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""Which files of zoos are known to be whole: each is read and hashed once, and remembered by size and times.

What was found is kept in the cache folder, a text file for each folder of a zoo, so that other processes know it
too. A line is one file as it was when it was hashed. Damage that leaves a file's size and times as they were, such
as that of a failing disk, is found by `zoo-builder verify` and by `check="rows"`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from rnnzoo.zoo_builder.compiled.compiler import cache_folder
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.manifest import FileEntry
from rnnzoo.zoo_builder.storage.shards import file_sha256

CHECKS = ("files", "rows", "off")
"""What readers compare with hashes: each file once; each row when it is read; nothing."""
WORTH_KEEPING = 1_000_000
"""Bytes of a file from which on other processes are told: smaller ones are hashed in less than a millisecond."""
READERS = 8
"""Files hashed at the same time."""


class CheckedFiles:
    """What is known of the files in a folder. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        self._name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
        self._known = self._read()

    def check(self, files: Sequence[tuple[Path, FileEntry]]) -> None:
        """Hash the files that nothing is known of. Raises RnnzooError, which names the file, for a damaged one."""
        unknown = [(path, entry) for path, entry in files if _line(path, entry) not in self._known]
        if unknown:
            with ThreadPoolExecutor(READERS) as pool:
                for line, size in pool.map(_check_file, *zip(*unknown, strict=True)):
                    self._remember(line, size)

    def trust(self, path: Path, entry: FileEntry) -> None:
        """Remember a file that was hashed just now."""
        self._remember(_line(path, entry), entry.bytes)

    def _remember(self, line: str, size: int) -> None:
        self._known.add(line)
        if size < WORTH_KEEPING:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError, RuntimeError):  # no home, no room: then it is known here alone
            folder = _memory()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(folder / self._name, flags, 0o600)
            try:
                os.write(file, f"{line}\n".encode())  # in one piece: others may write at the same time
            finally:
                os.close(file)

    def _read(self) -> set[str]:
        with contextlib.suppress(RnnzooError, RuntimeError):
            return set(read_bytes(file_in(_memory(), self._name)).decode(errors="replace").splitlines())
        return set()


@lru_cache(maxsize=64)
def checked_files(folder: Path) -> CheckedFiles:
    """What is known of the files in a folder, in this process and in others."""
    return CheckedFiles(folder)


def _memory() -> Path:
    return cache_folder() / "checked"


def _check_file(path: Path, entry: FileEntry) -> tuple[str, int]:
    """The line on a file that is whole, and its bytes."""
    line = _line(path, entry)
    if (found := file_sha256(path)) != entry.sha256:
        raise RnnzooError(
            f"{path}: found sha256 {found}, expected {entry.sha256} by zoo.json: the file was damaged or changed"
        )
    return line, entry.bytes


def _line(path: Path, entry: FileEntry) -> str:
    """What a file is known by. Its ctime changes with its content even if somebody sets its mtime back."""
    found = path.stat()
    marks = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return f"{entry.sha256} {' '.join(map(str, marks))}"

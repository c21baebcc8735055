"""How files and folders come to be: whole or not at all, under their own name only when every byte is on the disk.

Until then they have a name that nobody can guess, are made anew, never through a link, and are locked (`flock`) by
whoever fills them: what is not locked was left behind by a process that was killed, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rnnzoo.zoo_builder.errors import RnnzooError

NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems without `fsync` of folders answer, such as CIFS and some of FUSE."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_ENDING = f".{'[0-9a-f]' * 16}.tmp"
TEMPORARY_FILES = f".*{_ENDING}"
"""Pattern of the names that `temporary_for` makes."""
LOCK = "in-use"
"""The file that whoever fills a new folder keeps locked, beside it."""


def temporary_for(path: Path) -> Path:
    """A name, never used before, for a file until it gets its own."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path` to write to; at the end of the block fsync, then rename.

    The file at `path` is the old one, or none, until the block ends without an error; a link there is replaced,
    and not followed. Raises RnnzooError when something else than a file is there, or the disk is full or refuses.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_place(path)
        temporary, descriptor = _new_file(path)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        way_out = "choose another place"
        if error.errno in NO_ROOM:
            way_out = f"make room or {way_out}, and run the same command again"
        raise RnnzooError(f"{path}: could not be written: {error.strerror or error}; {way_out}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _check_place(path: Path) -> None:
    """Raise RnnzooError for the name of what is neither a file nor a link, such as a device."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise RnnzooError(f"{path}: found {found}, expected a file or none")


def _new_file(path: Path) -> tuple[Path, int]:
    """A temporary file for a path, which is locked, and its descriptor."""
    while True:
        temporary = temporary_for(path)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        _lock(file)
        if os.fstat(file).st_nlink:  # else taken for one that was left behind, before it was locked
            return temporary, file
        os.close(file)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Within the block no other process is in such a block of this folder, which is made if there is none.

    Nothing more where there are no locks. Raises RnnzooError where the folder cannot be made or opened.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RnnzooError(f"{folder}: could not be made: {error.strerror}; choose another folder") from error
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(file: int) -> None:
    """Lock an open file, after whoever is about to remove it as left behind; nothing where there are no locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def try_to_lock(file: int) -> bool:
    """Lock an open file; False where somebody else has locked it, or where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, values: Any) -> None:
    """Likewise, JSON: indented, one trailing newline, the same bytes for the same values."""
    with replacing(path) as file:
        for text in json.JSONEncoder(indent=1).iterencode(values):
            file.write(text.encode())
        file.write(b"\n")


def write_single(path: Path, content: bytes | memoryview) -> None:
    """Write a file by itself, and remove what was left beside it when somebody was killed who wrote it.

    For files that a user names: where there are many in a folder, looking for leftovers each time would be slow.
    """
    clear_abandoned(path.parent.glob(f".{glob.escape(path.name)}{_ENDING}"))
    write_file(path, content)


def clear_abandoned(paths: Iterable[Path]) -> None:
    """Remove those of some temporary files that nobody writes to."""
    for path in paths:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(file).st_mode) and try_to_lock(file):
                    path.unlink()
            finally:
                os.close(file)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `out`, synced to the disk, when the block ends without an error.

    Until then it stands beside it, hidden. Raises RnnzooError when there is something of that name, and when the
    disk refuses.
    """
    check_new(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with workspace(out) as place:
            folder = place / "folder"
            folder.mkdir()
            with _errors_name(folder, out):
                yield folder
            _sync_below(folder)
            folder.rename(out)
            sync_folder(out.parent)
    except OSError as error:
        raise RnnzooError(f"{out}: could not be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _errors_name(folder: Path, out: Path) -> Iterator[None]:
    """Errors within the block say `out` for a folder that has another name until then."""
    try:
        yield
    except RnnzooError as error:
        if str(folder) not in str(error):
            raise
        raise RnnzooError(str(error).replace(str(folder), str(out))) from error


def check_new(out: Path) -> None:
    """Raise RnnzooError when there is something of that name.

    What processes left beside it that were killed while they filled a folder of the name is removed.
    """
    clear_workspaces(out)
    if os.path.lexists(out):
        raise RnnzooError(f"{out}: exists; expected the name of a new folder")


@contextlib.contextmanager
def workspace(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, gone at the end of the block; `clear_workspaces` removes one left behind."""
    place, lock = _new_workspace(out)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def _new_workspace(out: Path) -> tuple[Path, int]:
    """A new folder beside `out`, and its lock."""
    while True:
        place = out.with_name(f".{out.name}.{secrets.token_hex(8)}.new")
        place.mkdir()
        with contextlib.suppress(FileNotFoundError):  # taken for one that was left behind, before it was locked
            lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _lock(lock)
            if os.fstat(lock).st_nlink:
                return place, lock
            os.close(lock)


def clear_workspaces(out: Path) -> None:
    """Remove what processes left behind that were killed while they filled a folder for `out`."""
    for place in out.parent.glob(f".{glob.escape(out.name)}.*.new"):
        with contextlib.suppress(OSError):
            place.rmdir()  # if it is empty
        with contextlib.suppress(OSError):
            lock = os.open(place / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if try_to_lock(lock):
                    shutil.rmtree(place)
            finally:
                os.close(lock)


def _sync_below(folder: Path) -> None:
    """See that all files and names below a folder are on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """See that a folder's names are on the disk, where the file system does that for folders: some refuse."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(file)

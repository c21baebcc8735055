"""Which process is at work on what, among those that build in one folder.

A lock is an advisory one (`flock`) on `.build/<name>.lock`. The operating system drops it when its holder ends,
however it ends: there is no lease to renew and no clock to trust. It only saves double work, which would give the
same bytes. Where the file system has no locks, that is said once, and every process goes on as if it held them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import BUILD_FOLDER

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without `flock` answer."""
PLAN, FINISH = "plan", "finish"
"""Locks beside those of the shards: for leaving the config in a folder, and for finishing the zoo there."""


class Lock:
    """A lock that is held until `release`, the end of a `with` block, or the end of the process."""

    def __init__(self, file: int) -> None:
        self._file = file

    def release(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(folder: Path, name: str) -> Lock | None:
    """Lock something, such as a shard, of the build in `folder`; None while it is locked already, by whomever.

    Raises RnnzooError when there is no build in the folder (any more).
    """
    return _lock(folder, name, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock for the length of a `with` block; waits until it is free."""
    lock = _lock(folder, name, fcntl.LOCK_EX)
    assert lock is not None, "waited for"
    with lock:
        yield


def _lock(folder: Path, name: str, how: int) -> Lock | None:
    path = folder / BUILD_FOLDER / f"{name}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError as error:
        raise RnnzooError(f"{path.parent}: there is no build here any more: another one finished it") from error
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be opened for writing: {error.strerror or error}") from error
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(file)
            raise RnnzooError(f"{path}: cannot be locked: {error.strerror or error}") from error
        _say_there_are_no_locks(folder)
    return Lock(file)


@cache
def _say_there_are_no_locks(folder: Path) -> None:
    log.warning("%s: this file system has no locks; several builds here may do the same work twice", folder)

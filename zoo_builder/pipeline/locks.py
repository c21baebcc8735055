"""Which process is at work on what, among those that build in one folder.

A lock is an advisory one (`flock`) on `.build/<name>.lock`. The operating system drops it when its holder ends,
however it ends: there is no lease to renew and no clock to trust. It only saves double work, which would give the
same bytes. Where the file system has no locks, that is said once, and every process goes on as if it held them.

While a lock is held, its file says by whom. Who waits for it says so, and can be stopped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import one_line
from rnnzoo.zoo_builder.pipeline.progress import Interrupted
from rnnzoo.zoo_builder.storage.schema import BUILD_FOLDER

log = logging.getLogger(__name__)

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without `flock` answer."""
PLAN, FINISH = "plan", "finish"
"""Locks beside those of the shards: for leaving the config in a folder, and for finishing the zoo there."""
SAY_SECONDS = 1.0
"""After which whoever waits says for whom."""
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.01, 0.5
"""Between the first two looks at a lock that somebody else holds, and between later ones."""
LONGEST_NOTE = 300
"""Characters of a lock's file that are read."""


SPARE_FILES = 48
"""That a process may open beside the locks it holds."""


def locks_at_once() -> int:
    """How many locks this process may hold at once, one at least: each is an open file."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(1, most - SPARE_FILES)


def never() -> bool:
    """Nobody asks to stop."""
    return False


class Lock:
    """A lock that is held until `release`, the end of a `with` block, or the end of the process."""

    def __init__(self, file: int) -> None:
        self._file = file

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(folder: Path, name: str) -> Lock | None:
    """Lock something, such as a shard, of the build in `folder`; None while it is locked already, by whomever.

    Raises RnnzooError when there is no build in the folder (any more).
    """
    path = _lock_path(folder, name)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError as error:
        raise RnnzooError(f"{path.parent}: there is no build here any more: another one finished it") from error
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be opened for writing: {error.strerror or error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(file)
            raise RnnzooError(f"{path}: cannot be locked: {error.strerror or error}") from error
        _say_there_are_no_locks(folder)
    with contextlib.suppress(OSError):  # such as a full disk: it is only for people
        os.ftruncate(file, 0)
        os.pwrite(file, _own_note().encode(), 0)
    return Lock(file)


@contextlib.contextmanager
def locked(folder: Path, name: str, stop_requested: Callable[[], bool] = never) -> Iterator[None]:
    """Hold a lock for the length of a `with` block; waits until it is free.

    Raises Interrupted instead where that is asked for meanwhile.
    """
    waiting = Waiting(folder, stop_requested)
    while (lock := try_lock(folder, name)) is None:
        waiting.look_away(name)
    with lock:
        yield


class Waiting:
    """A wait for locks that others hold, which says for whom when it takes longer than a moment."""

    def __init__(self, folder: Path, stop_requested: Callable[[], bool] = never) -> None:
        self._folder, self._stop_requested = folder, stop_requested
        self._began: float | None = None
        self._looks = 0
        self._said: set[str] = set()

    def look_away(self, name: str) -> None:
        """Give whoever holds a lock a little time. Raises Interrupted instead where that is asked for."""
        if self._stop_requested():
            raise Interrupted
        self._began = self._began or time.monotonic()
        if time.monotonic() - self._began >= SAY_SECONDS:
            self._say(name)
        time.sleep(min(LOOK_SECONDS, FIRST_LOOK_SECONDS * 2**self._looks))
        self._looks = min(self._looks + 1, 10)

    def _say(self, name: str) -> None:
        """Name the holder of a lock, if that is news."""
        command, holder = _read_note(_lock_path(self._folder, name))
        if holder not in self._said:
            self._said.add(holder)
            ours = command == _command()  # its workers take turns, and nobody has to know
            text = "%s: waiting for the lock %r, held by %s"
            log.log(logging.INFO if ours else logging.WARNING, text, self._folder, name, holder)


def _own_note() -> str:
    """What the file of a lock says while this process holds it: its command, and a line for people."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"{_command()}\nprocess {os.getpid()} on {platform.node()} since {since}\n"


def _command() -> str:
    """The host and the process of the command that this process works for: its own, or that of its driver."""
    driver = multiprocessing.parent_process()
    return f"{platform.node()} {os.getpid() if driver is None else driver.pid}"


def _read_note(path: Path) -> tuple[str, str]:
    """The command that holds a lock, and its holder in words; of what the file does not say nothing is known."""
    text = ""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            text = os.pread(file, LONGEST_NOTE, 0).decode(errors="replace")
        finally:
            os.close(file)
    command, _, holder = text.partition("\n")
    return command, one_line(holder.strip()) or "another process"


def _lock_path(folder: Path, name: str) -> Path:
    return folder / BUILD_FOLDER / f"{name}.lock"


@cache
def _say_there_are_no_locks(folder: Path) -> None:
    log.warning("%s: this file system has no locks; several builds here may do the same work twice", folder)

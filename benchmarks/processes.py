"""The processes of a build as they look from outside: for those who kill them, to see that it recovers."""

from __future__ import annotations

import os
import signal
import subprocess


def workers_of(driver: int) -> list[int]:
    """The process ids of a driver's workers."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(driver)], capture_output=True, text=True
    )
    lines = (line.split(maxsplit=1) for line in found.stdout.splitlines())
    return [int(pid) for pid, arguments in lines if "spawn_main" in arguments]


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")


def kill(pid: int) -> bool:
    """SIGKILL; False if the process has just ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True

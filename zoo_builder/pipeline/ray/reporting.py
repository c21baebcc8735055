"""How the tasks of a cluster report to the command that sent them, and hear from it when to stop.

Both sides speak to an actor of the cluster (`ProgressActor`): tasks leave there where their shards stand, and the
command fetches that, about once a second each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from rnnzoo.zoo_builder.pipeline.progress import ShardProgress

REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class TaskReports:
    """What tasks have reported: where shards stand, and what was warned of."""

    progress: list[ShardProgress]
    warnings: list[str]


class ProgressActor:
    """Holds the reports of all tasks until the command fetches them. An actor of the cluster."""

    def __init__(self) -> None:
        self._progress: dict[str, ShardProgress] = {}
        self._warnings: list[str] = []
        self._stop = False

    def report(self, progress: ShardProgress | None) -> bool:
        """Note where a shard stands, if that is known yet; returns whether to save and stop."""
        if progress is not None:
            self._progress[progress.shard] = progress
        return self._stop

    def warn(self, text: str) -> None:
        self._warnings.append(text)

    def fetch(self, stop: bool) -> TaskReports:
        """The reports since the last time; `stop`: what tasks are told from now on."""
        self._stop = stop
        reports = TaskReports(list(self._progress.values()), self._warnings)
        self._progress, self._warnings = {}, []
        return reports


class TaskReporter(logging.Handler):
    """The observer of a task, which reports once a second, the first time at once. As a log handler, it passes
    warnings on.

    send, warn: those of the actor, `send` waiting for the answer. before_report: called before each report.
    """

    def __init__(self, send: Callable[[ShardProgress | None], bool], warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._send, self._warn = send, warn
        self._due = 0.0
        self._stop = False
        self.last: ShardProgress | None = None
        self.before_report: Callable[[], None] = lambda: None

    def report(self, progress: ShardProgress) -> None:
        self.last = progress

    def stop_requested(self) -> bool:
        if time.monotonic() >= self._due:
            self.before_report()
            self._stop = self._send(self.last)
            self._due = time.monotonic() + REPORT_SECONDS
        return self._stop

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(self.format(record))

"""How far a build is that is spread over a cluster: tasks report to a board, and the command looks at it.

Tasks say where they stand, not how far they have come: a task that dies and begins again from its saved state
counts nothing twice. The board's answer tells them whether to stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from rnnzoo.zoo_builder.pipeline.shard.unit import Observer

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Standing:
    """Where a shard stands, in training steps summed over its runs.

    before: of them, by an earlier build. at: the last checkpoint's step and median accuracy.
    """

    model_steps: int = 0
    before: int = 0
    at: tuple[int, float] | None = None


@dataclass(frozen=True)
class News:
    """What tasks have reported: by shard where it stands, and warnings."""

    standings: dict[str, Standing]
    warnings: list[str]


class Board:
    """Holds the news of all tasks until the command takes them. An actor of the cluster."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        self._warnings: list[str] = []
        self._stop = False

    def report(self, shard: str, standing: Standing) -> bool:
        """Note where a shard stands; returns whether to save and stop."""
        self._standings[shard] = standing
        return self._stop

    def warn(self, message: str) -> None:
        self._warnings.append(message)

    def take(self, stop: bool) -> News:
        """The news since the last time; `stop`: what tasks are told from now on."""
        self._stop = stop
        news = News(self._standings, self._warnings)
        self._standings, self._warnings = {}, []
        return news


class BoardReporter(logging.Handler):
    """The observer of a task: reports about once a second. As a handler of logs it passes warnings on.

    report, warn: those of the board, `report` waiting for the answer. meanwhile: called before a report.
    """

    def __init__(self, shard: str, report: Callable[[str, Standing], bool], warn: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._shard, self._report, self._warn = shard, report, warn
        self._standing = Standing()
        self._due = 0.0
        self._stop = False
        self.diverged = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        standing = self._standing
        self._standing = replace(
            standing,
            model_steps=standing.model_steps + model_steps,
            before=standing.before + (model_steps if before else 0),
        )

    def scored(self, step: int, accuracy: float) -> None:
        self._standing = replace(self._standing, at=(step, accuracy))

    def runs_done(self, runs: int, diverged: int) -> None:
        self.diverged += diverged

    def stop_requested(self) -> bool:
        if time.monotonic() >= self._due:
            self.meanwhile()
            self._stop = self._report(self._shard, self._standing)
            self._due = time.monotonic() + REPORT_SECONDS
        return self._stop

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(self.format(record))


class Standings:
    """Turns what tasks report into what an observer is told, each step once."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._known: dict[str, int] = {}
        self._warned: set[str] = set()

    def note(self, shard: str, standing: Standing) -> None:
        known = self._known.get(shard, 0)
        for done, before in ((standing.before, True), (standing.model_steps, False)):
            if done > known:  # else begun again, and not yet where it was
                self._observer.steps_done(done - known, before)
                known = done
        self._known[shard] = known
        if standing.at is not None:
            self._observer.scored(*standing.at)

    def finish(self, shard: str, model_steps: int) -> None:
        """A shard is built: all its steps are done."""
        self.note(shard, Standing(model_steps))

    def warn(self, message: str) -> None:
        """Log what tasks warn of, once however many say it."""
        if message not in self._warned:
            self._warned.add(message)
            log.warning("%s", message)

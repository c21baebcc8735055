"""How far a build is: what executors report (`ShardProgress`), who listens (`Observer`), and what follows from it.

An executor says where a shard stands, never how far it has come since the last report. So nothing counts twice
when a report is repeated or lost, or when a worker dies and another one goes back to the last saved state.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan

RATE_SECONDS = 60.0
"""The rate is that of the last minute."""
SAMPLE_SECONDS = 0.5
"""Between two of the moments that the rate is worked out from."""


class Interrupted(Exception):
    """The build was asked to stop, and did so with its state saved."""


@dataclass(frozen=True)
class ShardProgress:
    """Where a shard stands.

    Attributes:
        shard: Its name.
        runs: How many runs it has.
        step: Training steps that each of them has taken.
        resumed_from: The step at which this build found the shard.
        accuracy: Median at the last checkpoint, over all runs that train side by side; None before the first one.
        is_stored: Whether the shard is finished and on the disk.
        diverged: How many runs of a stored shard diverged; 0 where another build stored it.
    """

    shard: str
    runs: int
    step: int
    resumed_from: int
    accuracy: float | None = None
    is_stored: bool = False
    diverged: int = 0

    @classmethod
    def found_stored(cls, shard: ShardPlan, steps: int) -> ShardProgress:
        """A shard that another build, or an earlier one, has finished. steps: of a whole training."""
        return cls(shard.name, len(shard.runs), step=steps, resumed_from=steps, is_stored=True)


class Observer(Protocol):
    """Who watches a build. Both methods are called often: at least once in a block of 100 training steps."""

    def report(self, progress: ShardProgress) -> None:
        """Take note of where a shard stands now."""

    def stop_requested(self) -> bool:
        """Whether to save and stop now."""
        ...


class Unwatched:
    """The observer of a build that nobody watches."""

    def report(self, progress: ShardProgress) -> None:
        pass

    def stop_requested(self) -> bool:
        return False


class ProgressTracker:
    """Adds up the reports on the shards of a build.

    A model-step is one training step of one run.

    Attributes:
        model_steps: Model-steps that are done, by whichever build.
        resumed: Those of them that this build found done.
        total: Model-steps of the whole build.
        runs: Runs that are stored.
        diverged: Those of them that diverged.
        last: The last report with an accuracy; None before the first one.
        rate: Model-steps a second of late, without the time of scoring; None before there is one.
    """

    def __init__(self, runs: int, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Expect `runs` runs of `steps` training steps. clock: seconds from some moment on."""
        self.total = runs * steps
        self.model_steps = self.resumed = self.runs = self.diverged = 0
        self.last: ShardProgress | None = None
        self.rate: float | None = None
        self._shards: dict[str, ShardProgress] = {}
        self._clock = clock
        self._trained: deque[tuple[float, int]] = deque()

    def report(self, progress: ShardProgress) -> None:
        """Take note of where a shard stands. Once it is stored, nothing more is expected of it."""
        known = self._shards.get(progress.shard)
        if known is not None and known.is_stored:
            return
        found_at = progress.resumed_from if known is None else min(known.resumed_from, progress.resumed_from)
        self.model_steps += progress.runs * (progress.step - (0 if known is None else known.step))
        self.resumed += progress.runs * (found_at - (0 if known is None else known.resumed_from))
        if progress.is_stored:
            self.runs += progress.runs
            self.diverged += progress.diverged
        if progress.accuracy is not None:
            self.last = progress
            if known is None or progress.accuracy != known.accuracy:  # since its last report, it was scored
                self._trained.clear()
        self._shards[progress.shard] = replace(progress, resumed_from=found_at)
        self._note_rate()

    @property
    def trained(self) -> int:
        """Model-steps of this build alone."""
        return self.model_steps - self.resumed

    @property
    def seconds_left(self) -> float | None:
        """How long training will still take at this rate, without scoring; None where there is none."""
        return None if self.rate is None else (self.total - self.model_steps) / self.rate

    def _note_rate(self) -> None:
        if not self.trained:  # what comes before the first step takes its time once
            return
        now = self._clock()
        if len(self._trained) > 1 and now - self._trained[-2][0] < SAMPLE_SECONDS:
            self._trained.pop()
        self._trained.append((now, self.trained))
        while len(self._trained) > 2 and self._trained[1][0] <= now - RATE_SECONDS:
            self._trained.popleft()
        (began, before), (ended, after) = self._trained[0], self._trained[-1]
        if ended - began >= SAMPLE_SECONDS and after > before:
            self.rate = (after - before) / (ended - began)

"""Counts what a build has told its observer, so that it hears of every run once, whoever built it."""

from __future__ import annotations

from rnnzoo.zoo_builder.pipeline.shard.unit import Observer


class Ledger:
    """Passes a build's progress on to an observer, and knows how many runs that was.

    steps: training steps a run.
    """

    def __init__(self, observer: Observer, steps: int) -> None:
        self._observer, self._steps = observer, steps
        self._runs = 0
        self.steps_done, self.scored = observer.steps_done, observer.scored
        self.stop_requested = observer.stop_requested

    def runs_done(self, runs: int, diverged: int) -> None:
        self._runs += runs
        self._observer.runs_done(runs, diverged)

    def found(self, runs: int) -> None:
        """So many runs are stored by now, by this build or another: tell of those not told of yet."""
        others = runs - self._runs
        if others > 0:
            self._observer.steps_done(others * self._steps, before=True)
            self.runs_done(others, 0)

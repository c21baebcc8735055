"""The runs that a config stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.random_streams import Stream, below, bits
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.training.loop import Run
from rnnzoo.zoo_builder.zoos import DRAWN_FIELDS, ZooConfig


class Runs(Sequence[Run]):
    """Some runs of a zoo, each made anew when it is asked for: a million of them are two arrays and a list.

    tasks, seeds: of all runs of the zoo. numbers: which of them stand here, and in which order. A `Runs` pickles
    as a tuple, without the rest of the zoo.
    """

    def __init__(
        self,
        config: ZooConfig,
        tasks: Sequence[Task],
        seeds: NDArray[np.integer[Any]],
        numbers: NDArray[np.integer[Any]],
    ) -> None:
        self._config, self._tasks, self._seeds, self._numbers = config, tasks, seeds, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, key: int) -> Run: ...
    @overload
    def __getitem__(self, key: slice) -> Runs: ...
    def __getitem__(self, key: int | slice) -> Run | Runs:
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        return self._run(int(self._numbers[key]))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)

    @property
    def tasks(self) -> list[Task]:
        """The task of each run."""
        return [self._tasks[number] for number in self._numbers]

    def take(self, places: NDArray[np.integer[Any]]) -> Runs:
        """The runs that stand at these places."""
        return Runs(self._config, self._tasks, self._seeds, self._numbers[places])

    def find(self, run_id: str) -> Run | None:
        """The zoo's run of this id, if it has one."""
        digits = run_id.removeprefix("run-")
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else len(self._seeds)
        run = self._run(number) if number < len(self._seeds) else None
        return run if run is not None and run.run_id == run_id else None

    def _run(self, number: int) -> Run:
        seed = int(self._seeds[number])
        return Run(number, run_id(number), self._tasks[number], seed, *draw_settings(self._config, seed))


def plan_runs(config: ZooConfig, family: TaskFamily[Any]) -> Runs:
    """The runs of a zoo. Run r is the same in a zoo of 64 runs and in one of 1000."""
    return Runs(config, family.tasks(config.runs, config.seed), run_seeds(config), np.arange(config.runs))


def run_id(number: int) -> str:
    """What the metadata call the run of a number: 'run-000003'."""
    return f"run-{number:06d}"


def run_seeds(config: ZooConfig) -> NDArray[np.integer[Any]]:
    """The seed of each run of a zoo."""
    return bits(config.seed, Stream.RUN_SEEDS, 0, config.runs) >> 1  # 63 bits: an Arrow int64 holds it


def draw_settings(config: ZooConfig, seed: int) -> list[Any]:
    """What the run with a seed draws of each of `DRAWN_FIELDS`."""
    choices = [getattr(config, name) for name in DRAWN_FIELDS]
    return [
        values[int(below(seed, Stream.RUN_SETTINGS, block, 1, len(values))[0])] if len(values) > 1 else values[0]
        for block, values in enumerate(choices)
    ]

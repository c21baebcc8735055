"""The training of N runs at once, from initialisation to the last checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.zoo_builder.random_streams import Stream, below, permutation
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.training.kernels.base import Kernel, TrainState

STEPS_PER_BLOCK = 100
"""Training items are drawn in blocks of this many steps. Part of what defines a run: never change it."""
FIRST_STEPS = (1, 10)
"""Steps of the first calls of a kernel at most, so that progress shows at once."""
CALL_SECONDS = 2.0
"""Of a later call, about: between two calls a training can be saved and stopped."""


@dataclass(frozen=True)
class Run:
    """One training from one seed.

    Attributes:
        index: Number of the run in the zoo.
        run_id: Its name in the metadata.
        task: What it learns.
        seed: Decides its initialisation and all its draws.
        learning_rate_scale: Factor of the schedule's learning rates.
        weight_decay: That of AdamW.
        batch_size_scale: Factor of the schedule's batch size.
        initial_scale: Factor of the initial weights.
        data_fraction: Share of the task's training items that it trains on.
    """

    index: int
    run_id: str
    task: Task
    seed: int
    learning_rate_scale: float
    weight_decay: float
    batch_size_scale: int = 1
    initial_scale: float = 1.0
    data_fraction: float = 1.0


@dataclass(frozen=True)
class Schedule:
    """When to take checkpoints, and a learning rate that is piecewise linear in the step.

    Attributes:
        steps: Updates of a whole training.
        batch_size: Sequences of an update, of a run whose batch scale is 1.
        checkpoints: Steps after whose update the weights are kept (0: before the first), rising, last = steps.
        learning_rate: (fraction of `steps`, rate) knots, fractions rising from 0 to 1.
    """

    steps: int
    batch_size: int
    checkpoints: tuple[int, ...]
    learning_rate: tuple[tuple[float, float], ...]

    def rates(self, first: int, last: int) -> Tensor:
        """Learning rates of the updates first + 1 to last, float32 [last - first].

        They are interpolated in double, one operation after the other: `np.interp` may join two of them.
        """
        fractions, values = np.array(self.learning_rate, np.float64).T
        knots, steps = fractions * self.steps, np.arange(first, last)
        left = np.searchsorted(knots, steps, side="right") - 1
        shares = (steps - knots[left]) / (knots[left + 1] - knots[left])
        rates = values[left] + (values[left + 1] - values[left]) * shares
        return torch.from_numpy(rates.astype(np.float32))


@dataclass(frozen=True)
class Checkpoint:
    """The weights of N runs at one step: flat float32 [N, P]. Those of a run that diverged are not finite."""

    step: int
    weights: Tensor


def run_data(family: TaskFamily[Any], tasks: Sequence[Task]) -> Data:
    """The batches of N runs, run n on tasks[n]. Beside tasks with a view, one without sees all bytes in order."""
    found = [family.view(task) for task in tasks]
    views = None
    if any(view is not None for view in found):
        in_order = np.arange(family.items.shape[1], dtype=np.int16)
        views = torch.from_numpy(np.stack([in_order if view is None else view for view in found]))
    return Data(
        encoding=family.encoding,
        items=torch.from_numpy(np.ascontiguousarray(family.items)),
        labels=None if family.labels is None else torch.from_numpy(np.ascontiguousarray(family.labels)),
        views=views,
    )


def training_pool(family: TaskFamily[Any], run: Run) -> NDArray[np.int32]:
    """The items that a run trains on: those of its task, or a share of them that its seed decides."""
    pool = family.training_items(run.task).astype(np.int32, copy=False)
    if run.data_fraction == 1:
        return pool
    count = max(1, round(run.data_fraction * len(pool)))
    return pool[permutation(run.seed, Stream.RUN_DATA, 0, len(pool))[:count]]


def draw_items(seed: int, pool: np.ndarray, block: int, batch_size: int) -> np.ndarray:
    """The items of a run's steps block * 100 to block * 100 + 99: int32 [100, B], uniform from its pool."""
    drawn = below(seed, Stream.TRAINING_ITEMS, block, STEPS_PER_BLOCK * batch_size, len(pool))
    return pool[drawn].reshape(STEPS_PER_BLOCK, batch_size)


def train_runs(
    kernel: Kernel,
    spec: RNNSpec,
    family: TaskFamily[Any],
    runs: Sequence[Run],
    schedule: Schedule,
    state: TrainState | None = None,
    on_progress: Callable[[TrainState], None] | None = None,
) -> Iterator[Checkpoint]:
    """Train N runs side by side.

    The weights of a run depend on its own seed, task and settings, not on the runs beside it.

    Args:
        kernel: What takes the training steps.
        spec: The architecture of the models.
        family: The task family, with its items.
        runs: The N runs.
        schedule: Steps, checkpoints, batch size and learning rates.
        state: The state of an earlier call, left at any step: training goes on from there, without the checkpoints
            up to and including that step. None starts from the initialisation.
        on_progress: Called with the state after at most 100 steps, or fewer where they take long (`CALL_SECONDS`;
            at first see `FIRST_STEPS`), and after the checkpoint of that step where there is one.

    Yields:
        The flat weights of all runs [N, P] at every step of `schedule.checkpoints`.
    """
    if state is None:
        state = TrainState.initial(spec, [run.seed for run in runs])
        state.weights *= torch.tensor([run.initial_scale for run in runs], dtype=torch.float32).unsqueeze(1)
        if 0 in schedule.checkpoints:
            yield Checkpoint(0, state.weights.clone())
    data = run_data(family, [run.task for run in runs])
    pools = [training_pool(family, run) for run in runs]
    sizes = np.array([schedule.batch_size * run.batch_size_scale for run in runs])
    scales = torch.tensor([run.learning_rate_scale for run in runs], dtype=torch.float32)
    decays = torch.tensor([run.weight_decay for run in runs], dtype=torch.float32)

    def draw(block: int) -> list[NDArray[np.int32]]:
        return [
            draw_items(run.seed, pool, block, size) for run, pool, size in zip(runs, pools, sizes, strict=True)
        ]

    pace, steps = _Pace(), schedule.steps
    blocks = range(state.step // STEPS_PER_BLOCK, math.ceil(steps / STEPS_PER_BLOCK))
    for block, drawn in _drawn_ahead(draw, blocks):
        begin = block * STEPS_PER_BLOCK
        while state.step < min(begin + STEPS_PER_BLOCK, steps):
            first = state.step
            checkpoint = next(step for step in schedule.checkpoints if step > first)
            last = min(begin + STEPS_PER_BLOCK, checkpoint, first + pace.steps())
            rates = scales.unsqueeze(1) * schedule.rates(first, last)
            ids = [of_run[first - begin : last - begin] for of_run in drawn]
            _train_by_size(kernel, state, data, ids, rates, decays)
            pace.took(last - first)
            if last == checkpoint:
                yield Checkpoint(last, state.weights.clone())
            if on_progress is not None:
                on_progress(state)


def _drawn_ahead(
    draw: Callable[[int], list[NDArray[np.int32]]], blocks: range
) -> Iterator[tuple[int, list[NDArray[np.int32]]]]:
    """Each block and the items drawn for it; those of the next one are drawn while these are trained on."""
    if not blocks:
        return
    with ThreadPoolExecutor(1) as drawer:
        drawing = drawer.submit(draw, blocks[0])
        for block in blocks:
            drawn = drawing.result()
            if block + 1 in blocks:
                drawing = drawer.submit(draw, block + 1)
            yield block, drawn


class _Pace:
    """How many steps a call of a kernel takes: few at first, and later as many as make `CALL_SECONDS`."""

    def __init__(self) -> None:
        self._first, self._most = iter(FIRST_STEPS), STEPS_PER_BLOCK
        self._began = 0.0

    def steps(self) -> int:
        """At most so many in the call that begins now."""
        self._began = time.monotonic()
        return min(next(self._first, STEPS_PER_BLOCK), self._most)

    def took(self, steps: int) -> None:
        """The call has taken so many steps."""
        a_step = (time.monotonic() - self._began) / steps
        self._most = max(1, int(CALL_SECONDS / a_step)) if a_step > 0 else STEPS_PER_BLOCK


def _train_by_size(
    kernel: Kernel,
    state: TrainState,
    data: Data,
    drawn: Sequence[NDArray[np.int32]],
    rates: Tensor,
    decays: Tensor,
) -> None:
    """Take the same training steps with all runs, those with batches of one size together.

    drawn: the items of each run's steps, [S, B], where B may differ.
    """
    sizes = np.array([ids.shape[1] for ids in drawn])
    before = state.step
    for size in np.unique(sizes):
        rows = torch.from_numpy(np.flatnonzero(sizes == size))
        ids = torch.from_numpy(np.stack([drawn[row] for row in rows]))
        if len(rows) == len(drawn):
            kernel.train_steps(state, data, ids, rates, decays)
            return
        moving = (state.weights, state.first_moment, state.second_moment)
        weights, first_moment, second_moment = (tensor[rows] for tensor in moving)
        part = TrainState(state.spec, weights, first_moment, second_moment, before)
        kernel.train_steps(part, data.of(rows), ids, rates[rows], decays[rows])
        for tensor, trained in zip(moving, (part.weights, part.first_moment, part.second_moment), strict=True):
            tensor[rows] = trained
        state.step = part.step

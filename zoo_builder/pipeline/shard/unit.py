"""The unit of work: some shards, trained and scored side by side, then stored.

Every way of building runs `build_shards`: in one process, in several, in parts, on a cluster. It is
deterministic and idempotent: whoever builds a shard, however often, writes the same bytes, and a shard is
complete only when its part is there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.saved_state import Progress, join_progress, save_progress
from rnnzoo.zoo_builder.pipeline.shard.store import store_shard
from rnnzoo.zoo_builder.rollouts import Evaluation, evaluate
from rnnzoo.zoo_builder.training.kernels import Kernel, TrainState
from rnnzoo.zoo_builder.training.loop import train_runs


class Interrupted(Exception):
    """The build was asked to stop, and did so with its state saved."""


class Observer(Protocol):
    """Who watches a build. Called between blocks of at most 100 training steps."""

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        """So many more training steps, summed over runs, are done; `before`: by an earlier build.

        Fewer than none where a process died and what it had not saved is done again.
        """

    def scored(self, step: int, accuracy: float) -> None:
        """The runs under way reached a checkpoint with this median accuracy."""

    def runs_done(self, runs: int, diverged: int) -> None:
        """So many more runs are stored, of which some diverged."""

    def stop_requested(self) -> bool:
        """Whether to save and stop now."""
        ...


class Unwatched:
    """The observer that looks away; others may take from it what they do not care for."""

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        pass

    def scored(self, step: int, accuracy: float) -> None:
        pass

    def runs_done(self, runs: int, diverged: int) -> None:
        pass

    def stop_requested(self) -> bool:
        return False


def build_shards(
    plan: ZooPlan,
    folder: Path,
    group: Sequence[tuple[ShardPlan, Progress]],
    kernel: Kernel,
    observer: Observer,
    save_every: float,
) -> None:
    """Train and score the runs of some shards side by side, then store each shard.

    group: shards, and what is saved of each (`load_progress`); all of them stand at the same step.
    save_every: seconds between two saves of their training state, by a clock that nobody sets.
    Raises Interrupted, with the state saved, when the observer asks to stop.
    """
    shards = [shard for shard, _ in group]
    runs = [run for shard in shards for run in shard.runs]
    progress = join_progress(plan.spec, [progress for _, progress in group])
    evaluations: dict[int, Evaluation] = {}
    saved_at, seen_step = time.monotonic(), progress.step

    def on_progress(state: TrainState) -> None:
        nonlocal saved_at, seen_step
        progress.state = state
        observer.steps_done((state.step - seen_step) * len(runs))
        seen_step = state.step
        stop = observer.stop_requested()
        if stop or time.monotonic() - saved_at > save_every:
            save_progress(folder, shards, progress)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted

    def score(step: int) -> Evaluation:
        weights = progress.kept[step]
        return evaluate(kernel, plan.spec, plan.family, runs, weights, step, plan.config.evaluation)

    for checkpoint in train_runs(
        kernel, plan.spec, plan.family, runs, plan.config.schedule, progress.state, on_progress
    ):
        step = checkpoint.step
        progress.kept[step] = checkpoint.weights
        evaluations[step] = score(step)
        observer.scored(step, float(np.median(evaluations[step].columns["accuracy"])))
    for step in progress.kept.keys() - evaluations.keys():
        evaluations[step] = score(step)

    first = 0
    for shard in shards:
        rows = slice(first, first + len(shard.runs))
        first = rows.stop
        store_shard(plan, folder, shard, kernel.name, progress.kept, evaluations, rows)
        finite = progress.kept[plan.config.steps][rows].isfinite().all(dim=1)
        observer.runs_done(len(shard.runs), int((~finite).sum()))

"""The unit of work: some shards, trained and scored side by side, then stored.

Every executor runs `build_shards`: in one process, in several, on a cluster. It is deterministic and
idempotent: whoever builds a shard, however often, writes the same bytes. A shard is complete when its record is
there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, Observer, ShardProgress
from rnnzoo.zoo_builder.pipeline.shard.saved_state import ShardState, join_states, save_states
from rnnzoo.zoo_builder.pipeline.shard.store import store_shard
from rnnzoo.zoo_builder.rollouts import EvaluatedRuns, Evaluation, evaluate
from rnnzoo.zoo_builder.training.kernels import Kernel, TrainState
from rnnzoo.zoo_builder.training.loop import train_runs


def build_shards(
    plan: ZooPlan,
    folder: Path,
    group: Sequence[tuple[ShardPlan, ShardState]],
    kernel: Kernel,
    observer: Observer,
    save_every: float,
) -> None:
    """Train and score the runs of some shards side by side, then store each shard.

    group: shards, and what is saved of each (`load_state`); all of them stand at the same step.
    save_every: seconds between two saves of their training state, by a clock that only runs forward.
    Raises Interrupted, with the state saved, when the observer asks to stop.
    """
    shards = [shard for shard, _ in group]
    runs = [run for shard in shards for run in shard.runs]
    training = join_states(plan.spec, [state for _, state in group])
    evaluations: dict[int, Evaluation] = {}
    reports = _Reports(observer, shards, training.step)
    evaluated = EvaluatedRuns(plan.family, runs, plan.config.evaluation)
    saved_at = time.monotonic()

    def on_progress(state: TrainState) -> None:
        nonlocal saved_at
        training.state = state
        reports.update(step=state.step)
        stop = observer.stop_requested()
        if stop or time.monotonic() - saved_at > save_every:
            save_states(folder, shards, training, kernel.arithmetic)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted

    def score(step: int) -> Evaluation:
        return evaluate(kernel, plan.spec, evaluated, training.kept[step], step)

    for checkpoint in train_runs(
        kernel, plan.spec, plan.family, runs, plan.config.schedule, training.state, on_progress
    ):
        step = checkpoint.step
        training.kept[step] = checkpoint.weights
        evaluations[step] = score(step)
        reports.update(step=step, accuracy=float(np.median(evaluations[step].columns["accuracy"])))
    for step in training.kept.keys() - evaluations.keys():
        evaluations[step] = score(step)

    first = 0
    for shard in shards:
        rows = slice(first, first + len(shard.runs))
        first = rows.stop
        store_shard(plan, folder, shard, kernel, training.kept, evaluations, rows)
        finite = training.kept[plan.config.steps][rows].isfinite().all(dim=1)
        reports.update(shard, is_stored=True, diverged=int((~finite).sum()))


class _Reports:
    """Tells an observer where shards stand that train side by side: first of all, where they were found."""

    def __init__(self, observer: Observer, shards: Sequence[ShardPlan], step: int) -> None:
        self._observer = observer
        self._last = {shard.name: ShardProgress(shard.name, len(shard.runs), step, step) for shard in shards}
        self.update()

    def update(self, shard: ShardPlan | None = None, **changes: Any) -> None:
        """Report what has changed of a shard, or of all of them."""
        for name in list(self._last) if shard is None else [shard.name]:
            self._last[name] = replace(self._last[name], **changes)
            self._observer.report(self._last[name])

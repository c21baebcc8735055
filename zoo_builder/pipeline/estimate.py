"""What a build will come to, before it is begun: shards, bytes, and a time worked out from a short probe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rnnzoo.zoo_builder.pipeline.build import count_runs
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.rollouts import EvaluatedRuns, evaluate
from rnnzoo.zoo_builder.training.kernels import Kernel, TrainState, runs_that_fit
from rnnzoo.zoo_builder.training.loop import Run, run_data, train_runs, training_pool

PROBE_SECONDS = 2.0
TRAINING_SHARE = 0.7
"""Of the probe; the rest is for scoring."""
SCORED_RUNS = 16
SCORED_SEQUENCES = 64
"""Of a run, in the first try of scoring; four times as many in each later one."""
ROW_BYTES = 350
"""Of metadata, of a checkpoint: mostly its hashes, which do not get smaller."""


@dataclass(frozen=True)
class BuildEstimate:
    """What a build comes to.

    Attributes:
        runs: Runs to train.
        shards: Shards to build.
        checkpoints: Checkpoints to store.
        bytes: Size of all files, to some percent.
        seconds: How long training and scoring take on this machine, alone.
        model_steps_a_second: Training steps of all runs together.
    """

    runs: int
    shards: int
    checkpoints: int
    bytes: int
    seconds: float
    model_steps_a_second: float


class _Enough(Exception):
    """The probe has taken its time."""


def estimate_build(plan: ZooPlan, shards: Sequence[ShardPlan], kernel: Kernel) -> BuildEstimate:
    """Train and score some runs of a zoo for two seconds, and tell from it what a build of some shards comes to.

    Nothing is written.

    Args:
        plan: The plan of the whole zoo.
        shards: Those to be built.
        kernel: What would train them, ready to run.
    """
    config, runs = plan.config, count_runs(shards)
    checkpoints = runs * len(config.checkpoints)
    size = checkpoints * (4 * plan.spec.num_parameters + ROW_BYTES) + _rollout_bytes(plan, runs)
    rate = scoring = 0.0
    if runs:
        at_once = runs_that_fit(
            kernel,
            plan.spec,
            run_data(plan.family, []).steps,
            config.largest_batch,
        )
        probed = [run for shard in shards for run in shard.runs][:at_once]
        rate, state = _probe_training(plan, probed, kernel)
        scoring = _probe_scoring(plan, probed[:SCORED_RUNS], kernel, state)
    seconds = runs * config.steps / rate + checkpoints * scoring if runs else 0.0
    return BuildEstimate(runs, len(shards), checkpoints, size, seconds, rate)


def _rollout_bytes(plan: ZooPlan, runs: int) -> int:
    """Of RNNs that write, each checkpoint has rollouts of its own; of others, each run."""
    family, config = plan.family, plan.config
    sequence = family.items.shape[1] + (1 if family.encoding.needs_labels else 0)
    return sequence * config.rollouts * runs * (len(config.checkpoints) if family.generates else 1)


def _probe_training(plan: ZooPlan, runs: Sequence[Run], kernel: Kernel) -> tuple[float, TrainState]:
    """Model-steps a second, without the first step, and the state at the end."""
    began = warm = time.monotonic()
    first = last = 0
    state = TrainState.initial(plan.spec, [run.seed for run in runs])

    def note(_: TrainState) -> None:
        nonlocal warm, first, last
        last, now = state.step, time.monotonic()
        if first and now - began > TRAINING_SHARE * PROBE_SECONDS:
            raise _Enough
        if not first:
            first, warm = last, now

    schedule = replace(plan.config.schedule, checkpoints=(plan.config.steps,))
    try:
        for _ in train_runs(kernel, plan.spec, plan.family, runs, schedule, state, note):
            pass
    except _Enough:
        pass
    taken, since = (last - first, warm) if last > first else (last, began)
    return len(runs) * taken / max(time.monotonic() - since, 1e-6), state


def _probe_scoring(plan: ZooPlan, runs: Sequence[Run], kernel: Kernel, state: TrainState) -> float:
    """Seconds that the scores of a checkpoint take: of so many sequences as there is time for, and then scaled."""
    settings, family = plan.config.evaluation, plan.family
    pools = [len(pool) for run in runs for pool in (family.evaluation_items(run.task), training_pool(family, run))]
    items = min(settings.evaluation_items, max(pools))
    whole = max(items, settings.sampled_strings if family.generates else 1)
    weights, began, tried = state.weights[: len(runs)], time.monotonic(), SCORED_SEQUENCES
    while True:
        share = min(1.0, tried / whole)
        some = replace(
            settings,
            evaluation_items=max(1, round(share * items)),
            sampled_strings=max(1, round(share * settings.sampled_strings)),
        )
        evaluated, start = EvaluatedRuns(family, runs, some), time.monotonic()
        evaluate(kernel, plan.spec, evaluated, weights, 0)
        took = time.monotonic() - start
        if share == 1 or time.monotonic() - began + 4 * took > (1 - TRAINING_SHARE) * PROBE_SECONDS:
            return took / share / len(runs)
        tried *= 4

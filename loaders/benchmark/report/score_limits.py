"""What stands beside the scores of a target: ceiling, chance, how many rows and tasks; and scores step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnzoo.loaders.benchmark.prediction.limits import ceiling
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.results.content import Result, Rows
from rnnzoo.zoo_builder.tasks.target import Target

ScoresByStep = dict[str, dict[int, float | None]]
"""Split -> step of the checkpoint -> main score, the mean over seeds; None where there is none."""


@dataclass(frozen=True)
class SplitLimits:
    """What the scores of a target can be on a split.

    Attributes:
        rows: Checkpoints that are scored.
        tasks: How many tasks they are of.
        ceiling: Score -> what a perfect encoder reaches, whatever the labels' errors.
        chance: Score -> what the best constant answer reaches; empty where it was not worked out.
        measured: Step -> whether the target is measurable there.
    """

    rows: int
    tasks: int
    ceiling: dict[str, float]
    chance: dict[str, float | None]
    measured: dict[int, bool]


def limits_of(rows: Rows, target: Target) -> dict[str, SplitLimits]:
    """Split -> what the scores of a target can be there."""
    found = {}
    for name, split in rows.splits.items():
        used, measured = split.covered(target), split.measured(target)
        steps = np.array(split.step)[used]
        found[name] = SplitLimits(
            rows=len(steps),
            tasks=len(set(np.array(split.task)[used])),
            ceiling=ceiling(target, split.truth(target), split.error(target), steps),
            chance=rows.chance.get(target.name, {}).get(name, {}),
            measured={int(step): bool(measured[steps == step].all()) for step in np.unique(steps)},
        )
    return found


def scores_by_step(results: Sequence[Result], rows: Rows, target: Target) -> ScoresByStep:
    """The main score of results that differ by their seed alone, on the checkpoints of each step."""
    found: ScoresByStep = {}
    for name, split in rows.splits.items():
        truth, measured = split.truth(target), split.measured(target)
        steps = np.array(split.step)[split.covered(target)]
        predictions = [np.array(result.predictions[name], dtype=np.float64) for result in results]
        found[name] = {}
        for step in np.unique(steps):
            here = steps == step
            values = [
                next(iter(score(target, truth[here], one[here], steps[here], measured=measured[here]).values()))
                for one in predictions
            ]
            known = [value for value in values if np.isfinite(value)]
            found[name][int(step)] = float(np.mean(known)) if known else None
    return found


def accuracy_of_rnns(rows: Rows) -> dict[str, float]:
    """Split -> mean accuracy of the RNNs themselves at the last step; empty where it is not known."""
    target = rows.target("accuracy")
    found = {}
    for name, split in rows.splits.items() if target else ():
        steps = np.array(split.step)
        found[name] = float(np.array(split.targets["accuracy"], dtype=np.float64)[steps == steps.max()].mean())
    return found

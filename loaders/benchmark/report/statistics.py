"""Means over seeds, and 95 % intervals by a bootstrap that resamples training runs and seeds.

Checkpoints of one run are no independent observations, so whole runs are drawn with replacement. All encoders
see the same replicates: differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.results.files import Result, Rows, Untrained
from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]
REPLICATES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with its bootstrap.

    Attributes:
        mean: Over seeds.
        low: Lower end of the 95 % interval.
        high: Upper end of it.
        replicates: The value in each bootstrap replicate, [R].
    """

    mean: float
    low: float
    high: float
    replicates: Array = field(repr=False, compare=False)


def estimate_scores(
    results: Sequence[Result] | Sequence[Untrained], rows: Rows, target: Target, replicates: int = REPLICATES
) -> dict[str, dict[str, Estimate | None]]:
    """Estimates of all scores of one encoder and track on one target.

    Args:
        results: Results, or their untrained twins, that differ by their seed alone.
        rows: The checkpoints they are about.
        target: What was predicted.
        replicates: R, bootstrap replicates.

    Returns:
        Split -> score -> estimate; None where a score has no value with any seed.
    """
    found: dict[str, dict[str, Estimate | None]] = {}
    for split, split_rows in rows.splits.items():
        used = split_rows.covered(target)
        truth, steps = split_rows.truth(target), np.array(split_rows.step)[used]
        # The first "replicate" is the sample itself.
        weights = np.vstack([np.ones(len(used)), draw_runs(split_rows.run, replicates)])[:, used]
        by_seed = [
            score(target, truth, np.array(result.predictions[split], dtype=np.float64), steps, weights)
            for result in results
        ]
        found[split] = {
            name: _over_seeds(np.stack([scores[name] for scores in by_seed]), replicates) for name in by_seed[0]
        }
    return found


def paired_difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b, replicate by replicate.

    Args:
        a: One estimate.
        b: Another one from the same checkpoints, so that replicate r has drawn the same runs in both.

    Returns:
        The estimate of the difference.
    """
    return _estimate(a.mean - b.mean, a.replicates - b.replicates)


def estimate_mean(values: Sequence[float | None], replicates: int = REPLICATES) -> Estimate | None:
    """The mean of one value a seed, with an interval by bootstrap over the seeds.

    Args:
        values: One for each seed; None where there is none.
        replicates: R, bootstrap replicates.

    Returns:
        The estimate; None without any value.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return _over_seeds(np.repeat(known[:, None], replicates + 1, axis=1), replicates) if len(known) else None


def draw_runs(runs: Sequence[str], replicates: int = REPLICATES) -> Array:
    """How often each row occurs in each bootstrap replicate. Rows of a run occur equally often.

    The draw depends on the number of runs alone.

    Args:
        runs: The run of each row, [M].
        replicates: R.

    Returns:
        Counts [R, M].
    """
    names, run = np.unique(runs, return_inverse=True)
    return _draw(len(names), replicates, stream=0)[:, run]


def draw_seeds(count: int, replicates: int = REPLICATES) -> Array:
    """How often each of S = `count` seeds occurs in each bootstrap replicate: [R, S]."""
    return _draw(count, replicates, stream=1)


def _draw(count: int, replicates: int, stream: int) -> Array:
    random = np.random.default_rng([stream, count])
    return random.multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float64)


def _over_seeds(scores: Array, replicates: int) -> Estimate | None:
    """Scores [S, 1 + R] of each seed on the sample and its replicates."""
    known = np.isfinite(scores)
    if not known[:, 0].any():
        return None
    scores = np.where(known, scores, 0)
    drawn = draw_seeds(len(scores), replicates).T
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn * scores[:, 1:]).sum(axis=0) / (drawn * known[:, 1:]).sum(axis=0)
    return _estimate(float(scores[:, 0].sum() / known[:, 0].sum()), means)


def _estimate(mean: float, replicates: Array) -> Estimate:
    known = replicates[np.isfinite(replicates)]
    low, high = np.percentile(known, INTERVAL) if len(known) else (mean, mean)
    return Estimate(mean, float(low), float(high), replicates)

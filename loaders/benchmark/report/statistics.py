"""Means over tasks and seeds, and 95 % intervals for other tasks and other seeds.

What is sampled are tasks, each with all of its runs and checkpoints, and seeds. They are crossed: every seed's
encoder is scored on the same tasks. So the error of a mean has two parts, whose variances are estimated apart.

1. A score need not be a mean of its rows (Kendall's tau, R2), so that the jackknife says what each task
   contributes: of T tasks, task t has the pseudo-value T s - (T - 1) s_(-t), where s is a score and s_(-t) that
   of the rows without the task (Tukey 1958; Efron & Tibshirani 1993, chapter 11). What varies between runs of a
   task is part of what varies between tasks, and needs no stage of its own.
2. The pseudo-values of all seeds are a table of tasks and seeds, which is analysed by two crossed random effects
   (Searle, Casella & McCulloch 1992, chapter 4; clusters in two directions: Cameron, Gelbach & Miller 2011):

       variance = V_task + max(0, V_seed - V_both)

   V_task is the variance of the mean over tasks, V_seed that of the mean over seeds, and V_both their interaction,
   which both of them hold.
3. The quantile is Student's t, with degrees of freedom by Satterthwaite (1946). Those of V_task take the kurtosis
   of the tasks into account (O'Neill 2014): where few tasks of many make a score, its variance is hardly known.
4. The interval stays within the bounds of its score. With two bounds it is that of Wilson (1927), whose standard
   error is that of a score at the interval's ends, for as many independent tasks as make the variance found
   (Korn & Graubard 1998). Where a few tasks alone make a score, they say little of how tasks vary: where none
   succeeds, each counts as one independent answer, and with every further one that does, this weighs half as much.
   With one bound (R2, losses), the logarithm of the distance from it has the symmetric interval.

`python -m benchmarks.coverage` counts how often such intervals hold the truth. Differences of two encoders are
paired by tasks; their seeds are independent, unless one encoder is compared with itself before its training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rnnzoo.loaders.benchmark.prediction.scores import bounds_of, score
from rnnzoo.loaders.benchmark.results.content import Result, Rows, Untrained
from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]
Bounds = tuple[float, float]
UNBOUNDED = (-math.inf, math.inf)
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with its interval.

    Attributes:
        mean: Over seeds.
        low: Lower end of the 95 % interval; nan where there is none, for want of tasks or seeds.
        high: Upper end of it.
        table: Jackknife pseudo-values of tasks and seeds, [T, S].
        bounds: Between which the score lies.
    """

    mean: float
    low: float
    high: float
    table: Array = field(repr=False, compare=False)
    bounds: Bounds = UNBOUNDED


def estimate_scores(
    results: Sequence[Result] | Sequence[Untrained], rows: Rows, target: Target, with_intervals: bool = True
) -> dict[str, dict[str, Estimate | None]]:
    """Estimates of all scores of one encoder and track on one target.

    Args:
        results: Results, or their untrained twins, that differ by their seed alone.
        rows: The checkpoints they are about.
        target: What was predicted.
        with_intervals: Whether to leave out each task in turn; means alone take a small part of that time.

    Returns:
        Split -> score -> estimate; None where a score has no value with any seed.
    """
    found: dict[str, dict[str, Estimate | None]] = {}
    for split, split_rows in rows.splits.items():
        used = split_rows.covered(target)
        truth, steps = split_rows.truth(target), np.array(split_rows.step)[used]
        measured = split_rows.measured(target)
        weights = leave_out(np.array(split_rows.task)[used]) if with_intervals else np.ones((1, len(steps)))
        by_seed = [
            score(target, truth, np.array(result.predictions[split], dtype=np.float64), steps, weights, measured)
            for result in results
        ]
        found[split] = {
            name: estimate(np.stack([scores[name] for scores in by_seed], axis=1), bounds_of(name))
            for name in by_seed[0]
        }
    return found


def leave_out(tasks: NDArray[Any]) -> Array:
    """How often each row occurs in the sample, and without each task in turn.

    Args:
        tasks: The task of each row, [M].

    Returns:
        Weights [1 + T, M]: the first of all rows, then one row for each task left out.
    """
    names, task = np.unique(tasks, return_inverse=True)
    return np.vstack([np.ones(len(tasks)), task != np.arange(len(names))[:, None]])


def estimate(scores: Array, bounds: Bounds = UNBOUNDED) -> Estimate | None:
    """A mean over seeds, with its interval.

    Args:
        scores: [1 + T, S], each seed's score: of all tasks, then without each of the T tasks. Seeds whose score is
            not finite are left out.
        bounds: Between which a score lies.

    Returns:
        The estimate; None without any score.
    """
    scores = scores[:, np.isfinite(scores[0])]
    if not scores.shape[1]:
        return None
    whole, without, tasks = scores[0], scores[1:], len(scores) - 1
    # Rounded, so that what never varies does not vary by its rounding.
    table = np.round(tasks * whole - (tasks - 1) * without, 9)
    mean = float(np.clip(whole.mean(), *bounds))
    return Estimate(mean, *_interval(mean, *_variance([table]), bounds, table), table, bounds)


def paired_difference(a: Estimate, b: Estimate, same_seeds: bool = False) -> Estimate:
    """a - b, task by task.

    Args:
        a: One estimate.
        b: Another one of the same score on the same checkpoints.
        same_seeds: Whether seed s of both is one draw, as of an encoder before and after its training.

    Returns:
        The estimate of the difference. Where few tasks or none make one of the scores, its interval is, as far as
        that is so, that of two independent scores (Newcombe 1998, method 10).
    """
    mean = a.mean - b.mean
    reach = a.bounds[1] - a.bounds[0]
    paired = same_seeds and a.table.shape == b.table.shape
    low, high = _symmetric(mean, *_variance([a.table - b.table] if paired else [a.table, -b.table]))
    doubt = max(_doubt(one.table, one.bounds) for one in (a, b))
    if doubt and not (paired and np.array_equal(a.table, b.table)):
        apart = (
            mean - math.hypot(a.mean - a.low, b.high - b.mean),
            mean + math.hypot(a.high - a.mean, b.mean - b.low),
        )
        low, high = ((1 - doubt) * near + doubt * far for near, far in zip((low, high), apart, strict=True))
    table = a.table.mean(axis=1, keepdims=True) - b.table.mean(axis=1, keepdims=True)
    return Estimate(mean, max(low, -reach), min(high, reach), table, (-reach, reach))


def estimate_mean(values: Sequence[float | None], bounds: Bounds = (0, math.inf)) -> Estimate | None:
    """The mean of one value a seed, with an interval for other seeds alone.

    Args:
        values: One for each seed; None where there is none.
        bounds: Between which they lie.

    Returns:
        The estimate; None without any value.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return None
    mean = float(known.mean())
    variance = known.var(ddof=1) / len(known) if len(known) > 1 else math.nan
    return Estimate(mean, *_interval(mean, variance, len(known) - 1, bounds, known[:, None]), known[None], bounds)


def estimate_loss(values: Sequence[float | None]) -> Estimate | None:
    """The same of total variations: the interval reaches 1 at most."""
    found = estimate_mean(values)
    return found and replace(found, high=min(found.high, 1.0))


def _variance(tables: Sequence[Array]) -> tuple[float, float]:
    """Variance of the sum of the means of tables [T, S_k] of the same tasks, and its degrees of freedom."""
    tasks = len(tables[0])
    by_task = np.sum([table.mean(axis=1) for table in tables], axis=0)
    if tasks < 2 or not np.isfinite(by_task).all():
        return math.nan, math.nan
    parts = [(by_task.var(ddof=1) / tasks, _degrees(by_task))]
    of_seeds, seed_parts = 0.0, []
    for table in tables:
        seeds = table.shape[1]
        if seeds > 1:
            of_seed = table.mean(axis=0).var(ddof=1) / seeds
            both = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
            of_both = (both**2).sum() / ((tasks - 1) * (seeds - 1)) / (tasks * seeds)
            of_seeds += of_seed - of_both
            seed_parts += [(of_seed, seeds - 1), (of_both, (tasks - 1) * (seeds - 1))]
    if of_seeds > 0:
        parts += seed_parts
    variance = parts[0][0] + max(0.0, of_seeds)
    uncertainty = sum(part**2 / degrees for part, degrees in parts)
    fewest = min(degrees for _, degrees in parts)
    return float(variance), max(fewest, variance**2 / uncertainty) if uncertainty else fewest


def _degrees(values: Array) -> float:
    """Degrees of freedom of a variance: 2 / (2 / (n - 1) + excess kurtosis / n), and n - 1 of normal values.

    The kurtosis of a sample of n normal values is 3 (n - 1) / (n + 1) on average (Fisher 1930): what exceeds this
    is the excess.
    """
    count, centred = len(values), values - values.mean()
    square = (centred**2).mean()
    excess = (centred**4).mean() / square**2 - 3 * (count - 1) / (count + 1) if square**2 else 0.0
    return 2 / (2 / (count - 1) + excess / count)


def _symmetric(mean: float, variance: float, degrees: float) -> tuple[float, float]:
    """The ends of Student's interval; nan without a variance."""
    reach = _quantile(degrees) * math.sqrt(variance)
    return mean - reach, mean + reach


def _interval(mean: float, variance: float, degrees: float, bounds: Bounds, table: Array) -> tuple[float, float]:
    """The ends of the interval around the mean of a table [T, S]; nan without a variance."""
    low, high = bounds
    if not math.isfinite(variance) or bounds == UNBOUNDED:
        return _symmetric(mean, variance, degrees)
    if math.isfinite(high - low):
        place = round((mean - low) / (high - low), 9)
        ends = _wilson(place, variance / (high - low) ** 2, degrees, len(table), _doubt(table, bounds))
        first, last = (low + (high - low) * end for end in ends)
    else:
        bound, sign = (low, 1) if math.isfinite(low) else (high, -1)
        distance = abs(mean - bound)
        ratio = math.exp(min(700.0, _quantile(degrees) * math.sqrt(variance) / distance)) if distance else 1.0
        first, last = sorted((bound + sign * distance / ratio, bound + sign * distance * ratio))
    return min(mean, max(low, first)), max(mean, min(high, last))  # rounding must not put the mean outside


def _doubt(table: Array, bounds: Bounds) -> float:
    """How little a table [T, S] says of how its tasks vary: 1 where none leaves a bound, half with each that does.

    Tasks that leave a bound by different distances count as as many equal ones as have the same sum and squares.
    """
    by_task = table.mean(axis=1)
    counts = []
    for bound in filter(math.isfinite, bounds):
        distance = by_task - bound
        squares = (distance**2).sum()
        counts.append(distance.sum() ** 2 / squares if squares else 0.0)
    return float(2.0 ** -min(counts, default=math.inf))


def _wilson(mean: float, variance: float, degrees: float, tasks: int, doubt: float) -> tuple[float, float]:
    """The ends of Wilson's interval for a mean between 0 and 1."""
    spread = mean * (1 - mean)
    # quantile^2 / n, of n independent tasks: those that make the variance or, as far as it is in doubt, all.
    shrink = doubt * _quantile(tasks - 1) ** 2 / tasks
    if spread > 0:
        shrink += (1 - doubt) * _quantile(degrees) ** 2 * variance / spread
    reach = math.sqrt(shrink * spread + shrink**2 / 4)
    return (mean + shrink / 2 - reach) / (1 + shrink), (mean + shrink / 2 + reach) / (1 + shrink)


def _quantile(degrees: float) -> float:
    return float(stdtrit(degrees, (1 + LEVEL) / 2))

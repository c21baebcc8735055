"""How often the intervals of reports hold the truth, where it is known.

    python -m benchmarks.coverage                     # 1000 benchmarks of every kind, some minutes
    python -m benchmarks.coverage --replicates 200

Simulated benchmarks have as many tasks and runs as the `test` and `ood` splits of real zoos, and five seeds. Tasks
differ in how hard they are: `icc`, the intra-class correlation, is the share of the variance between runs that is
between tasks. Half of what remains is of the run, and the same for all seeds; half is of run and seed. Seeds
differ little, or half as much as the runs do. A 95 % interval is to hold the truth in 93 to 97 of 100
benchmarks; one of a rare success in somewhat more.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import bounds_of, score
from rnnzoo.loaders.benchmark.report.statistics import Estimate, estimate, leave_out, paired_difference
from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]
SIZES = {
    "languages, small, test": [1] * 19 + [2] * 3,
    "languages, small, ood": [1] * 27 + [2] * 8,
    "images, small, test": [1] * 26,
    "languages, paper": [5] * 32,
    "languages, paper, half of ood": [5] * 16,
}
"""Runs of each task."""
ICCS = (0.0, 0.3, 0.5, 0.8)
SEEDS = 5
SEED_SPREADS = {"small": 0.05, "large": 0.5}
NUMBER = Target("number", "number", "number")


class Benchmark:
    """Draws simulated benchmarks: tasks, their runs, and seeds.

    Args:
        runs: Of each task.
        icc: Intra-class correlation.
        seed_spread: Standard deviation between seeds, where that between runs is 1.
        random: Draws it.
    """

    def __init__(self, runs: list[int], icc: float, seed_spread: float, random: np.random.Generator) -> None:
        self.task = np.repeat(np.arange(len(runs)), runs)
        self.weights = leave_out(self.task)
        self.icc, self.seed_spread, self.random = icc, seed_spread, random

    def effects(self, tasks: Array) -> Array:
        """Standard normal effects [M, S] of runs for seeds, of which `tasks` [T] are a share; seeds left out."""
        count = len(self.task)
        own = self.random.normal(size=(count, 1)) + self.random.normal(size=(count, SEEDS))
        return np.sqrt(self.icc) * tasks[self.task, None] + np.sqrt((1 - self.icc) / 2) * own

    def tasks(self) -> Array:
        """Effects of tasks, [T]."""
        return self.random.normal(size=self.task.max() + 1)

    def seeds(self) -> Array:
        """Effects of seeds, [S]."""
        return self.seed_spread * self.random.normal(size=SEEDS)

    def mean_of(self, values: Array, name: str) -> Estimate:
        """The estimate of a score that is the mean of values [M, S]."""
        found = estimate(self.weights @ values / self.weights.sum(axis=1, keepdims=True), bounds_of(name))
        assert found is not None
        return found


def degrees_off(benchmark: Benchmark) -> Estimate:
    """A mean with two far bounds."""
    errors = 90 + 15 * (benchmark.effects(benchmark.tasks()) + benchmark.seeds())
    return benchmark.mean_of(errors, "mean error (deg)")


def share(benchmark: Benchmark, mean: float = 0.3) -> Estimate:
    """A share of runs: each is right or wrong, by the rate of its task."""
    rate = _rates(benchmark, mean)
    return benchmark.mean_of(_right(benchmark, rate, _luck(benchmark)), "accuracy")


def rank_correlation(benchmark: Benchmark, name: str = "tau within a step") -> Estimate:
    """A score that is no mean of its rows."""
    truth = benchmark.effects(benchmark.tasks())[:, 0]
    noise = benchmark.effects(benchmark.tasks()) * np.exp(benchmark.seeds() / 3)
    steps = np.zeros(len(truth))
    scores = [score(NUMBER, truth, truth + 0.7 * seed, steps, benchmark.weights)[name] for seed in noise.T]
    found = estimate(np.stack(scores, axis=1), bounds_of(name))
    assert found is not None
    return found


def determination(benchmark: Benchmark) -> Estimate:
    """R2, which has no lower bound."""
    return rank_correlation(benchmark, "R2")


def difference_of_means(benchmark: Benchmark) -> Estimate:
    """Of two encoders that find the same tasks hard."""
    shared = benchmark.tasks()
    both = []
    for tasks in (shared, 0.8 * shared + 0.6 * benchmark.tasks()):
        errors = 90 + 15 * (benchmark.effects(tasks) + benchmark.seeds())
        both.append(benchmark.mean_of(errors, "mean error (deg)"))
    return paired_difference(both[0], both[1])


def difference_of_shares(benchmark: Benchmark) -> Estimate:
    """Of two encoders, the second right on a part of what the first is right on."""
    rate, luck = _rates(benchmark, 0.5), _luck(benchmark)
    first, second = (benchmark.mean_of(_right(benchmark, part * rate, luck), "accuracy") for part in (1, 0.6))
    return paired_difference(first, second)


SCORES: dict[str, Callable[[Benchmark], Estimate]] = {
    "mean": degrees_off,
    "share .3": share,
    "share .1": lambda benchmark: share(benchmark, 0.1),
    "share .03": lambda benchmark: share(benchmark, 0.03),
    "tau": rank_correlation,
    "R2": determination,
    "difference of means": difference_of_means,
    "difference of shares": difference_of_shares,
}


def _rates(benchmark: Benchmark, mean: float) -> Array:
    """The rate of every run's task, [M]: runs that are right or wrong by them have the intra-class correlation."""
    count = benchmark.task.max() + 1
    if not benchmark.icc:
        return np.full(len(benchmark.task), mean)
    total = 1 / benchmark.icc - 1
    return benchmark.random.beta(mean * total, (1 - mean) * total, size=count)[benchmark.task]


def _luck(benchmark: Benchmark) -> Array:
    """Uniform numbers [M, S], those of a run the same for about half of the seeds."""
    of_run, own = (
        benchmark.random.random((len(benchmark.task), 1)),
        benchmark.random.random((len(benchmark.task), SEEDS)),
    )
    return np.where(benchmark.random.random(own.shape) < 0.5, of_run, own)


def _right(benchmark: Benchmark, rate: Array, luck: Array) -> Array:
    """Whether runs [M] are right for each seed, which has rates of its own that are `rate` on average."""
    shift = 2 * benchmark.seed_spread * benchmark.random.uniform(-1, 1, size=SEEDS)
    rates = rate[:, None] + shift * (rate * (1 - rate))[:, None]
    return (luck < rates).astype(np.float64)


def coverage(
    name: str, runs: list[int], icc: float, seed_spread: float, replicates: int, seed: int = 0
) -> tuple[float, float]:
    """How often an interval holds the truth, the mean of the score over all benchmarks, and the mean width."""
    benchmark = Benchmark(runs, icc, seed_spread, np.random.default_rng(seed))
    found = [SCORES[name](benchmark) for _ in range(replicates)]
    truth = np.mean([one.mean for one in found])
    return (
        float(np.mean([one.low <= truth <= one.high for one in found])),
        float(np.mean([one.high - one.low for one in found])),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000, help="simulated benchmarks of every kind")
    options: Any = parser.parse_args()
    kinds = list(itertools.product(ICCS, SEED_SPREADS))
    print("coverage of 95 % intervals, in %")
    print(f"{'score':22}{'tasks':31}" + "".join(f"{f'{icc} {spread}':>11}" for icc, spread in kinds))
    for name, size in itertools.product(SCORES, SIZES):
        cells = [
            coverage(name, SIZES[size], icc, SEED_SPREADS[spread], options.replicates) for icc, spread in kinds
        ]
        print(f"{name:22}{size:31}" + "".join(f"{100 * covered:11.1f}" for covered, _ in cells), flush=True)


if __name__ == "__main__":
    main()

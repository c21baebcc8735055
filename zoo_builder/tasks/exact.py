"""Numbers that a zoo stores, defined to the last bit: means, their standard errors, and powers of e."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGITS = Context(prec=34)
"""Decimal digits of e^x before it is rounded to a double. `decimal` rounds it correctly, whatever the machine."""

FIRST, SECOND = 2.0**28, 2.0**32
MOST_HIGH, MOST_ADDED = 2.0**40, 2**22
"""So that sums of the numbers' two parts stay below 2^63."""


@dataclass(frozen=True)
class Estimate:
    """A mean over some items, as an estimate of the mean over all items that there are.

    Attributes:
        mean: Over the items that were looked at.
        error: Its standard error: 0 where these are all.
    """

    mean: float
    error: float


def exact_mean(values: ArrayLike) -> float:
    """The mean of numbers, the same whatever their order and whoever adds them up.

    Args:
        values: Numbers, or truth values as 1 and 0, [M].

    Returns:
        Their exact sum, rounded to a double and divided by M. If some are not finite, the sum of these; NaN of no
        numbers.
    """
    numbers = np.asarray(values, np.float64)
    if not len(numbers):
        return math.nan
    if not (finite := np.isfinite(numbers)).all():
        return float(sum(set(numbers[~finite].tolist())))
    return _exact_sum(numbers) / len(numbers)


def _exact_sum(numbers: NDArray[np.float64]) -> float:
    """What `math.fsum` gives: of whole multiples of 2^-60 that are not large, as losses are, by whole numbers."""
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers so large that they are added one by one
        high = numbers * FIRST
        whole = np.trunc(high)
        rest = (high - whole) * SECOND
    if len(numbers) > MOST_ADDED or not (np.abs(high) < MOST_HIGH).all() or (rest != np.trunc(rest)).any():
        return math.fsum(numbers.tolist())
    total = int(whole.astype(np.int64).sum()) * int(SECOND) + int(rest.astype(np.int64).sum())
    return total / int(FIRST * SECOND)  # Python rounds the quotient of two whole numbers once


def exact_exp(x: float) -> float:
    """e^x: to 34 decimal digits, and then to a double; 0 where x is no number."""
    return float(DIGITS.exp(Decimal(x))) if math.isfinite(x) else 0.0


def estimate(values: ArrayLike, population: float) -> Estimate:
    """What some of so many items say of all.

    Args:
        values: Of M items, drawn without replacement, [M].
        population: How many items there are; infinity where each is drawn anew.

    Returns:
        `exact_mean`, and the square root of (exact sum of squared deviations from it) / (M - 1) / M
        * (1 - M / population); NaN of one item of several, and where the mean is not finite.
    """
    numbers = np.asarray(values, np.float64)
    mean, count = exact_mean(numbers), len(numbers)
    if not math.isfinite(mean):
        return Estimate(mean, math.nan)
    if count == population:
        return Estimate(mean, 0.0)
    if count < 2:
        return Estimate(mean, math.nan)
    deviations = numbers - mean
    variance = math.fsum((deviations * deviations).tolist()) / (count - 1)
    return Estimate(mean, math.sqrt(variance / count * (1 - count / population)))


def share_error(share: float, count: int, population: float) -> float:
    """The standard error of a share of `count` items as the share of all: what `estimate` gives for 1s and 0s.

    Args:
        share: That of the items that were looked at.
        count: How many these are, drawn without replacement.
        population: How many items there are; infinity where each is drawn anew.

    Returns:
        The square root of share * (1 - share) / (count - 1) * (1 - count / population).
    """
    if count == population:
        return 0.0
    return math.sqrt(share * (1 - share) / (count - 1) * (1 - count / population)) if count > 1 else math.nan

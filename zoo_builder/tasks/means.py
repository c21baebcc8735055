"""Means that a zoo stores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def exact_mean(values: ArrayLike) -> float:
    """The mean of numbers, the same whatever their order and whoever adds them up.

    Args:
        values: Numbers, or truth values as 1 and 0, [M].

    Returns:
        Their exact sum, rounded to a double and divided by M. If some are not finite, the sum of these; NaN of no
        numbers.
    """
    numbers = np.asarray(values, np.float64).tolist()
    if not numbers:
        return math.nan
    if odd := {number for number in numbers if not math.isfinite(number)}:
        return float(sum(odd))
    return math.fsum(numbers) / len(numbers)

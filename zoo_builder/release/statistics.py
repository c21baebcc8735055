"""What values the columns of a zoo's metadata have: for its card, and for catalogues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Statistics:
    """Of the values of a column, or of the entries of its lists.

    Attributes:
        different: How many values differ, for texts.
        least: The least number, for numbers; that of truth values is 0 or 1.
        mean: Their mean.
        most: The greatest number.
        missing: How many are NaN.
    """

    different: int | None = None
    least: float | None = None
    mean: float | None = None
    most: float | None = None
    missing: int = 0

    def __str__(self) -> str:
        parts = []
        if self.different is not None:
            parts.append(f"{self.different} different")
        if self.least is not None and self.most is not None and self.mean is not None:
            same = self.least == self.most
            parts.append(
                f"{self.least:.6g}" if same else f"{self.least:.6g} to {self.most:.6g}, mean {self.mean:.4g}"
            )
        if self.missing:
            parts.append(f"{self.missing} NaN")
        return "; ".join(parts)


def column_statistics(table: pa.Table) -> dict[str, Statistics]:
    """Column -> what values it has."""
    return {name: _statistics(table[name].combine_chunks()) for name in table.column_names}


def _statistics(values: pa.Array) -> Statistics:
    if pa.types.is_nested(values.type):
        values = values.flatten()
    if pa.types.is_string(values.type):
        return Statistics(different=pc.count_distinct(values).as_py())
    numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    missing = int(np.isnan(numbers).sum())
    if not len(finite):
        return Statistics(missing=missing)
    return Statistics(None, float(finite.min()), float(finite.mean()), float(finite.max()), missing)

"""The columns of a zoo as a table, and what values they have: for its card, and for catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnnzoo.zoo_builder.columns import PICTURE, description
from rnnzoo.zoo_builder.escaping import for_code, for_markdown, table_row


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


def columns_table(schema: pa.Schema, statistics: Mapping[str, Statistics] | None = None) -> str:
    """The columns as a Markdown table, from the descriptions they carry.

    Args:
        schema: The columns.
        statistics: Of their values, for those that have some. None leaves the values out.
    """
    header = ["column", "type", "what it is", *([] if statistics is None else ["values"])]
    lines = [table_row(header), "|" + "---|" * len(header)]
    for field in schema:
        cells = [f"`{for_code(field.name)}`", _type_name(field.type), for_markdown(description(field))]
        if statistics is not None:
            cells.append(str(statistics.get(field.name, "")))
        lines.append(table_row(cells))
    return "\n".join(lines)


def _type_name(kind: pa.DataType) -> str:
    if kind == PICTURE:
        return "image"
    if pa.types.is_fixed_size_list(kind):
        return f"list<{kind.value_type}, {kind.list_size}>"
    return for_markdown(str(kind))


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

"""Values of NumPy, torch, pandas, polars, pyarrow and `datasets`: one, or a list of them, as those of Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

ONE = str | bytes | bytearray | memoryview | Mapping
"""What can be gone through, and is no list of values."""


def plain(value: Any) -> Any:
    """A single value; anything else as it is."""
    if hasattr(value, "as_py"):
        return value.as_py()
    return value.item() if getattr(value, "ndim", None) == 0 else value


def columns_of(table: Any) -> list[str] | None:
    """The columns of a table of pandas, polars, pyarrow or `datasets`; None for what is no table."""
    found = getattr(table, "column_names", getattr(table, "columns", None))
    return None if found is None else list(found)


def is_list(value: Any) -> bool:
    """Whether it is a list of values, or a set of them: no table, and nothing that is used up by a look at it."""
    can_be = hasattr(value, "__len__") and hasattr(value, "__iter__") and columns_of(value) is None
    has_one_axis = isinstance(value, np.ndarray) or getattr(value, "ndim", 1) == 1
    return can_be and has_one_axis and not isinstance(value, ONE)


def listed(values: Iterable[Any]) -> list[Any]:
    """The values of a list, or of whatever else can be gone through; of an array without axes, its one value."""
    if hasattr(values, "tolist"):
        found = values.tolist()
        values = found if isinstance(found, list) else [found]
    return [plain(each) for each in values]

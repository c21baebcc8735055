"""Which rows and columns of a zoo are wanted: the arguments of `load_zoo`, checked and decided on the metadata."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.loaders.values import is_list, listed, plain
from rnnzoo.zoo_builder.errors import RnnzooError, in_a_line
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.manifest import Manifest

Filters: TypeAlias = "Sequence[Any] | pc.Expression"
"""`[("accuracy", ">", 0.9), ("step", "==", 2000)]`: all must hold; a list of such lists: one of them must.
Values are of the column's kind, and a row without a value passes no condition. Or an expression of
`pyarrow.compute`, in which numbers are doubles, while most columns are float32."""
COMPARISONS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
OPERATORS = (*COMPARISONS, "in", "not in")


@dataclass(frozen=True)
class Selection:
    """Columns of a dataset, in order: metadata, then rollouts if wanted, then parameters."""

    columns: tuple[str, ...]
    rollouts: bool
    tensors: tuple[str, ...]


def choose_columns(
    spec: RNNSpec,
    known_columns: Sequence[str],
    columns: Sequence[str] | None,
    tensors: Sequence[str] | None,
    rollouts: bool,
) -> Selection:
    """Check names; None stands for all. Raises RnnzooError for a name that is unknown or given twice."""
    parameters = [parameter.name for parameter in spec.parameters]
    chosen = Selection(
        _chosen("columns", columns, known_columns), rollouts, _chosen("tensors", tensors, parameters)
    )
    if not (chosen.columns or chosen.rollouts or chosen.tensors):
        raise RnnzooError("columns and tensors: found none of either, expected at least one column to load")
    return chosen


def in_order(option: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    """Names as they were given, to be gone through more than once; None stands for all.

    Raises RnnzooError, which names the option, for what is no list of names, or has no order.
    """
    if names is None:
        return None
    if isinstance(names, str | set | frozenset) or not isinstance(names, Iterable):
        what = "the text " if isinstance(names, str) else ""
        raise RnnzooError(f"{option}: found {what}{in_a_line(names)}, expected a list of names")
    return tuple(listed(names))


def _chosen(option: str, names: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    if names is None:
        return tuple(known)
    for index, name in enumerate(names):
        if not isinstance(name, str) or name not in known:
            raise RnnzooError(f"{option}: found {name!r}, expected names among {', '.join(known)}")
        if name in names[:index]:
            raise RnnzooError(f"{option}: found {name!r} twice")
    return tuple(names)


def choose_splits(manifest: Manifest, split: str | None) -> list[str]:
    """The splits to load: the one asked for (a name, or one of `datasets.Split`), or all that hold checkpoints."""
    splits = manifest.splits
    if split is None:
        return [name for name, entry in splits.items() if entry.checkpoints]
    split = str(split)
    if split not in splits:
        raise RnnzooError(f"split: found {split!r}, expected one of {', '.join(splits)}")
    if not splits[split].checkpoints:
        tasks = sum(entry.tasks for entry in splits.values())
        raise RnnzooError(
            f"split: {split!r} is empty: this zoo has {tasks} tasks, too few for all of {', '.join(splits)}"
        )
    return [split]


def matching_rows(metadata: pa.Table, filters: Filters | None) -> NDArray[np.int64] | None:
    """Numbers of the rows of `metadata` that pass the filters, rising; None when there are no filters."""
    if filters is None:
        return None
    expression = filters if isinstance(filters, pc.Expression) else _expression(filters, metadata.schema)
    numbered = metadata.append_column("", pa.array(np.arange(len(metadata))))
    try:
        return numbered.filter(expression).column("").to_numpy()
    except pa.ArrowException as error:
        raise RnnzooError(
            f"filters: found {' '.join(str(filters).split())}: {str(error).splitlines()[0]}; "
            f"the columns are {', '.join(metadata.column_names)}"
        ) from error


def _expression(filters: Sequence[Any], schema: pa.Schema) -> pc.Expression:
    """A pyarrow expression from `Filters` in their list form. Raises RnnzooError where they are none."""
    if not isinstance(filters, list | tuple) or not filters:
        expected = "expected None, an expression or a list of conditions"
        raise RnnzooError(f"filters: found {in_a_line(filters)}, {expected}")
    is_condition = [isinstance(item, list | tuple) and bool(item) and isinstance(item[0], str) for item in filters]
    groups = [filters] if any(is_condition) else filters
    for group in groups:
        if not isinstance(group, list | tuple) or not group:
            raise RnnzooError(f"filters: found {in_a_line(group)}, expected a list of conditions")
    conditions = [[_condition(item, schema) for item in group] for group in groups]
    return reduce(operator.or_, (reduce(operator.and_, group) for group in conditions))


def _condition(condition: Any, schema: pa.Schema) -> pc.Expression:
    """The expression of a condition, which is not true for rows without a value."""
    if not isinstance(condition, list | tuple) or len(condition) != 3:
        raise RnnzooError(f"filters: found {in_a_line(condition)}, expected (column, operator, value)")
    name, symbol, value = condition
    if name not in schema.names:
        raise RnnzooError(f"filters: found column {name!r}, expected one of {', '.join(schema.names)}")
    if symbol not in OPERATORS:
        raise RnnzooError(f"filters: found operator {symbol!r}, expected one of {', '.join(OPERATORS)}")
    several = symbol in ("in", "not in")
    if several != is_list(value):
        expected = "a list of values" if several else "one value"
        raise RnnzooError(f"filters: found {in_a_line(condition)}, expected {expected} after {symbol!r}")
    field, kind = pc.field(name), schema.field(name).type
    if not several:
        given = _value(value, kind, condition)
        if pa.types.is_integer(kind) and isinstance(given, float):
            return _beside_whole_numbers(field, symbol, given)
        return COMPARISONS[symbol](field, pa.scalar(given))
    values = [_value(each, kind, condition) for each in listed(value)]
    if pa.types.is_integer(kind):
        values, kind = [each for each in values if isinstance(each, int)], pa.int64()  # the others equal none
    elif pa.types.is_floating(kind):
        kind = pa.float64()
    is_in = field.cast(kind).isin(pa.array(values, kind))
    return is_in if symbol == "in" else ~is_in & field.is_valid()


def _beside_whole_numbers(field: pc.Expression, symbol: str, value: float) -> pc.Expression:
    """A condition on whole numbers of 64 bits with a number that none of them equals: Arrow would round them."""
    every, none = field.is_valid(), field.is_valid() & pc.scalar(False)
    if math.isnan(value) or symbol not in ("<", "<=", ">", ">="):
        return every if symbol == "!=" else none
    is_upwards = symbol in (">", ">=")
    if abs(value) >= 2**63:
        return every if is_upwards == (value < 0) else none
    below = pa.scalar(math.floor(value))
    return field > below if is_upwards else field <= below


def _value(value: Any, kind: pa.DataType, condition: Any) -> str | bool | int | float:
    """A value of a condition on a column of a kind, as precise as that: a float32 never equals the double 0.001.

    Raises RnnzooError for a value of another kind.
    """
    given = plain(value)
    if pa.types.is_string(kind):
        fits, expected = isinstance(given, str), "texts"
    elif pa.types.is_boolean(kind):
        fits, expected = isinstance(given, bool), "truth values"
    elif pa.types.is_fixed_size_list(kind):
        fits, expected = False, "an expression of pyarrow, as there are several numbers in a row,"
    else:
        fits, expected = isinstance(given, int | float) and not isinstance(given, bool), "numbers"
        if fits and isinstance(given, int) and not -(2**63) <= given < 2**63:
            fits, expected = False, "numbers of 64 bits"
    if not fits:
        expected += " (a row without a value passes no condition)" if given is None else ""
        found = f"{in_a_line(value):.80} in {in_a_line(condition)}"
        raise RnnzooError(f"filters: found {found}, expected {expected} for column {condition[0]!r}")
    if pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            rounded = float(kind.to_pandas_dtype()(given))
        return float(given) if math.isinf(rounded) else rounded
    return int(given) if isinstance(given, float) and given.is_integer() and abs(given) < 2**63 else given

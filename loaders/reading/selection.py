"""Which rows and columns of a zoo are wanted: the arguments of `load_zoo`, checked and decided on the metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.manifest import Manifest

Filters: TypeAlias = "Sequence[Any] | pc.Expression"
"""`[("accuracy", ">", 0.9), ("step", "==", 2000)]`: all must hold; a list of such lists: one of them must.
Or an expression of `pyarrow.compute`, in which numbers are doubles, while most columns are float32."""
OPERATORS = ("=", "==", "!=", "<", ">", "<=", ">=", "in", "not in")


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


def _chosen(option: str, names: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    if names is None:
        return tuple(known)
    if isinstance(names, str):
        raise RnnzooError(f"{option}: found the text {names!r}, expected a list of names")
    for index, name in enumerate(names):
        if name not in known:
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
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise RnnzooError(
            f"filters: found {filters!s}: {str(error).splitlines()[0]}; "
            f"the columns are {', '.join(metadata.column_names)}"
        ) from error


def _expression(filters: Sequence[Any], schema: pa.Schema) -> pc.Expression:
    """A pyarrow expression from `Filters` in their list form."""
    if not isinstance(filters, list | tuple) or not filters:
        raise RnnzooError(f"filters: found {filters!r}, expected None, an expression or a list of conditions")
    is_condition = [isinstance(item, list | tuple) and bool(item) and isinstance(item[0], str) for item in filters]
    groups = [filters] if any(is_condition) else filters
    for group in groups:
        if not isinstance(group, list | tuple) or not group:
            raise RnnzooError(f"filters: found {group!r}, expected a list of conditions")
    try:
        return pq.filters_to_expression([[_condition(item, schema) for item in group] for group in groups])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, TypeError, OverflowError) as error:
        raise RnnzooError(f"filters: found {filters!r}: {error}") from error


def _condition(condition: Any, schema: pa.Schema) -> tuple[str, str, Any]:
    """A checked condition, its value as precise as the column: a float32 column never equals the double 0.001."""
    if not isinstance(condition, list | tuple) or len(condition) != 3:
        raise RnnzooError(f"filters: found {condition!r}, expected (column, operator, value)")
    name, operator, value = condition
    if name not in schema.names:
        raise RnnzooError(f"filters: found column {name!r}, expected one of {', '.join(schema.names)}")
    if operator not in OPERATORS:
        raise RnnzooError(f"filters: found operator {operator!r}, expected one of {', '.join(OPERATORS)}")
    several = operator in ("in", "not in")
    if several != isinstance(value, list | tuple | set | frozenset | np.ndarray):
        expected = "a list of values" if several else "one value"
        raise RnnzooError(f"filters: found {condition!r}, expected {expected} after {operator!r}")
    if any(each is None for each in (value if several else [value])):
        raise RnnzooError(f"filters: found {condition!r}, expected a value: no row has None")
    kind = schema.field(name).type
    if pa.types.is_floating(kind):
        rounded = np.dtype(kind.to_pandas_dtype()).type
        try:
            value = [float(rounded(each)) for each in value] if several else float(rounded(value))
        except (TypeError, ValueError) as error:
            raise RnnzooError(f"filters: found {condition!r}, expected numbers for column {name!r}") from error
    if several and not len(value):
        return name, operator, pa.array([], schema.field(name).type)  # pyarrow guesses no type from no values
    return name, operator, list(value) if several else value

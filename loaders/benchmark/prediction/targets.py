"""What the benchmark predicts: the targets of a zoo's family, those of every zoo, and columns a user names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.types as types
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.limits import measurable
from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS, Target, TargetKind

TARGET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
"""Names of targets stand in file names."""


def zoo_targets(loaded: LoadedZoo) -> list[Target]:
    """What can be predicted in a zoo, with the target of its task first; a column that never varies is no target.

    Args:
        loaded: The zoo.

    Returns:
        The targets of its family, then those that all zoos may have.

    Raises:
        RnnzooError: The family of the zoo's tasks is not installed.
    """
    known = [*loaded.family.targets, *COMMON_TARGETS]
    return [
        target for target in known if target.column in loaded.metadata.column_names and _varies(loaded, target)
    ]


def choose_targets(loaded: LoadedZoo, asked: Sequence[str | Target] = ()) -> list[Target]:
    """The targets asked for, or all that the zoo has.

    Args:
        loaded: The zoo.
        asked: Names of its targets, columns of its metadata as "COLUMN" or "COLUMN:KIND", or targets of one's own.

    Returns:
        The targets, each once.

    Raises:
        RnnzooError: Something asked for is no target and no column, or a column has values that do not fit.
    """
    known = {target.name: target for target in zoo_targets(loaded)}
    chosen: dict[str, Target] = {}
    for one in asked or known.values():
        target = known.get(one) or _of_column(loaded, one, known) if isinstance(one, str) else one
        if target != known.get(target.name):
            _check(loaded, target, known)
        chosen[target.name] = target
    return list(chosen.values())


def truth_of(loaded: LoadedZoo, target: Target, rows: RowNumbers) -> NDArray[np.float64]:
    """The truth of some rows.

    Args:
        loaded: The zoo.
        target: Says the column.
        rows: Rows of `loaded`, [M].

    Returns:
        float64 [M] or [M, K]. For text, the position of each value in the alphabetical list of the zoo's values.
    """
    values = loaded.column(target.column)
    if values.dtype.kind == "U":
        values = np.unique(values, return_inverse=True)[1]
    return values[rows].astype(np.float64)


def error_of(loaded: LoadedZoo, target: Target, rows: RowNumbers) -> NDArray[np.float64] | None:
    """The standard errors [M] of a target's truth at some rows of `loaded`; None where it is exact."""
    if target.error is None or target.error not in loaded.metadata.column_names:
        return None
    return loaded.column(target.error)[rows].astype(np.float64)


class Labels(NamedTuple):
    """What predictions of M rows are scored against.

    Attributes:
        truth: [M] or [M, K].
        steps: Their training steps, [M].
        measured: Which rows are of steps at which the target is measurable, bool [M].
    """

    truth: NDArray[np.float64]
    steps: NDArray[Any]
    measured: NDArray[np.bool_]


def labels_of(loaded: LoadedZoo, target: Target, rows: RowNumbers) -> Labels:
    """The labels of rows of `loaded` that a target is about."""
    truth, steps = truth_of(loaded, target, rows), loaded.column("step")[rows]
    return Labels(truth, steps, measurable(truth, error_of(loaded, target, rows), steps))


def used_rows(loaded: LoadedZoo, target: Target, rows: RowNumbers) -> RowNumbers:
    """Those of the rows that a target is about.

    Args:
        loaded: The zoo.
        target: One that is about trained models only leaves out untrained ones.
        rows: Rows of `loaded`.

    Returns:
        Rows of `loaded`, in the same order.
    """
    return rows[target.covers(loaded.column("step")[rows])]


def _varies(loaded: LoadedZoo, target: Target) -> bool:
    return len(np.unique(truth_of(loaded, target, np.arange(len(loaded))), axis=0)) > 1


def _of_column(loaded: LoadedZoo, text: str, known: dict[str, Target]) -> Target:
    """A target from "COLUMN" or "COLUMN:KIND". A kind that is not the column's usual one shows in the name."""
    column, _, kind = text.partition(":")
    if column not in loaded.metadata.column_names:
        raise ParameterError(
            "targets",
            f"found {text!r}, expected one of {', '.join(known)} for this zoo, or a column of its metadata "
            "as COLUMN or COLUMN:KIND",
        )
    if kind not in ("", *get_args(TargetKind)):
        raise ParameterError(
            "targets", f"found {text!r}, expected one of the kinds {', '.join(get_args(TargetKind))}"
        )
    fitting = _fitting(loaded.metadata.schema.field(column).type)
    guessed = Target(column, column, fitting[0] if fitting else "class")
    usual = next((target for target in known.values() if target.column == column), guessed)
    chosen: Any = kind or usual.kind
    return usual if chosen == usual.kind else Target(f"{column}-{chosen}", column, chosen)


def _fitting(found: pa.DataType) -> tuple[TargetKind, ...]:
    """The kinds of target that a column of this type may be, the usual one first."""
    if types.is_integer(found) or types.is_floating(found):
        return "number", "class", "angle"
    if types.is_list(found) or types.is_fixed_size_list(found):
        return ("classes",) if types.is_integer(found.value_type) else ()
    return ("class",) if types.is_string(found) or types.is_boolean(found) else ()


def _check(loaded: LoadedZoo, target: Target, known: dict[str, Target]) -> None:
    """Raise RnnzooError unless a target of the user's own can be predicted and scored in this zoo."""
    if not TARGET_NAME.fullmatch(target.name):
        raise ParameterError("targets", f"found the name {target.name!r}, expected letters, digits and _ . -")
    if target.name in known:
        raise ParameterError(
            "targets", f"found {target}, expected another name: this zoo has {known[target.name]}"
        )
    if target.column not in loaded.metadata.column_names:
        raise ParameterError("targets", f"{target.name}: found no column {target.column!r} in the metadata")
    values = loaded.metadata[target.column]
    if values.null_count:
        raise ParameterError("targets", f"{target.name}: found {values.null_count} checkpoints without a value")
    if target.kind not in _fitting(values.type):
        raise ParameterError(
            "targets",
            f"{target.name}: found {values.type} in its column, which is no {target.kind}; expected "
            "numbers (number, angle, class), text or truth values (class), or lists of whole numbers (classes)",
        )
    if target.kind == "classes" and len({len(entry) for entry in values.to_pylist()}) > 1:
        raise ParameterError("targets", f"{target.name}: found lists of several lengths, expected one")
    if not np.isfinite(truth_of(loaded, target, np.arange(len(loaded)))).all():
        raise ParameterError("targets", f"{target.name}: found values that are not finite")
    if not _varies(loaded, target):
        raise ParameterError("targets", f"{target.name}: found one value at all checkpoints, expected several")

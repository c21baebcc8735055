"""What a family says of itself: where it stands, whose its items are, its metadata columns and its targets."""

from __future__ import annotations

import math
import re
from collections import Counter
from importlib.resources import files
from typing import Any, get_args

import pyarrow as pa
import pyarrow.types as types

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.parquet import check_types
from rnnzoo.zoo_builder.storage.schema import metadata_schema
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS, Target, TargetKind

NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
"""Of columns and targets: they stand in names of files."""
TAKEN = re.compile(r"rollout_.*|weights|inputs|labels")
"""What rows have beside the metadata, once they are read."""


def check_place(family: TaskFamily[Any]) -> None:
    """A release and the explorer look for files beside the family, which Python 3.11 does in packages alone."""
    module = type(family).__module__
    try:
        files(module.rpartition(".")[0] or module)
    except (TypeError, ValueError) as error:
        raise RnnzooError(
            f"module: found {module}, beside which this Python finds no files ({error}); expected the family in "
            "a package: a folder with __init__.py"
        ) from error


def check_origin(zoo: str, named: NamedZoo) -> None:
    """A card does not say of items that come from elsewhere that a program has made them."""
    if named.derived_from and named.personal == NamedZoo.personal:
        raise RnnzooError(
            f"zoos: {zoo!r}: personal: found {named.personal!r}, the default, of items from {named.derived_from}; "
            "expected what they tell of people"
        )


def check_columns(family: TaskFamily[Any], spec: RNNSpec) -> None:
    """Names and types of the columns. spec: that of the zoo's RNNs."""
    own, every = family.columns(family.source), _all_columns(family)
    if twice := [name for name, count in Counter(every.names).items() if count > 1]:
        raise RnnzooError(f"columns: found {twice[0]!r} a second time, expected another name")
    parameters = {parameter.name for parameter in spec.parameters}
    for name in own.names:
        if name in parameters or TAKEN.fullmatch(name):
            raise RnnzooError(f"columns: found {name!r}, as tensors of a row are called, expected another name")
        if not NAMES.fullmatch(name):
            raise RnnzooError(f"columns: found the name {name!r}, expected letters, digits and _ . -")
    if family.shown_column.name in every.names:
        raise RnnzooError(f"shown_column: found {family.shown_column.name!r}, a column, expected another name")
    try:
        check_types(every, len(every))
    except ValueError as error:
        raise RnnzooError(f"columns: {error}") from error
    for field in family.score_columns:
        if types.is_string(field.type):
            raise RnnzooError(f"score_columns: {field.name}: found string, expected numbers or vectors of numbers")


def check_targets(family: TaskFamily[Any]) -> None:
    """Names, columns and kinds of the targets."""
    columns = _all_columns(family)
    taken = {target.name: "which every zoo has" for target in COMMON_TARGETS}
    for target in family.targets:
        if target.name in taken:
            raise RnnzooError(f"targets: found {target.name!r}, {taken[target.name]}, expected another name")
        if not isinstance(target.name, str) or not NAMES.fullmatch(target.name):
            raise RnnzooError(f"targets: found the name {target.name!r}, expected letters, digits and _ . -")
        taken[target.name] = "a second time"
        for name in (target.column, *([] if target.error is None else [target.error])):
            if name not in columns.names:
                raise RnnzooError(f"targets: {target.name}: found no column {name!r} to read it from")
        _check_kind(target, columns)


def _check_kind(target: Target, columns: pa.Schema) -> None:
    if target.kind not in get_args(TargetKind):
        expected = ", ".join(get_args(TargetKind))
        raise RnnzooError(f"targets: {target.name}: found the kind {target.kind!r}, expected one of {expected}")
    kind = columns.field(target.column).type
    if target.kind not in _fitting(kind):
        raise RnnzooError(
            f"targets: {target.name}: found {kind} in its column, which is no {target.kind}; expected numbers "
            "(number, angle, class), text or truth values (class), or lists of whole numbers (classes)"
        )
    if target.error is not None:
        error = columns.field(target.error).type
        if target.kind != "number" or not types.is_floating(error):
            raise RnnzooError(
                f"targets: {target.name}: found {error} as the error of a {target.kind}, expected floating "
                "numbers, and the kind number"
            )


def _fitting(kind: pa.DataType) -> tuple[TargetKind, ...]:
    """The kinds of target that a column may be."""
    if types.is_integer(kind) or types.is_floating(kind):
        return "number", "class", "angle"
    if types.is_fixed_size_list(kind):
        return ("classes",) if types.is_integer(kind.value_type) else ()
    return ("class",)


def _all_columns(family: TaskFamily[Any]) -> pa.Schema:
    return metadata_schema(family.columns(family.source))


def is_share(value: float) -> bool:
    """Whether a number is one from 0 to 1."""
    return math.isfinite(value) and 0 <= value <= 1

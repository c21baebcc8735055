"""What people see of a family: tried before a build, and not first of a finished zoo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.pipeline.plan.contract.tasks import as_stored
from rnnzoo.zoo_builder.storage.schema import metadata_schema
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.tasks.pictures import Colouring

SHOWN = 3
"""Items that are described and shown."""


def check_pictures(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """Texts of items, names of outputs, and the colours of tasks."""
    items = family.items[family.evaluation_items(tasks[0])[:SHOWN]]
    if not isinstance(text := family.describe(items[0]), str):
        raise RnnzooError(f"describe: found {text!r:.80}, expected a text")
    as_stored("show", family.shown_column, family.show(items))
    names = family.output_names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise RnnzooError(f"output_names: found {names!r:.80}, expected a tuple of texts")
    if len(names) not in (0, family.output_size):
        raise RnnzooError(
            f"output_names: found {len(names)}, expected one for each of {family.output_size} outputs, or none"
        )
    if family.colouring is not None:
        _check_colouring(family, family.colouring, tasks)


def _check_colouring(family: TaskFamily[Any], colouring: Colouring, tasks: Sequence[Task]) -> None:
    from matplotlib import colormaps

    if not isinstance(colouring, Colouring):
        raise RnnzooError(f"colouring: found {colouring!r:.80}, expected a Colouring")
    columns = metadata_schema(family.columns(family.source))
    if colouring.column not in columns.names:
        raise RnnzooError(f"colouring: found no column {colouring.column!r}")
    if colouring.palette not in colormaps:
        raise RnnzooError(f"colouring: found the palette {colouring.palette!r}, expected one of matplotlib")
    if colouring.column in family.task_columns.names:
        kind = family.task_columns.field(colouring.column).type
        values = [task.columns()[colouring.column] for task in tasks]
    else:  # known only of a checkpoint
        kind = columns.field(colouring.column).type
        values = [[0] * kind.list_size if pa.types.is_fixed_size_list(kind) else 0] * len(tasks)
        if pa.types.is_string(kind):
            values = [""] * len(tasks)
    found: Any = None
    with blaming(f"colouring: value of {colouring.column!r}"):
        found = np.asarray(colouring.value(np.array(pa.array(values, kind).to_pylist())))
    if found.dtype.kind not in "biuf" or found.shape != (len(tasks),):
        raise RnnzooError(
            f"colouring: value of {colouring.column!r}: found {found.dtype} of shape {list(found.shape)} for "
            f"{len(tasks)} checkpoints, expected a number of each"
        )
    limits = colouring.limits
    with blaming("colouring: limits"):
        if limits is not None and not (len(limits) == 2 and -np.inf < limits[0] < limits[1] < np.inf):
            raise RnnzooError(f"colouring: limits: found {limits}, expected the least and the greatest number")

"""What a family of tasks owes its zoos, checked before anything is trained: see `tasks/family.py`.

A family may come from anywhere. A slip in it would otherwise show in the scores of a finished zoo, or never.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.schema import metadata_schema
from rnnzoo.zoo_builder.tasks.encodings import check_items
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

LOOKED_AT = 100
"""Of the tasks of a zoo: each is looked at on its own, and a zoo may have a million."""
FEWEST_TO_SPLIT = 4


def check_family(plan: ZooPlan) -> None:
    """Look at a family's columns, items, tasks and splits.

    Args:
        plan: Of a zoo that is about to be built.

    Raises:
        RnnzooError: Something is not as `TaskFamily` asks for it; the message says what.
    """
    family = plan.family
    try:
        tasks = list(dict.fromkeys(family.tasks(plan.config.runs, plan.config.seed)))
        _check_columns(family)
        _check_tasks(family, tasks)
        _check_ood(family, tasks)
        _check_items(family, tasks)
        if not family.generates:
            _check_shown(family, tasks, plan.config.rollouts)
    except RnnzooError as error:
        raise RnnzooError(f"family {family.name!r}: {error}") from error


def _check_columns(family: TaskFamily[Any]) -> None:
    names = Counter(metadata_schema(family.columns(family.source)).names)
    if twice := [name for name, count in names.items() if count > 1]:
        raise RnnzooError(f"columns: found {twice[0]!r} a second time, expected another name")
    for target in family.targets:
        for name in filter(None, (target.column, target.error)):
            if name not in names:
                raise RnnzooError(f"targets: {target.name}: found no column {name!r} to read it from")


def _check_items(family: TaskFamily[Any], tasks: list[Task]) -> None:
    for name, values, axes in (("items", family.items, 2), ("labels", family.labels, 1)):
        if values is not None and (values.dtype != np.uint8 or values.ndim != axes):
            expected = f"uint8 of {axes} axes"
            raise RnnzooError(f"{name}: found {values.dtype} of shape {list(values.shape)}, expected {expected}")
    if family.encoding.needs_labels and (family.labels is None or len(family.labels) != len(family.items)):
        found = "none" if family.labels is None else len(family.labels)
        raise RnnzooError(f"labels: found {found}, expected one for each of {len(family.items)} items")
    family.encoding.check_bounds()
    check_items(family.encoding, family.output_size, family.items, family.labels)
    for use in ("training_items", "evaluation_items"):
        for task in tasks[:LOOKED_AT]:
            numbers = getattr(family, use)(task)
            whole = np.issubdtype(numbers.dtype, np.integer) and numbers.ndim == 1 and len(numbers)
            if not whole or numbers.min() < 0 or numbers.max() >= len(family.items):
                raise RnnzooError(f"{use}: of {task.task_id}: expected numbers from 0 to {len(family.items) - 1}")


def _check_shown(family: TaskFamily[Any], tasks: list[Task], most: int) -> None:
    """Rollouts show as many items of each task, `most` where there are so many."""
    shown = {min(most, len(family.evaluation_items(task))): task for task in tasks[:LOOKED_AT]}
    if len(shown) > 1:
        counts = " and ".join(f"{count} of {shown[count].task_id}" for count in sorted(shown)[:2])
        raise RnnzooError(
            f"evaluation_items: found {counts}, of which rollouts show up to {most}; expected one number "
            "for all tasks"
        )


def _check_tasks(family: TaskFamily[Any], tasks: list[Task]) -> None:
    ids = Counter(task.task_id for task in tasks)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise RnnzooError(f"tasks: found two that differ with the task_id {twice[0]!r}, expected an id of its own")
    fields = family.task_columns
    for task in tasks[:LOOKED_AT]:
        values = task.columns()
        if sorted(values) != sorted(fields.names):
            raise RnnzooError(
                f"task_columns: found {', '.join(fields.names)}, expected those of the task: {', '.join(values)}"
            )
        row = {name: _as_stored(name, fields.field(name).type, value) for name, value in values.items()}
        if (found := family.task_of(row)) != task:
            raise RnnzooError(f"task_of: found {found!r} for the columns {row}, expected {task!r}")


def _as_stored(name: str, kind: pa.DataType, value: Any) -> Any:
    try:
        return pa.array([value], kind)[0].as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise RnnzooError(f"task_columns: {name}: found {value!r}, expected {kind}: {error}") from error


def _check_ood(family: TaskFamily[Any], tasks: list[Task]) -> None:
    if len(tasks) < FEWEST_TO_SPLIT:
        return
    ordered = sorted(tasks, key=lambda task: task.task_id)
    found = family.out_of_distribution(ordered)
    if not set(found) <= set(ordered) or not 0 < len(set(found)) < len(ordered):
        raise RnnzooError(
            f"out_of_distribution: found {len(set(found))} of {len(ordered)} tasks, expected some of them (about "
            "15 %) and not all"
        )

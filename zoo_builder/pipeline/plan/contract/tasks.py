"""The tasks of a zoo: one for each run, the same whenever they are asked for, each with columns that say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

FEWEST_TO_SPLIT = 4
FROZEN = "expected equal tasks to compare equal and to have one hash: a frozen dataclass"


def distinct_tasks(family: TaskFamily[Any], runs: int, seed: int, looked_at: int) -> list[Task]:
    """The tasks of all runs, each once. looked_at: how many runs at most are asked for again."""
    found = family.tasks(runs, seed)
    if not isinstance(found, Sequence | np.ndarray):
        raise RnnzooError(f"tasks: found a {type(found).__name__}, expected a list of {runs} tasks")
    if len(found) != runs:
        raise RnnzooError(f"tasks: found {len(found)} tasks for {runs} runs, expected one for each run")
    for fewer in sorted({1, min(runs - 1, looked_at)} - {0}):
        for run, task in enumerate(family.tasks(fewer, seed)):
            if not _are_equal(task, found[run]):
                _refuse_another(run, runs, fewer, found[run], task)
    try:
        return list(dict.fromkeys(found))
    except Exception as error:  # whatever a hash of somebody else raises
        raise RnnzooError(f"tasks: {error}: found {found[0]!r:.200}, {FROZEN}") from error


def _refuse_another(run: int, runs: int, fewer: int, first: Task, task: Task) -> None:
    named = f"tasks: found {first!r:.200} for run {run} of {runs} runs, and {task!r:.200} for run {run} of {fewer}"
    if isinstance(name := getattr(task, "task_id", None), str) and name == getattr(first, "task_id", None):
        raise RnnzooError(f"{named}, of one id, which differ; {FROZEN}")
    raise RnnzooError(f"{named}; expected one task, however many runs there are")


def _are_equal(task: Task, other: Task) -> bool:
    try:
        return bool(task == other)
    except Exception as error:  # such as of tasks with arrays, whose comparison is an array
        raise RnnzooError(f"tasks: {error}: found {task!r:.200}, {FROZEN}") from error


def check_tasks(family: TaskFamily[Any], tasks: Sequence[Task], some: Sequence[Task]) -> None:
    """Ids of all tasks; of some, their columns, and the task that is made of these."""
    with blaming("tasks: task_id"):
        names = [getattr(task, "task_id", None) for task in tasks]
    for task, name in zip(tasks, names, strict=True):
        if not isinstance(name, str) or not name:
            raise RnnzooError(f"tasks: found {task!r:.200} with the task_id {name!r}, expected a text")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            found = f"found the task_id {name!r}, which is no Unicode"
            raise RnnzooError(f"tasks: {found}, expected a text") from error
    ids = Counter(names)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise RnnzooError(f"tasks: found two that differ with the task_id {twice[0]!r}, expected an id of its own")
    fields = family.task_columns
    for task in some:
        with blaming(f"tasks: columns of {task.task_id}"):
            values = task.columns()
        if not isinstance(values, Mapping):
            raise RnnzooError(
                f"tasks: columns of {task.task_id}: found {values!r:.200}, expected a dict of values"
            )
        if sorted(values) != sorted(fields.names):
            raise RnnzooError(
                f"task_columns: found {', '.join(fields.names)}, expected those of the task: {', '.join(values)}"
            )
        row = {name: as_stored("task_columns", fields.field(name), value) for name, value in values.items()}
        found = family.task_of(row)
        if not _are_equal(found, task):
            alike = isinstance(found, type(task)) and found.task_id == task.task_id
            raise RnnzooError(
                f"task_of: found {found!r:.200} for the columns {row}, "
                + (f"of the same id as {task!r:.200}; {FROZEN}" if alike else f"expected {task!r:.200}")
            )


def as_stored(whose: str, field: pa.Field, value: Any) -> Any:
    """A value as its column gives it back. Raises RnnzooError for one that the column cannot hold."""
    try:
        stored = pa.array([value], field.type)[0].as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise RnnzooError(f"{whose}: {field.name}: found {value!r}, expected {field.type}: {error}") from error
    if stored is None:
        raise RnnzooError(f"{whose}: {field.name}: found {value!r}, expected {field.type}")
    return stored


def check_ood(family: TaskFamily[Any], tasks: Sequence[Task], some: Sequence[Task]) -> None:
    """Some tasks are out of distribution, and not all; and some have ranks that can be compared."""
    with blaming("paper_rank"):
        sorted(map(family.paper_rank, some))
    if len(tasks) < FEWEST_TO_SPLIT:
        return
    ordered = sorted(tasks, key=lambda task: task.task_id)
    found = family.out_of_distribution(ordered)
    if not isinstance(found, Sequence | np.ndarray | set | frozenset):
        raise RnnzooError(f"out_of_distribution: found a {type(found).__name__}, expected a list of tasks")
    known = set(ordered)
    with blaming("out_of_distribution"):
        strangers = [task for task in found if task not in known]
    if strangers:
        raise RnnzooError(f"out_of_distribution: found {strangers[0]!r:.200}, expected tasks of those that it got")
    if not 0 < len(set(found)) < len(ordered):
        raise RnnzooError(
            f"out_of_distribution: found {len(set(found))} of {len(ordered)} tasks, expected some of them (about "
            "15 %) and not all"
        )

"""The items of a family, which of them belong to a task, and how a task sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.pipeline.plan.contract.asked import described
from rnnzoo.zoo_builder.tasks import encodings
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily


def check_items(family: TaskFamily[Any]) -> None:
    """Items and labels are bytes that the encoding reads."""
    items, labels, encoding = family.items, family.labels, family.encoding
    for name, values, axes in (("items", items, 2), ("labels", labels, 1)):
        if (name == "items" or values is not None) and not is_of(values, np.uint8, axes):
            raise RnnzooError(f"{name}: found {described(values)}, expected uint8 of {axes} axes")
    if not len(items):
        raise RnnzooError(f"items: found {described(items)}, expected at least one")
    if encoding.needs_labels and (labels is None or len(labels) != len(items)):
        found = "none" if labels is None else len(labels)
        raise RnnzooError(f"labels: found {found}, expected one for each of {len(items)} items")
    with blaming("encoding: check_items"):
        encodings.check_items(encoding, family.output_size, items, labels)
    with blaming("encoding: steps"):
        steps = encoding.steps(items.shape[1])
    if type(steps) is not int:
        raise RnnzooError(f"encoding: steps: found {steps!r} for {items.shape[1]} bytes, expected a whole number")
    if steps < 1:
        raise RnnzooError(f"items: found {items.shape[1]} bytes of each, which are {steps} steps, expected more")
    if family.generates and encoding.opening is None:
        raise RnnzooError(f"encoding: found {encoding}, expected one with an opening byte, as its RNNs write")
    if family.generates and family.output_size > encoding.input_size:
        raise RnnzooError(
            f"output_size: found {family.output_size}, expected at most the {encoding.input_size} inputs, as RNNs "
            "read what they wrote"
        )
    if encoding.opening is not None and len(wrong := np.flatnonzero(items[:, 0] != encoding.opening)):
        raise RnnzooError(
            f"items: found item {wrong[0]} to open with {items[wrong[0], 0]}, expected {encoding.opening}, as the "
            "encoding says"
        )


def is_of(values: object, kind: type[np.generic], axes: int) -> bool:
    """Whether it is an array of a type and of so many axes."""
    return isinstance(values, np.ndarray) and values.dtype == kind and values.ndim == axes


def check_numbers(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """The numbers of the items of each task are those of items."""
    last = len(family.items) - 1
    for use in ("training_items", "evaluation_items"):
        for task in tasks:
            numbers = getattr(family, use)(task)
            if not isinstance(numbers, np.ndarray) or numbers.ndim != 1 or numbers.dtype.kind not in "iu":
                found = described(numbers)
                raise RnnzooError(f"{use}: of {task.task_id}: found {found}, expected an array of whole numbers")
            if not len(numbers) or numbers.min() < 0 or numbers.max() > last:
                found = f"{numbers.min()} to {numbers.max()}" if len(numbers) else "none"
                raise RnnzooError(f"{use}: of {task.task_id}: found {found}, expected numbers from 0 to {last}")


def check_views(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """Views are places in an item, as many for every task."""
    width = family.items.shape[1]
    widths: dict[int, Task] = {}
    for task in tasks:
        view = family.view(task)
        if view is None:
            widths.setdefault(width, task)
            continue
        where = f"view: of {task.task_id}"
        if not is_of(view, np.int16, 1) or not len(view):
            raise RnnzooError(f"{where}: found {described(view)}, expected int16 of one axis")
        if view.min() < -1 or view.max() >= width:
            raise RnnzooError(
                f"{where}: found places {view.min()} to {view.max()}, expected -1, for zero, to {width - 1}"
            )
        if len(view) not in widths:
            widths[len(view)] = task
            try:
                family.encoding.check_items(np.where(view < 0, 0, family.items[:1, view]))
            except RnnzooError as error:
                raise RnnzooError(f"{where}: {error}") from error
    if len(widths) > 1:
        found = " and ".join(f"{count} bytes of {widths[count].task_id}" for count in sorted(widths)[:2])
        raise RnnzooError(f"view: found {found}, expected one number for all tasks")


def check_shown(family: TaskFamily[Any], tasks: Sequence[Task], most: int) -> None:
    """Rollouts show as many items of each task, `most` where there are so many."""
    shown = {min(most, len(family.evaluation_items(task))): task for task in tasks}
    if len(shown) > 1:
        counts = " and ".join(f"{count} of {shown[count].task_id}" for count in sorted(shown)[:2])
        raise RnnzooError(
            f"evaluation_items: found {counts}, of which rollouts show up to {most}; expected one number "
            "for all tasks"
        )

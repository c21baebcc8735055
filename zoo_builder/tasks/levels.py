"""Tasks that lie further out than all others, by whole levels of a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from rnnzoo.zoo_builder.tasks.family import Task

TaskT = TypeVar("TaskT", bound=Task)


def highest_levels(tasks: Sequence[TaskT], order: Callable[[TaskT], tuple[Any, ...]]) -> list[TaskT]:
    """The tasks of the highest levels, as many levels as come closest to 15 % of the tasks.

    With whole levels there is no tie to break. Where they would leave fewer than three tasks, it is the one task
    that comes last.

    Args:
        tasks: Different ones.
        order: Of a task, a tuple that sorts it, which begins with its level. No two are equal.

    Returns:
        At least one task, in the order of `tasks`.
    """
    of_task = np.array([order(task)[0] for task in tasks])
    levels = [level for level in np.unique(of_task) if (of_task < level).sum() >= 3]
    if not levels:
        return [max(tasks, key=order)]
    cut = min(levels, key=lambda level: (abs(100 * (of_task >= level).sum() - 15 * len(tasks)), -level))
    return [task for task, level in zip(tasks, of_task, strict=True) if level >= cut]

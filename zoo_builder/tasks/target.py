"""What can be predicted from an RNN, as data. How predictions are scored is the benchmark's affair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

UNTRAINED_UPDATES = 1
"""A checkpoint that has seen no more updates than this is untrained: one batch tells an RNN nothing of its task.
The first checkpoints of the published zoos have seen one."""
TargetKind = Literal["number", "class", "classes", "angle"]


@dataclass(frozen=True)
class Target:
    """One thing to predict.

    Attributes:
        name: What results call it.
        column: The metadata column that holds it.
        kind: "number" (regression), "class", "classes" (a column of lists: one class for each entry) or "angle"
            (degrees; regression of sine and cosine).
        trained_only: Whether to leave out untrained checkpoints, which say nothing about it yet.
        entry: For "classes", what one entry is called.
        error: The metadata column that holds the standard error of each value of `column`, for a number that was
            measured on a sample: 0 where it is exact, NaN where the error is unknown. None for all else.
    """

    name: str
    column: str
    kind: TargetKind
    trained_only: bool = False
    entry: str = "entry"
    error: str | None = None

    def covers(self, step: NDArray[Any]) -> NDArray[np.bool_]:
        """Which checkpoints it is about.

        Args:
            step: The updates that each has seen, [M].

        Returns:
            bool [M].
        """
        return step > UNTRAINED_UPDATES if self.trained_only else np.ones(len(step), bool)


def task_id(target: str, split: str) -> str:
    """What the hub's leaderboards call the prediction of a target on a split."""
    return f"{target}_{split}"


COMMON_TARGETS = (
    Target("accuracy", "accuracy", "number", error="accuracy_error"),
    Target("step", "step", "class"),
    Target("learning_rate_scale", "learning_rate_scale", "class", trained_only=True),
    Target("weight_decay", "weight_decay", "class", trained_only=True),
    Target("batch_size", "batch_size", "class", trained_only=True),
    Target("initial_scale", "initial_scale", "class"),
    Target("data_fraction", "data_fraction", "class", trained_only=True),
)
"""What can be predicted in every zoo in which it varies."""

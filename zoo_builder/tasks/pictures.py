"""What pictures need to know: how tasks are told apart, and checkpoints to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.tasks.data import Bytes


@dataclass(frozen=True)
class Colouring:
    """How the tasks of a family are told apart in a picture.

    Attributes:
        label: Label of the colour scale, with the unit.
        column: The metadata column that decides the colour.
        palette: A colour map of matplotlib.
        value: Values of the column [M] or [M, K] -> numbers [M].
        limits: Least and greatest number of the scale. None takes them from the data.
    """

    label: str
    column: str
    palette: str = "turbo"
    value: Callable[[NDArray[Any]], NDArray[np.float64]] = lambda values: values.astype(np.float64)
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Example:
    """A checkpoint to be drawn.

    Attributes:
        row: Its metadata.
        inputs: Its rollouts, uint8 [R, F].
        labels: uint8 [R], where they are known.
        outputs: Items uint8 [B, F] -> the RNN's log-probabilities [B, T, O].
    """

    row: Mapping[str, Any]
    inputs: Bytes
    labels: Bytes | None
    outputs: Callable[[Bytes], NDArray[np.float32]]

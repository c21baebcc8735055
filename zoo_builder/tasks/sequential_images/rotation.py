"""The rotation of images, exactly, and the order in which their pixels are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE

TILE = 4


@dataclass(frozen=True, slots=True)
class Rotation:
    """Images turned counter-clockwise by `degrees` in [0, 360), a multiple of 0.000001.

    The unit of the task is exact: `Rotation(90.0)` accepts an image's view only as Pillow's
    `Image.rotate(90)` gives it, corner pixels that turn out of the canvas lost, corners turned in black.
    """

    degrees: float

    @property
    def task_id(self) -> str:
        return f"rotation-{self.degrees:010.6f}"

    def columns(self) -> dict[str, Any]:
        return {"rotation_degrees": self.degrees}


def rotation_map(degrees: float) -> NDArray[np.int16]:
    """Where each pixel of the rotated image comes from: int16 [28, 28] of pixel numbers, -1 for none.

    Pillow itself rotates an image of pixel numbers (nearest neighbour, about the centre, same canvas), so
    indexing with the result is `Image.rotate`, pixel for pixel.
    """
    numbers = np.arange(1, SIDE * SIDE + 1, dtype=np.int32).reshape(SIDE, SIDE)
    rotated = Image.fromarray(numbers).rotate(degrees, resample=Image.Resampling.NEAREST, fillcolor=0)
    return (np.asarray(rotated) - 1).astype(np.int16)


def tiles(image: NDArray[Any]) -> NDArray[Any]:
    """[..., 28, 28] to [..., 784], tile after tile in row-major order, pixels row-major within a tile."""
    count = SIDE // TILE
    split = image.reshape(*image.shape[:-2], count, TILE, count, TILE)
    return np.ascontiguousarray(split.swapaxes(-3, -2)).reshape(*image.shape[:-2], SIDE * SIDE)


def untile(flat: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `tiles`: [..., 784] to [..., 28, 28]."""
    count = SIDE // TILE
    split = flat.reshape(*flat.shape[:-1], count, count, TILE, TILE)
    return split.swapaxes(-3, -2).reshape(*flat.shape[:-1], SIDE, SIDE)


def turned(images: NDArray[Any], degrees: float) -> NDArray[Any]:
    """Images [..., 784] as `tiles` gives them, turned as `rotation_map` says; what comes from outside is 0."""
    view = tiles(rotation_map(degrees))
    pixels = untile(images).reshape(*images.shape[:-1], -1)
    return np.where(view < 0, 0, pixels[..., np.maximum(view, 0)]).astype(images.dtype)

"""Rotated handwritten digits, read tile by tile: a task is an angle.

Every image is rotated by the task's angle, cut into 7 x 7 tiles of 4 x 4 pixels in row-major order, and
read one tile a step after an all-zero BEGIN step; the RNN names the digit at every step and is judged by
its last answer. (Herrmann, Faccio & Schmidhuber 2024, "tiled sequential MNIST".)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.random_streams import Stream, bits
from rnnzoo.zoo_builder.tasks.base import TaskFamily, TileEncoding
from rnnzoo.zoo_builder.tasks.images import SIDE, Images

TILE = 4
MEAN, STD = 0.1307, 0.3081


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


class SequentialImages(TaskFamily[Rotation]):
    """The family of all angles over one set of images; one image in five is kept for evaluation."""

    name = "sequential_images"
    output_size = 10
    encoding = TileEncoding(tile=TILE * TILE, scale=1 / (255 * STD), shift=-MEAN / STD)
    generates = False
    schema = pa.schema(
        [
            column("rotation_degrees", pa.float64(), "angle of the images, counter-clockwise"),
            column("generalization_gap", pa.float32(), "eval_loss - train_loss"),
        ]
    )

    def __init__(self, images: Images) -> None:
        self.items = images.pixels.reshape(len(images.pixels), SIDE * SIDE)
        self.labels = images.labels
        self.source = images.source
        self._in_evaluation = np.array([_hashed(number) % 5 == 0 for number in range(len(self.items))])

    def tasks(self, runs: int, seed: int) -> list[Rotation]:
        """An angle for each run, uniform in [0, 360)."""
        turns = bits(seed, Stream.RUN_TASKS, 0, runs) >> np.uint64(11)
        degrees = np.round(turns * 2.0**-53 * 360, 6) % 360
        return [Rotation(float(angle)) for angle in degrees]

    def view(self, task: Rotation) -> NDArray[np.int16]:
        return tiles(rotation_map(task.degrees))

    def training_items(self, task: Rotation) -> NDArray[np.int32]:
        return np.flatnonzero(~self._in_evaluation).astype(np.int32)

    def evaluation_items(self, task: Rotation) -> NDArray[np.int32]:
        return np.flatnonzero(self._in_evaluation).astype(np.int32)

    def out_of_distribution(self, tasks: Sequence[Rotation]) -> list[Rotation]:
        """The largest 15 % of the angles: an arc with training angles on both sides, a gap."""
        ordered = sorted(tasks, key=lambda task: task.degrees)
        return ordered[len(ordered) - max(1, round(0.15 * len(ordered))) :]

    def paper_rank(self, task: Rotation) -> tuple[float]:
        return (task.degrees,)


def _hashed(number: int) -> int:
    """A hash of an image's number that is the same everywhere."""
    return int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], "little")

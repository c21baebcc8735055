"""The rotation of images, exactly, and the order in which their pixels are read."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE

TILE = 4
TURN = 360_000_000
"""Angles are whole millionths of a degree: this many are a full turn."""
BITS = 128
PI = 0x3_243F6A88_85A308D3_13198A2E_03707344
"""In units of 2^-BITS."""


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

    Indexing with the result is Pillow's `Image.rotate` (nearest neighbour, about the centre, same canvas), pixel
    for pixel. Places are in units of 2^-16 pixels: that of the first pixel, and how far it is from one to the next
    on the right and below, are each rounded to the nearest.
    """
    cosine, sine = cosine_and_sine(degrees)
    across, down = np.arange(SIDE), np.arange(SIDE)[:, None]
    x = _place(cosine, -sine) + _fixed(cosine) * across + _fixed(-sine) * down
    y = _place(sine, cosine) + _fixed(sine) * across + _fixed(cosine) * down
    x, y = x >> 16, y >> 16
    inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    return np.where(inside, y * SIDE + x, -1).astype(np.int16)


def cosine_and_sine(degrees: float) -> tuple[int, int]:
    """Of an angle, in units of 2^-BITS, by their power series: the error is below 2^-100."""
    exact = Fraction(degrees) % 360
    angle = exact.numerator * PI // (180 * exact.denominator)
    terms = [1 << BITS]
    while terms[-1]:
        terms.append((terms[-1] * angle >> BITS) // len(terms))
    return sum(terms[::4]) - sum(terms[2::4]), sum(terms[1::4]) - sum(terms[3::4])


def _fixed(number: int) -> int:
    """In units of 2^-16, rounded to the nearest."""
    return (number + (1 << (BITS - 17))) >> (BITS - 16)


def _place(per_column: int, per_row: int) -> int:
    """One coordinate of where the centre of the first pixel comes from, the image turned about its centre."""
    return _fixed(((SIDE << BITS) - (SIDE - 1) * (per_column + per_row)) >> 1)


def tiles(image: NDArray[Any]) -> NDArray[Any]:
    """[..., 28, 28] to [..., 784], tile after tile in row-major order, pixels row-major within a tile."""
    count = SIDE // TILE
    split = image.reshape(*image.shape[:-2], count, TILE, count, TILE)
    return np.ascontiguousarray(split.swapaxes(-3, -2)).reshape(*image.shape[:-2], SIDE * SIDE)


def tiled(images: Any) -> Bytes:
    """Images as RNNs read them.

    Args:
        images: Whole numbers from 0 to 255, [..., 28, 28].

    Returns:
        uint8 [..., 784], see `tiles`.

    Raises:
        RnnzooError: They are no such images.
    """
    given = np.asarray(images)
    if given.shape[-2:] != (SIDE, SIDE) or given.dtype.kind not in "ui":
        raise RnnzooError(
            f"sequences: found {given.dtype} of shape {list(given.shape)}, expected images of whole numbers, "
            f"[..., {SIDE}, {SIDE}]"
        )
    if given.size and (given.min() < 0 or given.max() > 255):
        raise RnnzooError(f"sequences: found pixels from {given.min()} to {given.max()}, expected 0 to 255")
    return tiles(given.astype(np.uint8))


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

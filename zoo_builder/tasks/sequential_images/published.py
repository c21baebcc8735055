"""The images of the original release, those of MNIST.

    tasks.npy               float [rows, 1]: degrees
    sequences.npy           float16 [rows, R, 50, 16]: a step of zeros, then normalised pixels
    logits.npy              float16 [rows, R, 50, 10]
    num_step.npy            int [rows, 2]: run, step
    accuracy_losses.npy     float [rows, 4]: evaluation accuracy, train loss, evaluation loss, weight decay

The images have no labels: the `rollout_loss` of an imported zoo is NaN, and its accuracy is the published one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding
from rnnzoo.zoo_builder.tasks.published import ArrayForm, PublishedForm
from rnnzoo.zoo_builder.tasks.sequential_images.images import MEAN, SIDE, STD
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import Rotation

SCORES = ("accuracy", "train_loss", "eval_loss", "weight_decay")
ROTATION = "rotation_degrees"
PUBLISHED = "published_"
"""Before the name of a column: its values with all digits of the release."""
PIXEL_TOLERANCE = 0.002
"""In normalised units, in which float16 is exact to 0.001 and two grey levels lie 0.0127 apart."""


class PublishedImages(PublishedForm):
    zoo = "sequential_mnist"
    tasks = ArrayForm("tasks.npy", "f", 1)
    numbers = ArrayForm("num_step.npy", "i", 2)
    scores = ArrayForm("accuracy_losses.npy", "f", 4)
    item_bytes = SIDE * SIDE
    sequence_type = np.float16
    log_softmax = False
    columns = pa.schema(
        [
            column(PUBLISHED + "accuracy", pa.float64(), "evaluation accuracy, as released"),
            column(PUBLISHED + "train_loss", pa.float64(), "train loss, as released"),
            column(PUBLISHED + "eval_loss", pa.float64(), "evaluation loss, as released"),
            column(PUBLISHED + "weight_decay", pa.float64(), "weight decay, as released"),
            column(PUBLISHED + "rotation_degrees", pa.float64(), "angle of the images, as released"),
        ]
    )

    def __init__(self, encoding: TileEncoding) -> None:
        self.encoding = encoding

    def sequence_shape(self) -> tuple[int, ...]:
        return self.encoding.steps(self.item_bytes), self.encoding.input_size

    def read_task(self, row: NDArray[Any]) -> Rotation:
        if not 0 <= row[0] <= 360:
            raise ValueError(f"found {row[0]}, expected degrees from 0 to 360")
        return Rotation(round(float(row[0]), 6) % 360)

    def write_tasks(self, table: pa.Table) -> NDArray[np.float64]:
        return _as_released(table, ROTATION)[:, None]

    def read_items(self, stored: NDArray[Any]) -> tuple[Bytes, int]:
        scale, shift = self.encoding.scale, self.encoding.shift
        pixels = np.rint((stored[..., 1:, :].astype(np.float32) - shift) / scale)
        far = np.abs(pixels * scale + shift - stored[..., 1:, :]).max()
        if not far <= PIXEL_TOLERANCE or pixels.min() < 0 or pixels.max() > 255 or stored[..., 0, :].any():
            raise ValueError("expected a step of zeros, then pixels normalised with MNIST's mean and std")
        return pixels.astype(np.uint8).reshape(*stored.shape[:2], SIDE * SIDE), 0

    def write_items(self, items: Bytes, damage: bool) -> NDArray[Any]:
        """As torchvision normalises, in float32: float16 then rounds every grey level as in the release."""
        normalised = (items.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
        tiles = normalised.reshape(*items.shape[:-1], -1, self.encoding.input_size)
        return np.pad(tiles, [(0, 0)] * (tiles.ndim - 2) + [(1, 0), (0, 0)])

    def read_scores(
        self, task: NDArray[Any], numbers: NDArray[Any], scores: NDArray[Any] | None
    ) -> dict[str, Any]:
        if scores is None:
            raise ValueError("found no scores, expected accuracy, losses and weight decay")
        values = dict(zip(SCORES, scores.tolist(), strict=True)) | {ROTATION: float(task[0])}
        released = {PUBLISHED + name: value for name, value in values.items()}
        gap = values["eval_loss"] - values["train_loss"]
        return (
            released
            | {name: values[name] for name in SCORES}
            | {
                "generalization_gap": gap,
                "generalization_gap_error": math.nan,
            }
        )

    def write_scores(self, table: pa.Table) -> tuple[None, NDArray[Any]]:
        scores = np.stack([_as_released(table, name) for name in SCORES], axis=1)
        return None, scores if PUBLISHED + "accuracy" in table.column_names else scores.astype(np.float32)


def _as_released(table: pa.Table, name: str) -> NDArray[Any]:
    """A column of metadata, with the digits of the release where the zoo was imported."""
    released = PUBLISHED + name
    return table[released if released in table.column_names else name].to_numpy()

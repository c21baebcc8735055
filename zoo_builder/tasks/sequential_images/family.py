"""Images turned by an angle and read tile by tile; the RNN names the digit.

Every image is rotated by the task's angle, cut into 7 x 7 tiles of 4 x 4 pixels in row-major order, and
read one tile a step after an all-zero BEGIN step; the RNN names the digit at every step and is judged by
its last answer. (Herrmann, Faccio & Schmidhuber 2024, "tiled sequential MNIST".)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import PICTURE, column
from rnnzoo.zoo_builder.random_streams import Stream, bits
from rnnzoo.zoo_builder.tasks.data import Bytes, LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding
from rnnzoo.zoo_builder.tasks.exact import Estimate
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.hyperparameters import HYPERPARAMETERS
from rnnzoo.zoo_builder.tasks.pictures import Colouring, Example
from rnnzoo.zoo_builder.tasks.sequential_images.images import MEAN, SIDE, STD, Images, load_images
from rnnzoo.zoo_builder.tasks.sequential_images.published import PublishedImages
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import (
    TILE,
    TURN,
    Rotation,
    rotation_map,
    tiled,
    tiles,
    turned,
    untile,
)
from rnnzoo.zoo_builder.tasks.target import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from torch import nn

MNIST = "https://huggingface.co/datasets/ylecun/mnist"
DIGITS = "https://doi.org/10.24432/C50P49"
MNIST_WRITERS = """About 250 people, employees of the US Census Bureau and high-school students, wrote the digits
of MNIST's training set. Nothing here tells who wrote which, or anything else of them."""
DIGITS_WRITERS = "13 people wrote the digits. Nothing here tells who wrote which, or anything else of them."
MNIST_NOTICE = """The pixels in rollouts/, data_rollouts/ and figures/ are those of the MNIST database of
handwritten digits (Yann LeCun, Corinna Cortes, Christopher J. C. Burges), rotated, and licensed under the Creative
Commons Attribution-ShareAlike 3.0 licence: https://creativecommons.org/licenses/by-sa/3.0/legalcode"""
DIGITS_NOTICE = """The pixels in rollouts/, data_rollouts/ and figures/ are scaled and rotated from "Optical
Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49), licensed under CC BY 4.0."""
DEFAULTS = {"weight_decays": (0.0, 0.001, 0.01, 0.1)}


class SequentialImages(TaskFamily[Rotation]):
    """The family of all angles over one set of images; one image in five is kept for evaluation."""

    name = "sequential_images"
    zoos = {  # noqa: RUF012
        "sequential_mnist": NamedZoo(
            "RNN zoo, tiled sequential MNIST",
            "mnist",
            DEFAULTS,
            licenses=("cc-by-sa-3.0",),
            notice=MNIST_NOTICE,
            tags=("mnist",),
            derived_from=MNIST,
            personal=MNIST_WRITERS,
        ),
        "sequential_digits": NamedZoo(
            "RNN zoo, tiled sequential digits",
            "digits",
            DEFAULTS,
            notice=DIGITS_NOTICE,
            derived_from=DIGITS,
            personal=DIGITS_WRITERS,
        ),
        "sequential_mnist_hyperparameters": NamedZoo(
            "RNN zoo, tiled sequential MNIST with varied hyperparameters",
            "mnist",
            HYPERPARAMETERS | {"data_fractions": (0.02, 0.1, 1.0)},
            licenses=("cc-by-sa-3.0",),
            notice=MNIST_NOTICE,
            tags=("mnist",),
            derived_from=MNIST,
            personal=MNIST_WRITERS,
        ),
    }
    output_size = 10
    shown_column = column("image", PICTURE, "some of the images, as the RNN sees them")
    items_text = "pixels, tile by tile"
    labels_text = "the digit"
    encoding = TileEncoding(tile=TILE * TILE, scale=1 / (255 * STD), shift=-MEAN / STD)
    generates = False
    published = PublishedImages(encoding)
    task_columns = pa.schema(
        [column("rotation_degrees", pa.float64(), "angle of the images, counter-clockwise, in degrees")]
    )
    source_column = column("image_source", pa.string(), "where the images come from: mnist or digits")
    score_columns = pa.schema(
        [
            column("generalization_gap", pa.float32(), "eval_loss - train_loss"),
            column("generalization_gap_error", pa.float32(), "standard error of generalization_gap"),
        ]
    )
    targets = (
        Target("rotation", "rotation_degrees", "angle", trained_only=True),
        Target("generalization_gap", "generalization_gap", "number", error="generalization_gap_error"),
    )
    inputs_caption = "The tiles of an image in the order they are shown."
    colouring = Colouring("rotation (degrees)", "rotation_degrees", "hsv", limits=(0.0, 360.0))

    def __init__(self, images: Images) -> None:
        self.items = images.pixels.reshape(len(images.pixels), SIDE * SIDE)
        self.labels = images.labels
        self.source = images.source
        self._in_evaluation = np.array([_hashed(number) % 5 == 0 for number in range(len(self.items))])

    @classmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        """See `load_images`."""
        return cls(load_images(source or "mnist", folder))

    def tasks(self, runs: int, seed: int) -> list[Rotation]:
        """An angle for each run, uniform in [0, 360)."""
        turns = bits(seed, Stream.RUN_TASKS, 0, runs).tolist()  # in 2^-64 turns
        return [Rotation((turn * TURN + 2**63 >> 64) % TURN * 360 / TURN) for turn in turns]

    def view(self, task: Rotation) -> NDArray[np.int16]:
        return tiles(rotation_map(task.degrees))

    def training_items(self, task: Rotation) -> NDArray[np.int32]:
        return np.flatnonzero(~self._in_evaluation).astype(np.int32)

    def evaluation_items(self, task: Rotation) -> NDArray[np.int32]:
        return np.flatnonzero(self._in_evaluation).astype(np.int32)

    @classmethod
    def task_of(cls, row: Mapping[str, Any]) -> Rotation:
        return Rotation(float(row["rotation_degrees"]))

    @classmethod
    def score_answers(
        cls, task: Rotation, right: NDArray[np.bool_], eval_loss: Estimate, train_loss: Estimate
    ) -> dict[str, float]:
        scores = super().score_answers(task, right, eval_loss, train_loss)
        error = math.sqrt(eval_loss.error * eval_loss.error + train_loss.error * train_loss.error)
        gap = eval_loss.mean - train_loss.mean
        return scores | {"generalization_gap": gap, "generalization_gap_error": error}

    @classmethod
    def out_of_distribution(cls, tasks: Sequence[Rotation]) -> list[Rotation]:
        """The largest 15 % of the angles: an arc with training angles on both sides, a gap."""
        ordered = sorted(tasks, key=lambda task: task.degrees)
        return ordered[len(ordered) - max(1, round(0.15 * len(ordered))) :]

    @classmethod
    def paper_rank(cls, task: Rotation) -> tuple[float]:
        return (task.degrees,)

    @classmethod
    def reference_items(
        cls, tasks: Sequence[Rotation], inputs: Bytes, labels: Bytes | None, count: int
    ) -> LabelledItems:
        """Images turned back by their run's angle. Turned twice by nearest neighbour they are a little rough."""
        import torch

        chosen = super().reference_items(tasks, inputs, labels, count)
        upright = [
            turned(image, -tasks[number % len(tasks)].degrees) for number, image in enumerate(chosen.items.numpy())
        ]
        return replace(chosen, items=torch.from_numpy(np.stack(upright)))

    @classmethod
    def behaviour_statistics(cls, steps: int, reference: LabelledItems | None) -> nn.Module:
        """Of the answers to ten labelled images, each turned to 24 angles: it uses data."""
        from rnnzoo.zoo_builder.tasks.sequential_images.behaviour import TurnedImages

        return TurnedImages(cls.encoding, reference)

    @classmethod
    def encode(cls, sequences: Any) -> Bytes:
        """Images of whole numbers from 0 to 255, [M, 28, 28]."""
        return tiled(sequences)

    @classmethod
    def decode(cls, sequences: Any) -> Bytes:
        """Images uint8 [..., 28, 28]; rollouts are turned by the angle of their run."""
        return untile(np.asarray(sequences))

    @classmethod
    def seen(cls, task: Rotation, sequences: Bytes) -> Bytes:
        """Images turned by the angle."""
        return turned(sequences, task.degrees)

    @classmethod
    def show(cls, sequences: Bytes) -> dict[str, Any]:
        """Images as one PNG, ten side by side."""
        from rnnzoo.zoo_builder.tasks.sequential_images.drawing import contact_sheet

        return {"bytes": contact_sheet(sequences), "path": None}

    @classmethod
    def explorer_data(cls, tasks: Sequence[Rotation], examples: LabelledItems) -> dict[str, Any]:
        """The angle of each task, and some upright images: their pixels tile by tile, and labels.

        They are one of each digit, or ten of which nobody knows the label.
        """
        if examples.labels is None:
            chosen = dict.fromkeys(range(len(examples.items))[:10])
        else:
            labels = examples.labels.tolist()
            chosen = {labels.index(label): label for label in sorted(set(labels))}
        images = [{"pixels": examples.items[place].tolist(), "label": label} for place, label in chosen.items()]
        return {"degrees": [task.degrees for task in tasks], "side": SIDE, "images": images}

    @classmethod
    def draw_examples(cls, figure: Figure, where: SubplotSpec, runs: Sequence[Sequence[Example]]) -> None:
        """Images as some runs see them at their last step, with their answers."""
        from rnnzoo.zoo_builder.tasks.sequential_images.drawing import draw_answers

        draw_answers(figure, where, [checkpoints[-1] for checkpoints in runs])

    @classmethod
    def draw_inputs(cls, inputs: NDArray[np.float64]) -> Figure:
        from rnnzoo.zoo_builder.tasks.sequential_images.drawing import draw_tiles

        return draw_tiles(inputs)


def _hashed(number: int) -> int:
    """A hash of an image's number that is the same everywhere."""
    return int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:8], "little")

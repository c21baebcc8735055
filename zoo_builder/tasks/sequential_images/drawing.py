"""Pictures of images: what an RNN sees with what it answers, and sequences of tiles."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from numpy.typing import NDArray
from PIL import Image

from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.drawing import BAD, GOOD, INK, draw_heat_maps
from rnnzoo.zoo_builder.tasks.pictures import Example
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import untile

IMAGES = 6
IMAGES_ACROSS = 10
TILES_ACROSS = 25


def draw_answers(figure: Figure, where: SubplotSpec, examples: Sequence[Example]) -> None:
    """Images as checkpoints see them, a row a checkpoint, with what they answer; green where it is right."""
    grid = where.subgridspec(len(examples), IMAGES)
    for line, example in enumerate(examples):
        inputs = example.inputs[:IMAGES]
        answers = example.outputs(inputs)[:, -1].argmax(axis=-1).tolist()
        # Rollouts of imported zoos have no labels.
        labels = [None] * len(inputs) if example.labels is None else example.labels[: len(inputs)].tolist()
        for place, (image, label, answer) in enumerate(zip(untile(inputs), labels, answers, strict=True)):
            axes = figure.add_subplot(grid[line, place])
            axes.imshow(image, cmap="gray_r")
            axes.set_xticks([])
            axes.set_yticks([])
            title = (
                f"answers {answer}"
                if label is None
                else f"{label}: answers {answer} {'✓' if answer == label else '✗'}"
            )
            color = INK if label is None else GOOD if answer == label else BAD
            axes.set_title(title, color=color, fontsize=10)
            if place == 0:
                degrees, accuracy = example.row["rotation_degrees"], example.row["accuracy"]
                axes.set_ylabel(f"{degrees:.0f}°\naccuracy {accuracy:.2f}", fontsize=10)
    figure.supxlabel("each image with its digit, and the RNN's last answer", fontsize=9, color=INK)


def contact_sheet(sequences: Bytes) -> bytes:
    """Images uint8 [R, F], tile by tile, as a PNG file, ten side by side."""
    images = untile(sequences)
    rows = -(-len(images) // IMAGES_ACROSS)
    sheet = np.zeros((rows * IMAGES_ACROSS, *images.shape[1:]), np.uint8)
    sheet[: len(images)] = images
    lines = sheet.reshape(rows, IMAGES_ACROSS, *images.shape[1:]).swapaxes(1, 2)
    file = io.BytesIO()
    Image.fromarray(lines.reshape(rows * images.shape[1], -1)).save(file, "PNG", optimize=True)
    return file.getvalue()


def draw_tiles(inputs: NDArray[np.float64]) -> Figure:
    """Sequences [K, T, D] of square tiles: each as its tiles in time, 25 a row, a pixel apart."""
    side = round(inputs.shape[2] ** 0.5)
    if side * side != inputs.shape[2]:
        return draw_heat_maps(inputs)
    across = min(TILES_ACROSS, inputs.shape[1])
    rows = -(-inputs.shape[1] // across)
    figure = Figure(figsize=(7.2, len(inputs) * (0.12 + 7.2 * rows / across)))
    panels = figure.subplots(len(inputs), squeeze=False)[:, 0]
    for place, (axes, sequence) in enumerate(zip(panels, inputs, strict=True)):
        sheet = np.full((rows * (side + 1) - 1, across * (side + 1) - 1), np.nan)
        for t, tile in enumerate(sequence):
            top, left = (t // across) * (side + 1), (t % across) * (side + 1)
            sheet[top : top + side, left : left + side] = tile.reshape(side, side)
        axes.imshow(sheet, cmap="gray", interpolation="nearest")
        axes.set_axis_off()
        height = 1 / len(inputs)
        axes.set_position((0, 1 - (place + 0.96) * height, 1, 0.92 * height))
    return figure

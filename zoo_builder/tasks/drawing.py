"""Pictures of sequences that serve any family: text, and heat maps of inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rnnzoo.zoo_builder.escaping import LONGEST_LABEL, one_line
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.pictures import Example

INK, GOOD, BAD = "#1f4e79", "#2e7d32", "#c62828"
SEQUENCES = 4
STEPS = 4
LARGEST, SMALLEST = 9.0, 5.0
"""Size of text in points; longer lines are set smaller down to the smallest, and then end with an ellipsis."""
MARGINS = 12
"""Around a column, in points."""
WIDTH = 0.68
"""Of a character of the monospaced font at most, per point of its size: widths are whole pixels."""


def draw_sequences(
    figure: Figure,
    where: SubplotSpec,
    runs: Sequence[Sequence[Example]],
    describe: Callable[[Bytes], str],
    title: Callable[[Mapping[str, Any]], str] = lambda row: f"{row['task_id']}   ({row['run_id']})",
    right: Callable[[Mapping[str, Any], Bytes], NDArray[np.bool_]] | None = None,
    legend: str | None = None,
) -> None:
    """What some runs wrote or were shown as they learned, a column a run.

    Args:
        figure: to draw in.
        where: its part.
        runs: each a list of checkpoints by step.
        describe: a sequence uint8 [F] as text.
        title: of a run, from the metadata of its first checkpoint.
        right: metadata and sequences uint8 [K, F] -> which are drawn as right, [K]; None draws all alike.
        legend: what colours and signs mean.
    """
    grid = where.subgridspec(1, len(runs))
    room = 72 * figure.get_figwidth() / len(runs) - MARGINS
    for place, checkpoints in enumerate(runs):
        axes = figure.add_subplot(grid[place])
        axes.axis("off")
        name = one_line(title(checkpoints[0].row), LONGEST_LABEL) or " "
        axes.set_title(name, loc="left", fontsize=min(11, room / (WIDTH * len(name))), parse_math=False)
        lines = []
        for number in np.unique(np.linspace(0, len(checkpoints) - 1, min(STEPS, len(checkpoints))).astype(int)):
            example = checkpoints[number]
            lines.append((f"step {example.row['step']}, accuracy {example.row['accuracy']:.2f}", "black", ""))
            shown = example.inputs[:SEQUENCES]
            good = [None] * len(shown) if right is None else right(example.row, shown)
            for sequence, is_good in zip(shown, good, strict=True):
                color, sign = (INK, "") if is_good is None else (GOOD, "✓") if is_good else (BAD, "✗")
                lines.append((f"  {describe(sequence)}", color, sign))
        size = max(SMALLEST, min(LARGEST, room / (WIDTH * max(len(text) for text, _, _ in lines))))
        most = int(room / (WIDTH * size))
        for number, (text, color, sign) in enumerate(lines):
            shown_text = text if len(text) <= most else f"{text[: most - 1]}…"
            for words in filter(None, (shown_text, sign)):
                axes.text(
                    0, 1 - (number + 0.5) / len(lines), words,
                    color=color, family="monospace", fontsize=size, va="center", parse_math=False,
                )  # fmt: skip
    if legend is not None:
        figure.supxlabel(legend, fontsize=9, color=INK)


def draw_heat_maps(inputs: NDArray[np.float64], names: Sequence[str] | None = None) -> Figure:
    """Sequences [K, T, D], a heat map D x T each; names: of the D inputs."""
    columns = 1 if len(inputs) == 1 else 2
    lines = -(-len(inputs) // columns)
    figure = Figure(figsize=(7.2, 1.35 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    width = inputs.shape[2]
    labels = names if names is not None and len(names) == width else [str(number) for number in range(width)]
    for axes, sequence in zip(panels, inputs, strict=False):
        axes.imshow(sequence.T, cmap="magma", vmin=0, vmax=max(1e-9, float(sequence.max())), aspect="auto")
        axes.set_yticks(range(width), labels, fontsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(length=0, labelsize=7)
        axes.spines[:].set_visible(False)
    for axes in panels[len(inputs) :]:
        axes.set_axis_off()
    return figure

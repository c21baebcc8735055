"""The pictures of emulation: the emulator beside the RNN, step by step and run by run, and answers to probes."""

from __future__ import annotations

from collections.abc import Sequence as Several

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnzoo.loaders.benchmark.report.marks import Marks
from rnnzoo.loaders.benchmark.report.plots import (
    GREY_STYLE,
    INK,
    MOST_PROBES,
    SPLIT_MARKERS,
    STYLE,
    known_family,
    png,
    svg,
)
from rnnzoo.loaders.benchmark.results.content import Emulation, Rows, Sequence
from rnnzoo.zoo_builder.escaping import for_figure
from rnnzoo.zoo_builder.tasks.drawing import draw_heat_maps

RETURNS_ACROSS = 4


def draw_sequence(sequence: Sequence, rows: Rows, colour: str) -> str:
    """The RNN's answers along a sequence, the emulator's, and how far apart they are at each step, as a PNG.

    colour: that of the encoder.
    """
    original, emulated = np.array(sequence.original, float), np.array(sequence.emulated, float)
    distance = 0.5 * np.abs(original - emulated).sum(axis=1)
    with mpl.rc_context(GREY_STYLE):
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        panels = figure.subplots(3, sharex=True, height_ratios=(3, 3, 1))
        for axes, shown, name in zip(panels, (original, emulated), ("RNN", "emulation"), strict=False):
            axes.imshow(shown.T, cmap="magma", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            axes.set_yticks(range(shown.shape[1]), _output_names(rows, shown.shape[1]), fontsize=7)
            axes.set_ylabel(name, fontsize=8)
        panels[2].bar(range(len(distance)), distance, width=0.8, color=colour)
        panels[2].set_ylim(0, 1)
        panels[2].set_ylabel("TV", fontsize=8)
        panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels:
            axes.tick_params(length=0, labelsize=7)
            axes.spines[:].set_visible(False)
        return png(figure, dpi=130)


def draw_answers(emulation: Emulation, rows: Rows) -> str:
    """What the RNN answers to the probes that `draw_probes` shows, as a PNG."""
    answers = np.array(emulation.answers, dtype=float)[:MOST_PROBES]
    with mpl.rc_context(GREY_STYLE):
        return png(draw_heat_maps(answers, _output_names(rows, answers.shape[2])), dpi=130)


def draw_returns(emulations: Several[Emulation], marks: Marks) -> Markup | None:
    """Accuracy of the emulation against that of the RNN it emulates, a point a run, a panel an encoder.

    None where nothing is known of any run.
    """
    shown = [one for one in emulations if any(split["per checkpoint"] for split in one.performance.values())]
    if not shown:
        return None
    across = min(RETURNS_ACROSS, len(shown))
    down = -(-len(shown) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.85 * RETURNS_ACROSS, 2 * down + 0.5), layout="constrained")
        panels = figure.subplots(down, RETURNS_ACROSS, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, emulation in zip(panels, shown, strict=False):
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.5)
            for marker, (split, performance) in zip(SPLIT_MARKERS, emulation.performance.items(), strict=False):
                original, emulated = np.array(performance["per checkpoint"], float).reshape(-1, 2).T
                axes.plot(
                    original, emulated, marker, color=marks[emulation.encoder].colour,
                    markersize=4, alpha=0.6, markeredgewidth=0, label=split,
                )  # fmt: skip
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set_title(for_figure(emulation.encoder), fontsize=8)
            axes.grid()
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        figure.supxlabel("accuracy of the RNN", fontsize=10)
        figure.supylabel("of its emulation", fontsize=10)
        return svg(figure, "accuracy of emulations against that of the RNNs, run by run")


def _output_names(rows: Rows, outputs: int) -> Several[str]:
    """What each of the O outputs says, by the family; numbers where it is not known."""
    family = known_family(rows)
    names = () if family is None else family.output_names
    return names if len(names) == outputs else [str(number) for number in range(outputs)]

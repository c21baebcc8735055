"""The pictures of a report: SVG that takes the page's text colour, and PNG for what has thousands of marks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.report.tables import Line, TargetTable
from rnnzoo.loaders.benchmark.report.text import ARROWS, marked
from rnnzoo.loaders.benchmark.results import CurvePoint, Emulation, Result, Rows

INK = "#010203"
"""Stands for the page's text colour, whatever it is: `_svg` puts `currentColor` in its place."""
GROUP_COLOURS = {"mechanistic": "#d9822b", "functionalist": "#2f81c7", "control": "#8a8f98", "user": "#c2408f"}
STEP_MAP, TASK_MAP, ANGLE_MAP, ACCURACY_MAP = "viridis", "turbo", "hsv", "plasma"
MOST_PROBES = 8
TOKENS = ("a", "b", "c", "d", "BEGIN", "END")
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnnzoo",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
}


def draw_scores(table: TargetTable) -> Markup:
    """Main score of every encoder, a point and its 95 % interval; one panel a split, the best on top."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.9 + 0.27 * len(table.lines)), layout="constrained")
        panels = figure.subplots(1, len(table.splits), sharex=True, sharey=True, squeeze=False)[0]
        for axes, split in zip(panels, table.splits, strict=True):
            _draw_split(axes, table, split)
        return _svg(figure, f"{table.main} of every encoder with intervals, on {' and '.join(table.splits)}")


def _draw_split(axes: Axes, table: TargetTable, split: str) -> None:
    for place, line in enumerate(table.lines):
        estimate = line.scores[split][table.main]
        if estimate is None:
            continue
        colour = GROUP_COLOURS[line.group]
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2.5, alpha=0.55)
        filled = colour if line.track != "supervised" else "none"
        axes.plot(estimate.mean, place, "o", color=colour, markerfacecolor=filled, markersize=6)
    axes.set_yticks(range(len(table.lines)), [_label(line, table.lines) for line in table.lines])
    axes.set_ylim(len(table.lines) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_title(split, fontsize=10, loc="left", fontweight="bold")
    axes.set_xlabel(f"{table.main} {ARROWS[table.target.better]}")


def _label(line: Line, lines: Sequence[Line]) -> str:
    """An encoder's name, with its track where it stands here under several."""
    several = sum(other.encoder == line.encoder for other in lines) > 1
    return f"{marked(line)}, {line.track}" if several else marked(line)


def draw_curves(trained: Sequence[Emulation] | Sequence[Result], loss: str) -> Markup | None:
    """Validation loss by training step: the mean over seeds, and the range of the seeds; None without any curve.

    loss: what was measured, for the axis.
    """
    encoders = list(dict.fromkeys(one.encoder for one in trained if one.curve))
    if not encoders:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.2), layout="constrained")
        axes = figure.subplots()
        palette = mpl.colormaps["tab10"]
        for place, encoder in enumerate(encoders):
            steps, losses = _curves([one.curve for one in trained if one.encoder == encoder])
            if len(steps):
                colour, dashes = palette(place % 10), ("-", "--", ":")[place // 10 % 3]
                mean = np.nanmean(losses, axis=0)
                axes.plot(steps, mean, dashes, color=colour, linewidth=1.8, label=encoder)
                low, high = np.nanmin(losses, axis=0), np.nanmax(losses, axis=0)
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid()
        axes.set_xlabel("training step")
        axes.set_ylabel(f"validation {loss}")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        return _svg(figure, f"learning curves: validation {loss} by training step")


def _curves(curves: Sequence[Sequence[CurvePoint]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps [P] at which some seed was validated, and the losses [S, P] with nan in gaps."""
    found = [
        {point.step: point.validation_loss for point in curve if point.validation_loss is not None}
        for curve in curves
    ]
    steps = sorted(set().union(*found))
    losses = [[curve.get(step, np.nan) for step in steps] for curve in found]
    return np.array(steps, dtype=float), np.array(losses)


def draw_leakage(scores: dict[str, float | None], name: str) -> Markup:
    """One score of one readout, by what was held out."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 1.9), layout="constrained")
        axes = figure.subplots()
        values = [np.nan if value is None else value for value in scores.values()]
        colours = ["#c0392b", "#d9822b", "#2f81c7"][: len(values)]
        axes.barh([f"split by {unit}" for unit in scores], values, color=colours, height=0.55)
        axes.invert_yaxis()
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(name)
        return _svg(figure, f"{name} by the kind of split")


def draw_map(emulation: Emulation, rows: Rows) -> str:
    """Embeddings of all reported checkpoints by two main components, three times: task, step and accuracy.

    A circle is a checkpoint of the first split (`test`), a triangle one of the second (`ood`).
    """
    figure = Figure(figsize=(7.2, 2.4))
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.99, wspace=0.03)
    for axes, (palette, values, (low, high)) in zip(panels, map_colours(rows).values(), strict=True):
        for marker, split in zip("o^", rows.splits, strict=False):
            x, y = np.array(emulation.map[split], dtype=float).reshape(-1, 2).T
            axes.scatter(
                x, y, c=values[split], cmap=palette, vmin=low, vmax=high, s=11, marker=marker, alpha=0.9,
                linewidths=0,
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#88888866")
    return _png(figure, dpi=140)


def map_colours(rows: Rows) -> dict[str, tuple[str, dict[str, NDArray[np.float64]], tuple[float, float]]]:
    """What the three panels of a map show: label -> palette, split -> value of every row, lowest and highest."""
    some = next(iter(rows.splits.values())).targets
    task, palette = ("rotation", ANGLE_MAP) if "rotation" in some else ("offsets", TASK_MAP)
    labels = {"rotation": "rotation (degrees)", "offsets": "first offset of the language"}
    shown: dict[str, tuple[str, dict[str, NDArray[np.float64]]]] = {}
    if task in some:
        shown[labels[task]] = palette, {name: _first(split.targets[task]) for name, split in rows.splits.items()}
    shown["training step"] = STEP_MAP, _step_ranks(rows)
    if "accuracy" in some:
        accuracies = {name: _first(split.targets["accuracy"]) for name, split in rows.splits.items()}
        shown["accuracy of the RNN"] = ACCURACY_MAP, accuracies
    ranges = {"rotation (degrees)": (0.0, 360.0), "accuracy of the RNN": (0.0, 1.0)}
    return {
        label: (palette, values, ranges.get(label) or _range(values)) for label, (palette, values) in shown.items()
    }


def _step_ranks(rows: Rows) -> dict[str, NDArray[np.float64]]:
    steps = np.unique(np.concatenate([np.array(split.step) for split in rows.splits.values()]))
    return {name: np.searchsorted(steps, split.step).astype(float) for name, split in rows.splits.items()}


def _first(values: Sequence[float] | Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.array(values, dtype=float).reshape(len(values), -1)[:, 0]


def _range(values: dict[str, NDArray[np.float64]]) -> tuple[float, float]:
    together = np.concatenate(list(values.values()))
    return float(together.min()), float(together.max())


def draw_legend(rows: Rows) -> Markup:
    """The colour scales of the maps."""
    with mpl.rc_context(STYLE):
        shown = map_colours(rows)
        figure = Figure(figsize=(7.2, 0.8))
        for place, (label, (palette, _, (low, high))) in enumerate(shown.items()):
            axes = figure.add_axes((0.03 + place / 3, 0.66, 0.27, 0.2))
            axes.imshow(np.linspace(0, 1, 128)[None], cmap=palette, aspect="auto", extent=(low, high, 0, 1))
            axes.set_yticks([])
            if label == "training step":
                steps = sorted(set().union(*(split.step for split in rows.splits.values())))
                marked_places = sorted({0, len(steps) // 2, len(steps) - 1})
                axes.set_xticks(marked_places, [f"{steps[n]:,}" for n in marked_places])
            axes.set_xlabel(label)
            axes.spines[:].set_visible(False)
        return _svg(figure, "colour scales of the embedding maps")


def draw_probes(emulation: Emulation, family: str | None) -> tuple[str, int, int]:
    """The learned probing inputs as a PNG: heat maps of tokens by time, or the tiles of an image.

    Returns it with its number of probes shown and steps T.
    """
    probes = np.array(emulation.probes, dtype=float)
    shown = probes[:MOST_PROBES]
    with mpl.rc_context({**STYLE, "text.color": "#808080", "xtick.color": "#808080", "ytick.color": "#808080"}):
        picture = _token_maps(shown) if family == "formal_languages" else _tile_strips(shown)
        return _png(picture, dpi=130), len(shown), probes.shape[1]


def _token_maps(probes: NDArray[np.float64]) -> Figure:
    """Probes [K, T, D], a heat map D x T each."""
    columns = 1 if len(probes) == 1 else 2
    lines = -(-len(probes) // columns)
    figure = Figure(figsize=(7.2, 1.35 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, probe in zip(panels, probes, strict=False):
        axes.imshow(probe.T, cmap="magma", vmin=0, vmax=max(1e-9, float(probe.max())), aspect="auto")
        names = TOKENS if probe.shape[1] == len(TOKENS) else range(probe.shape[1])
        axes.set_yticks(range(probe.shape[1]), names, fontsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(length=0, labelsize=7)
        axes.spines[:].set_visible(False)
    for axes in panels[len(probes) :]:
        axes.set_axis_off()
    return figure


def _tile_strips(probes: NDArray[np.float64]) -> Figure:
    """Probes [K, T, D] of square tiles: each as its tiles in time, 25 a row, a pixel apart."""
    side = round(probes.shape[2] ** 0.5)
    if side * side != probes.shape[2]:
        return _token_maps(probes)
    across = min(25, probes.shape[1])
    rows = -(-probes.shape[1] // across)
    figure = Figure(figsize=(7.2, len(probes) * (0.12 + 7.2 * rows / across)))
    panels = figure.subplots(len(probes), squeeze=False)[:, 0]
    for place, (axes, probe) in enumerate(zip(panels, probes, strict=True)):
        sheet = np.full((rows * (side + 1) - 1, across * (side + 1) - 1), np.nan)
        for t, tile in enumerate(probe):
            top, left = (t // across) * (side + 1), (t % across) * (side + 1)
            sheet[top : top + side, left : left + side] = tile.reshape(side, side)
        axes.imshow(sheet, cmap="gray", interpolation="nearest")
        axes.set_axis_off()
        height = 1 / len(probes)
        axes.set_position((0, 1 - (place + 0.96) * height, 1, 0.92 * height))
    return figure


def _svg(figure: Figure, title: str) -> Markup:
    """A figure as inline SVG that scales with the page and takes its text colour and font."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    # Many figures stand on one page, whose ids must differ; those that are used are hashes of their content.
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r'<svg ([^>]*?)height="[\d.]+pt"', r"<svg \1", text, count=1)
    text = re.sub(r'width="([\d.]+)pt"', r'style="width:100%;max-width:\1pt"', text, count=1)
    text = re.sub(r"'DejaVu Sans'.*?sans-serif", "system-ui, sans-serif", text)
    label = Markup.escape(title)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def _png(figure: Figure, dpi: int) -> str:
    """A figure as the data URL of a PNG with a clear ground."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=True, dpi=dpi, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()

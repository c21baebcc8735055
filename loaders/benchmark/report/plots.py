"""The pictures of a report: SVG that takes the page's text colour, and PNG for what has thousands of marks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import bounds_of
from rnnzoo.loaders.benchmark.report.marks import Marks
from rnnzoo.loaders.benchmark.report.tables import Line, TargetTable
from rnnzoo.loaders.benchmark.report.text import ARROWS, marked
from rnnzoo.loaders.benchmark.results.content import CurvePoint, Emulation, Result, Rows
from rnnzoo.zoo_builder.errors import blaming
from rnnzoo.zoo_builder.escaping import for_figure, for_html, one_line
from rnnzoo.zoo_builder.tasks import family_names, find_family
from rnnzoo.zoo_builder.tasks.family import TaskFamily

INK = "#010203"
"""Stands for the page's text colour, whatever it is: `svg` puts `currentColor` in its place."""
STEP_MAP, ACCURACY_MAP = "viridis", "plasma"
STEP_LABEL = "training step"
EMULATION_LOSS = "emulation loss (total variation)"
LONG_SCALE = 4
"""Losses that differ by more than this factor have a logarithmic axis: it has two numbers or more then."""
LEGEND_ACROSS = 3
MOST_PANELS = 3
MOST_PROBES = 8
SPLIT_MARKERS = "o^"
"""Of the first split (`test`), and of the second."""
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
GREY_STYLE: dict[Any, Any] = STYLE | dict.fromkeys(
    ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#808080"
)
"""For pictures that are no SVG, and cannot take the page's colour of text: grey is read on light and dark."""


def draw_scores(table: TargetTable, marks: Marks) -> Markup:
    """`scores_figure` for a page."""
    with mpl.rc_context(STYLE):
        shown = f"{table.main} of every encoder with intervals, on {' and '.join(table.splits)}"
        return svg(scores_figure(table, marks), shown)


def scores_figure(table: TargetTable, marks: Marks) -> Figure:
    """Main score of every encoder, a point and its 95 % interval, dotted where it tells of one seed alone.

    One panel a split, the highest ranked on top.
    """
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(7.4, 0.9 + 0.27 * len(table.lines)), layout=layout)
    panels = figure.subplots(1, len(table.splits), sharex=True, sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, table.splits, strict=True):
        _draw_split(axes, table, split, marks)
    return figure


def _draw_split(axes: Axes, table: TargetTable, split: str, marks: Marks) -> None:
    for place, line in enumerate(table.lines):
        estimate = line.scores[split][table.main]
        if estimate is None:
            continue
        mark = marks[line.encoder]
        ends = [estimate.low, estimate.high]
        dashes = ":" if line.has_one_seed else "-"
        axes.plot(ends, [place, place], dashes, color=mark.colour, linewidth=2.5, alpha=0.55, clip_on=False)
        filled = mark.colour if line.track != "supervised" else "none"
        axes.plot(
            estimate.mean,
            place,
            mark.marker,
            color=mark.colour,
            markerfacecolor=filled,
            markersize=6,
            clip_on=False,
        )
    axes.set_yticks(range(len(table.lines)), [_label(line, table.lines) for line in table.lines])
    axes.set_ylim(len(table.lines) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    _show_whole_share(axes, table.main)
    axes.set_title(for_figure(split), fontsize=10, loc="left", fontweight="bold")
    axes.set_xlabel(for_figure(f"{table.main} {ARROWS[table.better]}"))


def _show_whole_share(axes: Axes, score: str) -> None:
    """The axis of a share, across, runs from 0 to 1, however close the shares lie."""
    if bounds_of(score) == (0.0, 1.0):
        axes.set_xlim(0, 1)


def _label(line: Line, lines: Sequence[Line]) -> str:
    """An encoder's name, with its track where it stands here under several."""
    several = sum(other.encoder == line.encoder for other in lines) > 1
    return for_figure(f"{marked(line)}, {line.track}" if several else marked(line))


def draw_curves(trained: Sequence[Emulation] | Sequence[Result], loss: str, marks: Marks) -> Markup | None:
    """`curves_figure` for a page; None without any curve."""
    with mpl.rc_context(STYLE):
        figure = curves_figure(trained, loss, marks)
        return None if figure is None else svg(figure, f"learning curves: validation {loss} by training step")


def curves_figure(trained: Sequence[Emulation] | Sequence[Result], loss: str, marks: Marks) -> Figure | None:
    """Validation loss by training step: the mean over seeds, and the range of the seeds; None without any curve.

    loss: what was measured, for the axis.
    """
    encoders = list(dict.fromkeys(one.encoder for one in trained if one.curve))
    if not encoders:
        return None
    lines = -(-len(encoders) // LEGEND_ACROSS)
    figure = Figure(figsize=(7.4, 3.9 + 0.22 * lines), layout="constrained")
    axes = figure.subplots()
    for encoder in encoders:
        steps, losses = _curves([one.curve for one in trained if one.encoder == encoder])
        if len(steps):
            colour, label = marks[encoder].colour, for_figure(encoder)
            mean = np.nanmean(losses, axis=0)
            axes.plot(steps, mean, marks[encoder].dashes, color=colour, linewidth=1.8, label=label)
            low, high = np.nanmin(losses, axis=0), np.nanmax(losses, axis=0)
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    low, high = axes.get_ylim()
    if low > 0 and high > LONG_SCALE * low:
        scale_by_ratios(axes)
    axes.grid()
    axes.set_xlabel("training step")
    axes.set_ylabel(for_figure(f"validation {loss}"))
    figure.legend(loc="outside lower center", ncols=LEGEND_ACROSS, frameon=False, fontsize=9)
    return figure


def scale_by_ratios(axes: Axes) -> None:
    """A logarithmic axis of losses, whose numbers are written out."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


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
        axes.barh([for_figure(f"split by {unit}") for unit in scores], values, color="#808080", height=0.55)
        axes.invert_yaxis()
        _show_whole_share(axes, name)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(for_figure(name))
        return svg(figure, f"{name} by the kind of split")


def draw_map(emulation: Emulation, rows: Rows) -> str:
    """Embeddings of all reported checkpoints by two main components, a panel for each of `map_panels`.

    A circle is a checkpoint of the first split (`test`), a triangle one of the second (`ood`).
    """
    shown = map_panels(rows)
    figure = Figure(figsize=(7.2, 2.4))
    panels = figure.subplots(1, MOST_PANELS)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.99, wspace=0.03)
    for axes, panel in zip(panels, shown, strict=False):
        low, high = panel.limits
        for marker, split in zip(SPLIT_MARKERS, rows.splits, strict=False):
            x, y = _points(emulation.map[split]).T
            axes.scatter(
                x, y, c=panel.values[split], cmap=panel.palette, vmin=low, vmax=high,
                s=13, marker=marker, alpha=0.9, linewidths=0.5, edgecolors="#808080",
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#88888866")
    return png(figure, dpi=140)


def _points(coordinates: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """[M, 2]; an embedding of one number has one component, and the other is 0."""
    points = np.zeros((len(coordinates), 2))
    for point, known in zip(points, coordinates, strict=True):
        point[: len(known)] = known
    return points


@dataclass(frozen=True)
class Panel:
    """A panel of a map: what its colours mean. values: split -> of every row. limits: of the colour scale."""

    label: str
    palette: str
    values: dict[str, NDArray[np.float64]]
    limits: tuple[float, float]


def map_panels(rows: Rows) -> list[Panel]:
    """What the panels of a map show: the task as its family colours it, the step, and the accuracy."""
    panels = [Panel(STEP_LABEL, STEP_MAP, (ranks := _step_ranks(rows)), _limits(ranks))]
    if rows.target("accuracy"):
        accuracies = {name: np.array(split.targets["accuracy"], float) for name, split in rows.splits.items()}
        panels.append(Panel("accuracy of the RNN", ACCURACY_MAP, accuracies, (0.0, 1.0)))
    family = known_family(rows)
    colouring = None if family is None else family.colouring
    task = next((target for target in rows.targets if colouring and target.column == colouring.column), None)
    if colouring is None or task is None:
        return panels
    values = {
        name: np.asarray(colouring.value(np.array(split.targets[task.name])), float)
        for name, split in rows.splits.items()
    }
    return [Panel(colouring.label, colouring.palette, values, colouring.limits or _limits(values)), *panels]


def known_family(rows: Rows) -> type[TaskFamily[Any]] | None:
    """The family of a leaderboard's zoo, where it is installed: it alone knows how to draw its tasks."""
    name = rows.zoo_config.get("family")
    return find_family(name) if isinstance(name, str) and name in family_names() else None


def _step_ranks(rows: Rows) -> dict[str, NDArray[np.float64]]:
    steps = np.unique(np.concatenate([np.array(split.step) for split in rows.splits.values()]))
    return {name: np.searchsorted(steps, split.step).astype(float) for name, split in rows.splits.items()}


def _limits(values: dict[str, NDArray[np.float64]]) -> tuple[float, float]:
    together = np.concatenate(list(values.values()))
    finite = together[np.isfinite(together)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def draw_legend(rows: Rows) -> Markup:
    """The colour scales of the maps."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.8))
        for place, panel in enumerate(map_panels(rows)):
            axes = figure.add_axes((0.03 + place / MOST_PANELS, 0.66, 0.27, 0.2))
            scale = np.linspace(0, 1, 128)[None]
            axes.imshow(scale, cmap=panel.palette, aspect="auto", extent=(*panel.limits, 0, 1))
            axes.set_yticks([])
            if panel.label == STEP_LABEL:
                steps = sorted(set().union(*(split.step for split in rows.splits.values())))
                marked_places = sorted({0, len(steps) // 2, len(steps) - 1})
                axes.set_xticks(marked_places, [f"{steps[n]:,}" for n in marked_places])
            axes.set_xlabel(panel.label)
            axes.spines[:].set_visible(False)
        return svg(figure, "colour scales of the embedding maps")


def draw_probes(emulation: Emulation, rows: Rows) -> tuple[str, int, int]:
    """The learned probing inputs as a PNG, as the family draws inputs, or as heat maps.

    Returns it with its number of probes shown and steps T.
    """
    probes = np.array(emulation.probes, dtype=float)
    shown = probes[:MOST_PROBES]
    with mpl.rc_context(GREY_STYLE):
        with blaming(f"family {rows.zoo_config.get('family')!r}: draw_inputs"):
            picture = png((known_family(rows) or TaskFamily).draw_inputs(shown), dpi=130)
        return picture, len(shown), probes.shape[1]


def inputs_caption(rows: Rows) -> str:
    """What `draw_probes` shows, for people."""
    return (known_family(rows) or TaskFamily).inputs_caption


def svg(figure: Figure, title: str) -> Markup:
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
    label = for_html(one_line(title))
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def png(figure: Figure, dpi: int) -> str:
    """A figure as the data URL of a PNG with a clear ground."""
    return "data:image/png;base64," + base64.b64encode(png_file(figure, dpi)).decode()


def png_file(figure: Figure, dpi: int) -> bytes:
    """A figure as a PNG with a clear ground."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=True, dpi=dpi, metadata={"Software": None})
    return stream.getvalue()

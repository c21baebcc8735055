"""The figures of a card: accuracies and examples, and a map of the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rnnzoo.zoo_builder.overview import RELEASED_FIGURE, draw_overview
from rnnzoo.zoo_builder.release.parquet import ZooTables
from rnnzoo.zoo_builder.tasks.pictures import Colouring
from rnnzoo.zoo_builder.weight_map import weight_map

BY_STEP = Colouring("training step", "step_index", "viridis")
"""Coloured by the number of the step, so that steps far apart and close together are told apart alike."""
BY_ACCURACY = Colouring("accuracy", "accuracy", "viridis", limits=(0.0, 1.0))
"""For a family that says nothing of how its tasks are told apart."""
RELEASED_MAP = "figures/map.png"


def draw_figures(tables: ZooTables, out: Path) -> None:
    """Write the overview and the map into a release in the folder `out`."""
    (out / RELEASED_FIGURE).parent.mkdir(parents=True, exist_ok=True)
    draw_overview(tables.folder).savefig(out / RELEASED_FIGURE, dpi=110)
    draw_map(tables).savefig(out / RELEASED_MAP, dpi=110)


def draw_map(tables: ZooTables) -> Figure:
    """Every checkpoint as a point, by the two main components of its layers' statistics, coloured two ways."""
    metadata = pa.concat_tables([tables.metadata[split] for split in tables.splits])
    points, shares = weight_map(tables.shard(name).tensors for name in tables.manifest.shards)
    finite = np.isfinite(points).all(axis=1)
    metadata, points = metadata.filter(pa.array(finite)), points[finite]
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    bar = _scatter(figure, left, points, _values(metadata, BY_STEP), BY_STEP)
    steps = tables.manifest.config["checkpoints"]
    bar.set_ticks(range(len(steps)), labels=[f"{step:,}" for step in steps])
    last = metadata["step"].to_numpy() == steps[-1]
    left.set_title("all checkpoints")
    by_task = tables.family.colouring or BY_ACCURACY
    _scatter(figure, right, points[last], _values(metadata, by_task)[last], by_task)
    right.set_title("last checkpoints")
    for axes in (left, right):
        axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"second component ({shares[1]:.0%})")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _values(metadata: pa.Table, colouring: Colouring) -> NDArray[np.float64]:
    """What colours the points. A family may give truth values, too."""
    return np.asarray(colouring.value(np.array(metadata[colouring.column].to_pylist())), np.float64)


def _scatter(
    figure: Figure, axes: Axes, points: NDArray[np.float64], values: NDArray[np.float64], colouring: Colouring
) -> Colorbar:
    least, most = colouring.limits or (None, None)
    drawn = axes.scatter(
        points[:, 0],
        points[:, 1],
        c=values,
        cmap=colouring.palette,
        vmin=least,
        vmax=most,
        s=9,
        alpha=0.8,
        linewidths=0,
    )
    whole = MaxNLocator(integer=True) if len(values) and np.ptp(values) > 1 else None
    return figure.colorbar(drawn, ax=axes, label=colouring.label, ticks=whole)

"""How the loss of a training by emulation falls with its steps, and with the RNNs that it sees.

    python -m benchmarks.scaling --zoo ZOO --out scaling.json --encoder feedback_probing --encoder flat_mlp
    python -m benchmarks.scaling --zoo ZOO --out scaling.json --encoder flat_mlp --steps 500 1000 --runs 8 32 128

Each point is a training of its own, with the steps asked for and the checkpoints of so many training runs, drawn
at random. While the one is varied, the other has its whole value: all runs, or the most steps. Losses are
total variation on `validation`, `test` and `ood`, all of which are whole in every training. What stands in the
file, and was made by the same code, is not trained again. A picture, scaling.png, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from benchmarks.machine import machine
from rnnzoo.loaders.benchmark.protocol import PROTOCOLS
from rnnzoo.loaders.benchmark.report.baselines import DPI
from rnnzoo.loaders.benchmark.report.marks import Marks, marks_of
from rnnzoo.loaders.benchmark.report.plots import GREY_STYLE, png_file, scale_by_ratios
from rnnzoo.loaders.benchmark.request import Request, Setting, resolve
from rnnzoo.loaders.benchmark.tracks.training_bar import TrainingBar
from rnnzoo.loaders.emulation import emulation_losses, train_emulation
from rnnzoo.loaders.encoders.recipe import make_learned
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.writing import write_json, write_single

LABELS = {"steps": "training steps", "runs": "runs seen in training"}


@dataclass(frozen=True)
class Point:
    """One training.

    Attributes:
        encoder: Its name, with options.
        steps: Of the training.
        runs: Of how many training runs the checkpoints are seen.
        seed: Of encoder, training, and choice of runs.
        key: The digest of the `ResultKey` that it has: code, versions, zoo and settings.
    """

    encoder: str
    steps: int
    runs: int
    seed: int
    key: str


def points(settings: Sequence[Setting], runs: Sequence[int], seeds: int) -> dict[Point, Setting]:
    """All trainings, the whole ones first.

    Args:
        settings: One for each encoder and number of steps.
        runs: How many runs are seen, rising.
        seeds: How many seeds.
    """
    most = max(setting.known_training.steps for setting in settings)
    found: dict[Point, Setting] = {}
    for count in reversed(runs):
        for setting in settings:
            steps = setting.known_training.steps
            if most == steps or count == runs[-1]:
                for seed in range(seeds):
                    found[Point(setting.encoder, steps, count, seed, setting.key.digest)] = setting
    return found


def measure(loaded: LoadedZoo, setting: Setting, point: Point, state: Path) -> dict[str, Any]:
    """Train by emulation; returns split -> mean loss, and seconds.

    Args:
        loaded: The zoo.
        setting: Of the encoder and its training.
        point: Which runs are seen, and the seed.
        state: The file that an interrupted training goes on from.
    """
    parts, config = setting.parts, setting.known_training
    of_row = loaded.column("run_id")[parts.train]
    chosen = np.random.default_rng(point.seed).permutation(np.unique(of_row))[: point.runs]
    rows = {"train": parts.train[np.isin(of_row, chosen)], "validation": parts.validation}
    began = time.perf_counter()
    encoder = make_learned(setting.recipe, loaded.population, point.seed)
    with TrainingBar(f"{point.encoder}, {point.runs} runs", config.steps, quiet=False) as bar:
        emulation, _ = train_emulation(loaded, encoder, rows, config, point.seed, state, bar, setting.key)
    losses = {
        split: float(emulation_losses(loaded, emulation, held, config).mean())
        for split, held in {"validation": parts.validation, **parts.reported}.items()
    }
    state.unlink(missing_ok=True)
    return {"losses": losses, "seconds": round(time.perf_counter() - began)}


def scaling_figure(measured: Sequence[dict[str, Any]], marks: Marks) -> Figure:
    """Losses on every split by the steps, and by the runs seen: a line an encoder, the mean of its seeds."""
    splits = list(measured[0]["losses"])
    figure = Figure(figsize=(7.4, 2.4 * len(splits) + 0.5), layout="constrained")
    panels = figure.subplots(len(splits), 2, sharey="row", sharex="col", squeeze=False)
    for along, fixed, column in (("steps", "runs", panels[:, 0]), ("runs", "steps", panels[:, 1])):
        whole = max(one[fixed] for one in measured)
        shown = [one for one in measured if one[fixed] == whole]
        for split, axes in zip(splits, column, strict=True):
            _draw_losses(axes, shown, split, along, marks)
            axes.set_title(f"{split}, {whole:,} {fixed}", fontsize=10, loc="left", fontweight="bold")
        column[-1].set_xlabel(LABELS[along])
    for axes in panels[:, 0]:
        axes.set_ylabel("emulation loss")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_losses(axes: Axes, measured: Sequence[dict[str, Any]], split: str, along: str, marks: Marks) -> None:
    for encoder, mark in marks.items():
        losses: dict[int, list[float]] = {}
        for one in measured:
            if one["encoder"] == encoder:
                losses.setdefault(one[along], []).append(one["losses"][split])
        counts = sorted(losses)
        means = [float(np.mean(losses[count])) for count in counts]
        axes.plot(counts, means, mark.dashes, marker=mark.marker, color=mark.colour, markersize=5, label=encoder)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({one[along] for one in measured}))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    scale_by_ratios(axes)
    axes.grid()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", required=True, help="a zoo's folder, or org/name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="file of what was measured; the picture beside it")
    parser.add_argument("--encoder", action="append", required=True, help="a name with options; again for more")
    parser.add_argument("--steps", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--runs", type=int, nargs="+", help="default: a 64th, a 16th, a quarter of all, and all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--protocol", default=PROTOCOLS[0], choices=PROTOCOLS)
    parser.add_argument("--threads", type=int, help="CPU threads; default: all cores")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        run(chosen)
    except RnnzooError as error:
        sys.exit(f"scaling: {error}")


def run(chosen: argparse.Namespace) -> None:
    """Train what is missing, and draw.

    Raises:
        RnnzooError: A number does not fit the zoo, or the file is of another one.
    """
    loaded = LoadedZoo(chosen.zoo)
    asked = [
        Request(chosen.zoo, encoder, chosen.out, ("frozen",), chosen.protocol, overrides=(("steps", steps),))
        for steps in sorted(set(chosen.steps))
        for encoder in chosen.encoder
    ]
    settings = [resolve(request, loaded)[0][0] for request in asked]
    most = len(np.unique(loaded.column("run_id")[settings[0].parts.train]))
    runs = sorted({*(chosen.runs or [-(-most // part) for part in (64, 16, 4, 1)])})
    if not 1 <= runs[0] <= runs[-1] <= most:
        raise RnnzooError(f"--runs: found {runs}, expected from 1 to {most}, the runs of the training split")
    zoo = {"zoo": settings[0].zoo, "zoo_digest": settings[0].zoo_digest, "protocol": chosen.protocol}
    found = json.loads(chosen.out.read_text()) if chosen.out.exists() else zoo | {"measured": []}
    if not zoo.items() <= found.items():
        raise RnnzooError(f"{chosen.out}: found measurements of another zoo or protocol, expected {zoo}")
    wanted = points(settings, runs, chosen.seeds)
    there = {name: [one[name] for one in found["measured"]] for name in asdict(next(iter(wanted)))}
    done = {Point(*values) for values in zip(*there.values(), strict=True)}
    for point, setting in wanted.items():
        if point not in done:
            state = chosen.out.with_name(f"{point.key}-{point.runs}-{point.seed}.state")
            made = asdict(point) | measure(loaded, setting, point, state) | machine()
            print(f"{point.encoder}, {point.steps} steps, {point.runs} runs, seed {point.seed}: {made['losses']}")
            found["measured"].append(made)
            write_json(chosen.out, found)
    known = {setting.key.digest for setting in settings}
    shown = [one for one in found["measured"] if one["key"] in known]
    with mpl.rc_context(GREY_STYLE):
        figure = scaling_figure(shown, marks_of(one["encoder"] for one in shown))
        write_single(chosen.out.with_suffix(".png"), png_file(figure, DPI))


if __name__ == "__main__":
    main()

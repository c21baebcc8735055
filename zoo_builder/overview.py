"""A zoo at a glance: a summary in words, and a figure of accuracies, weight norms and examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.identity.named import name_of_zoo
from rnnzoo.zoo_builder.rnn import RNNModule
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import UNRECORDED
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest, read_metadata
from rnnzoo.zoo_builder.storage.shards import Shard, read_shard
from rnnzoo.zoo_builder.tasks import find_family
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.drawing import INK
from rnnzoo.zoo_builder.tasks.encodings import Encoding, encoding_of
from rnnzoo.zoo_builder.tasks.pictures import Example

MOST_RUNS = 1000
"""Runs in the figure: more lines show no more, and take their time."""
SUMMARY_COLUMNS = ("step", "accuracy", "eval_loss", "diverged", "run_id")
FIGURE_COLUMNS = ("run_id", "task_id", "step", "accuracy", "shard", "row", "rollout_row")
EXAMPLE_RUNS = 3
EXAMPLE_STEPS = 4
MUTED = "#9db4c8"
RELEASED_FIGURE = "figures/overview.png"
"""Where a release has its overview."""


def facts_of(folder: Path) -> dict[str, Any]:
    """What the zoo in `folder` is, its splits, and its accuracy by step, as plain values of JSON.

    Raises:
        RnnzooError: There is no finished zoo, or it has no checkpoint of a step that its config names.
    """
    manifest = read_manifest(folder)
    spec = manifest.rnn_spec()
    table = read_metadata(folder, manifest, SUMMARY_COLUMNS)
    return {
        "folder": str(folder),
        "zoo": manifest.zoo,
        "format_version": manifest.format_version,
        "config": manifest.config,
        "spec": {**spec.to_dict(), "num_parameters": spec.num_parameters},
        "bytes": manifest.size,
        "checkpoints": len(table),
        "arithmetic": manifest.arithmetic,
        "digest": manifest.digest,
        "named": None if manifest.digest is None else name_of_zoo(manifest.digest),
        "built_with": manifest.built_with,
        "diverged_runs": pc.count_distinct(table.filter(table["diverged"])["run_id"]).as_py(),
        "splits": {
            name: {**entry.model_dump(exclude={"shards"}), "shards": len(entry.shards)}
            for name, entry in manifest.splits.items()
        },
        "steps": [_facts_of_step(folder, table, step) for step in manifest.config["checkpoints"]],
    }


def _facts_of_step(folder: Path, table: pa.Table, step: int) -> dict[str, Any]:
    rows = table.filter(pc.equal(table["step"], step))
    if not len(rows):
        raise RnnzooError(f"{folder}: found no checkpoint of step {step}, which the config names")
    low, middle, high = np.quantile(rows["accuracy"].to_numpy(), [0.1, 0.5, 0.9]).tolist()
    losses = rows["eval_loss"].to_numpy()
    finite = losses[np.isfinite(losses)]
    return {
        "step": step,
        "accuracy": {"median": middle, "10 %": low, "90 %": high},
        "eval_loss": float(np.median(finite)) if len(finite) else None,
    }


def summarize(folder: Path) -> str:
    """The zoo in `folder` in some 20 lines: what it is, its splits, its accuracy by step.

    Raises:
        RnnzooError: There is no finished zoo, or it has no checkpoint of a step that its config names.
    """
    facts = facts_of(folder)
    config, spec = facts["config"], facts["spec"]
    lines = [
        f"{folder}: zoo {facts['zoo']} (preset {config['preset']}, seed {config['seed']}, "
        f"items: {config['source'] or 'generated'})",
        f"  {config['runs']} runs of {config['steps']} steps, {facts['checkpoints']} checkpoints, "
        f"{facts['bytes'] / 1e6:.1f} MB, format version {facts['format_version']}",
        f"  {spec['num_layers']}-layer {spec['cell']} with {spec['hidden_size']} units, "
        f"{spec['input_size']} inputs, {spec['output_size']} outputs, {spec['num_parameters']} parameters",
        f"  {_arithmetic(facts)}",
        "  built with " + ", ".join(_flat_items(facts["built_with"])),
        f"  diverged runs: {facts['diverged_runs']}",
        "",
        f"  {'split':12}{'tasks':>7}{'runs':>7}{'checkpoints':>13}{'shards':>8}",
    ]
    for name, split in facts["splits"].items():
        counts = (split["tasks"], split["runs"], split["checkpoints"], split["shards"])
        lines.append("  {:12}{:>7}{:>7}{:>13}{:>8}".format(name, *counts))
    lines += ["", f"  {'step':>8}{'accuracy: median':>18}{'10 %':>8}{'90 %':>8}{'eval loss':>11}"]
    for row in facts["steps"]:
        shares = "{median:>18.3f}{10 %:>8.3f}{90 %:>8.3f}".format_map(row["accuracy"])
        loss = "nan" if row["eval_loss"] is None else f"{row['eval_loss']:.4f}"
        lines.append(f"  {row['step']:>8}{shares} {loss:>10}")
    return "\n".join(lines)


def _arithmetic(facts: dict[str, Any]) -> str:
    if facts["digest"] is None:
        return UNRECORDED
    named = "" if facts["named"] is None else f" ({facts['named']})"
    return f"arithmetic {facts['arithmetic']}, digest {facts['digest']}{named}"


def _flat_items(values: dict[str, Any]) -> list[str]:
    return [f"{name} {' + '.join(value) if isinstance(value, list) else value}" for name, value in values.items()]


def draw_overview(folder: Path) -> Figure:
    """Accuracy by step with its spread over runs, weight norms by step, and examples of three runs.

    Of a zoo of more than MOST_RUNS runs, the figure shows every n-th shard.
    """
    manifest = read_manifest(folder)
    shards, encoding = shards_to_draw(manifest), encoding_of(manifest.encoding)
    family = find_family(manifest.config["family"])
    table = read_metadata(folder, manifest, [*FIGURE_COLUMNS, *family.task_columns.names])
    count = len(table)
    table = table.filter(pc.is_in(table["shard"], pa.array(map(schema.weights_file, shards))))
    figure = plt.figure(figsize=(13, 10), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.6])
    drawn = f", {len(table)} of them drawn" if len(table) < count else ""
    figure.suptitle(
        f"{manifest.zoo}: {manifest.config['runs']} runs, {count} checkpoints{drawn}", fontsize=14, weight="bold"
    )
    steps = manifest.config["checkpoints"]
    accuracy = _by_run(table, "accuracy", steps)
    left = figure.add_subplot(grid[0, 0])
    _draw_spread(left, steps, accuracy, "accuracy")
    left.set_ylim(-0.02, 1.02)
    table = table.append_column("weight_norm", pa.array(_weight_norms(folder, shards)))
    _draw_spread(
        figure.add_subplot(grid[0, 1]),
        steps,
        _by_run(table, "weight_norm", steps),
        "Euclidean norm of all weights",
    )
    examples = [[_example(folder, encoding, row) for row in rows] for rows in _examples(table)]
    with blaming(f"family {family.name!r}: draw_examples"):
        family.draw_examples(figure, grid[1, :], examples)
    return figure


def shards_to_draw(manifest: Manifest) -> list[str]:
    """All shards of a zoo, or as many of them, evenly, as make MOST_RUNS runs."""
    runs = sum(entry.runs for entry in manifest.splits.values())
    return manifest.shards[:: max(1, -(-runs // MOST_RUNS))]


def _by_run(table: pa.Table, column: str, steps: Sequence[int]) -> np.ndarray:
    """A column as [runs, checkpoints]."""
    ordered = table.select(["run_id", "step", column]).sort_by([("run_id", "ascending"), ("step", "ascending")])
    return ordered[column].to_numpy().reshape(-1, len(steps))


def _weight_norms(folder: Path, shards: Sequence[str]) -> np.ndarray:
    """Euclidean norm of every checkpoint's weights in some shards, in order."""
    norms = []
    for name in shards:
        tensors = read_shard(file_in(folder, schema.weights_file(name))).tensors.values()
        squares = [np.square(tensor, dtype=np.float64).reshape(len(tensor), -1).sum(axis=1) for tensor in tensors]
        norms.append(np.sqrt(np.sum(squares, axis=0)))
    return np.concatenate(norms)


def _draw_spread(axes: Axes, steps: Sequence[int], values: np.ndarray, label: str) -> None:
    """One thin line a run, the median, and the band between the 10th and the 90th percentile."""
    axes.plot(steps, values.T, color=MUTED, linewidth=0.4, alpha=min(0.6, 30 / len(values)), zorder=1)
    low, middle, high = np.nanquantile(values, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(steps, low, high, color=INK, alpha=0.15, label="10 % to 90 % of the runs")
    axes.plot(steps, middle, color=INK, marker="o", linewidth=2, label="median")
    axes.set_xscale("symlog", linthresh=100)
    axes.set_xticks(steps, [f"{step}" for step in steps], rotation=45)
    axes.minorticks_off()
    axes.set_xlabel("training step")
    axes.set_ylabel(label)
    axes.legend(loc="best", frameon=False, fontsize=9)


def _examples(table: pa.Table) -> list[list[dict[str, Any]]]:
    """Rows of a few runs by step: the least, the middle and the most accurate at the end."""
    last = table.filter(pc.equal(table["step"], pc.max(table["step"]))).sort_by("accuracy")
    where = np.unique(np.linspace(0, len(last) - 1, EXAMPLE_RUNS).astype(int))
    examples = []
    for run_id in last["run_id"].take(where).to_pylist():
        rows = table.filter(pc.equal(table["run_id"], run_id)).sort_by("step").to_pylist()
        steps = np.unique(np.linspace(0, len(rows) - 1, min(EXAMPLE_STEPS, len(rows))).astype(int))
        examples.append([rows[i] for i in steps])
    return examples


def _example(folder: Path, encoding: Encoding, row: dict[str, Any]) -> Example:
    """A checkpoint to be drawn; its weights are read when its outputs are asked for."""
    rollouts = _rollouts(folder, row)

    def outputs(items: Bytes) -> NDArray[np.float32]:
        model = RNNModule.of_weights(_weights(folder, row))
        with torch.no_grad():
            logits, _ = model(encoding.inputs(torch.from_numpy(items)))
        return logits.log_softmax(dim=-1).numpy()

    return Example(row, rollouts["inputs"], rollouts.get("labels"), outputs)


def _shard(folder: Path, row: dict[str, Any], room: str) -> Shard:
    return read_shard(file_in(folder, f"{room}/{Path(row['shard']).name}"))


def _rollouts(folder: Path, row: dict[str, Any]) -> dict[str, np.ndarray]:
    """A checkpoint's rollouts: "inputs" uint8 [R, F], and "labels" uint8 [R] where there are some."""
    tensors = _shard(folder, row, "rollouts").tensors
    return {name: np.array(tensor[row["rollout_row"]]) for name, tensor in tensors.items()}


def _weights(folder: Path, row: dict[str, Any]) -> dict[str, torch.Tensor]:
    tensors = _shard(folder, row, "weights").tensors
    return {name: torch.from_numpy(np.array(tensor[row["row"]])) for name, tensor in tensors.items()}

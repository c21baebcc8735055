"""What the page knows of a zoo: everything but its weights, which it reads when they are asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import blaming
from rnnzoo.zoo_builder.overview import shards_to_draw
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest, read_metadata
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.tasks import find_family
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.weight_map import weight_map

STOPS = 64
"""Colours of a palette."""
EXAMPLES = 100
"""Items that a family may choose from what its page shows."""
COLUMNS = ("run_id", "task_id", "split", "step", "step_index", "accuracy", "shard", "row", "rollout_row")


@dataclass(frozen=True)
class PageData:
    """What stands on the page.

    Attributes:
        family: The family of the zoo.
        manifest: Of the zoo.
        values: What the page's scripts read as `zoo`, JSON values; `page.js` lists them.
        shares: Of the variance of the map, [2].
        shards: Names of the shards whose weights the page may ask for.
    """

    family: type[TaskFamily[Any]]
    manifest: Manifest
    values: dict[str, Any]
    shares: NDArray[np.float64]
    shards: list[str]


def read_page_data(folder: Path, weights: str) -> PageData:
    """What the page shows of the zoo in a folder: of more than `overview.MOST_RUNS` runs, every n-th shard.

    Args:
        folder: The zoo; of its weights and rollouts only the shards that are shown have to be there.
        weights: Where the page finds the files of weights: an address up to the folder, with a slash at its end.

    Raises:
        RnnzooError: A file is missing, or not as it should be.
    """
    manifest = read_manifest(folder)
    spec = manifest.rnn_spec()
    family, shards = find_family(manifest.config["family"]), shards_to_draw(manifest)
    wanted = {*COLUMNS, *family.task_columns.names}
    if family.colouring is not None:
        wanted.add(family.colouring.column)
    table = read_metadata(folder, manifest, sorted(wanted))
    table = table.filter(pc.is_in(table["shard"], pa.array(map(schema.weights_file, shards))))
    rows = table.to_pylist()
    places, shares = weight_map(read_shard(file_in(folder, schema.weights_file(name))).tensors for name in shards)
    runs = list({row["run_id"]: row for row in rows}.values())
    tasks = list({row["task_id"]: row for row in runs}.values())
    known = [family.task_of(row) for row in tasks]
    task_places = {row["task_id"]: place for place, row in enumerate(tasks)}
    splits = list(manifest.splits)
    values = {
        "spec": spec.to_dict(),
        "encoding": manifest.encoding,
        "outputs": list(family.output_names) or [str(output) for output in range(spec.output_size)],
        "steps": manifest.config["checkpoints"],
        "splits": splits,
        "tasks": [
            {"id": row["task_id"], "label": label}
            for row, label in zip(tasks, _labels(family, tasks), strict=True)
        ],
        "runs": [
            {"name": row["run_id"], "task": task_places[row["task_id"]], "split": splits.index(row["split"])}
            for row in runs
        ],
        "checkpoints": _checkpoints(rows, [row["run_id"] for row in runs], shards, places),
        "start": max(range(len(rows)), key=lambda place: _sortable(rows[place]["accuracy"])),
        "weights": weights,
        "shards": shards,
        "family": _of_family(family, known, _examples(folder, family, rows)),
        **_colours(family, manifest, table),
    }
    return PageData(family, manifest, values, shares, shards)


def _of_family(family: type[TaskFamily[Any]], tasks: Sequence[Any], examples: LabelledItems) -> dict[str, Any]:
    """What the family's own script reads, which has to be JSON."""
    with blaming(f"family {family.name!r}: explorer_data"):
        found = family.explorer_data(tasks, examples)
        json.dumps(found, allow_nan=False)
    return found


def _checkpoints(
    rows: Sequence[dict[str, Any]], runs: Sequence[str], shards: Sequence[str], places: NDArray[np.float64]
) -> dict[str, list[Any]]:
    """The checkpoints, column by column; runs and shards as numbers of theirs, places [N, 2] on the map."""
    run_numbers = {run: number for number, run in enumerate(runs)}
    shard_numbers = {schema.weights_file(name): number for number, name in enumerate(shards)}
    return {
        "run": [run_numbers[row["run_id"]] for row in rows],
        "step": [row["step_index"] for row in rows],
        "accuracy": _numbers(row["accuracy"] for row in rows),
        "map": [None if math.isnan(x) else [round(x, 3), round(y, 3)] for x, y in places.tolist()],
        "shard": [shard_numbers[row["shard"]] for row in rows],
        "row": [row["row"] for row in rows],
    }


def _labels(family: type[TaskFamily[Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Tasks for people: the first of their columns, or as many more as tell them apart."""
    names = family.task_columns.names
    labels = [""] * len(rows)
    for count in range(1, len(names) + 1):
        labels = [", ".join(_label(name, row[name]) for name in names[:count]) for row in rows]
        if len(set(labels)) == len(labels):
            break
    return labels


def _label(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, list) else [value]
    return f"{name.replace('_', ' ')} {' '.join(f'{number:g}' for number in numbers)}"


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers for JSON, which knows no nan."""
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]


def _colours(family: type[TaskFamily[Any]], manifest: Manifest, table: pa.Table) -> dict[str, Any]:
    """By what checkpoints can be coloured: "colourings", and the colours of their "palettes"."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    steps = len(manifest.config["checkpoints"])
    colourings = {
        "step": {
            "label": "training step", "palette": "viridis", "limits": [0, max(1, steps - 1)],
            "values": table["step_index"].to_pylist(),
        },
        "accuracy": {
            "label": "accuracy", "palette": "plasma", "limits": [0, 1],
            "values": _numbers(table["accuracy"].to_pylist()),
        },
    }  # fmt: skip
    if (colouring := family.colouring) is not None:
        found = np.asarray(colouring.value(np.array(table[colouring.column].to_pylist())), np.float64)
        finite = found[np.isfinite(found)]
        of_data = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        limits = colouring.limits or of_data
        colourings["task"] = {
            "label": colouring.label, "palette": colouring.palette, "limits": list(limits),
            "values": _numbers(found.tolist()),
        }  # fmt: skip
    names = sorted({str(entry["palette"]) for entry in colourings.values()})
    palettes = {name: [to_hex(mpl.colormaps[name](stop / (STOPS - 1))) for stop in range(STOPS)] for name in names}
    return {"colourings": colourings, "palettes": palettes}


def _examples(folder: Path, family: type[TaskFamily[Any]], rows: Sequence[dict[str, Any]]) -> LabelledItems:
    """Some of the family's reference items, from the rollouts of the first shard that has checkpoints."""
    first = [row for row in rows if row["shard"] == rows[0]["shard"] and row["step_index"] == 0]
    tensors = read_shard(file_in(folder, schema.rollouts_of(rows[0]["shard"]))).tensors
    groups = [row["rollout_row"] for row in first]
    labels = np.array(tensors["labels"][groups]) if "labels" in tensors else None
    known = [family.task_of(row) for row in first]
    with blaming(f"family {family.name!r}: reference_items"):
        return family.reference_items(known, np.array(tensors["inputs"][groups]), labels, EXAMPLES)

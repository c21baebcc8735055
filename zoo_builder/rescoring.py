"""Scores of stored checkpoints, made anew from their weights, or of other weights in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import check_fingerprints
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.rollouts import EvaluatedRuns, evaluate
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.training.kernels import Kernel, choose_kernel
from rnnzoo.zoo_builder.training.loop import Run
from rnnzoo.zoo_builder.zoos import config_of

MODELS_AT_ONCE = 64


def rescore(
    kernel: Kernel, plan: ZooPlan, rows: Sequence[Mapping[str, Any]], weights: Tensor
) -> list[dict[str, Any]]:
    """Scores of checkpoints as a build scores them.

    Args:
        kernel: What runs the models.
        plan: That of the zoo.
        rows: N rows of its metadata.
        weights: Flat weights [N, P], of the checkpoints or others that are scored in their place.

    Returns:
        For each row, metadata column -> value, before it is rounded to the column's precision.

    Raises:
        RnnzooError: A row is of no run of this zoo.
    """
    runs = [_run_of(plan, row) for row in rows]
    steps = np.array([row["step"] for row in rows])
    found: list[dict[str, Any]] = [{} for _ in rows]
    for step in np.unique(steps):
        places = np.flatnonzero(steps == step)
        for chosen in np.split(places, range(MODELS_AT_ONCE, len(places), MODELS_AT_ONCE)):
            evaluated = EvaluatedRuns(plan.family, [runs[place] for place in chosen], plan.config.evaluation)
            columns = evaluate(kernel, plan.spec, evaluated, weights[chosen], int(step)).columns
            for number, place in enumerate(chosen):
                found[place] = {name: values[number] for name, values in columns.items()}
    return found


def rescore_stored(
    manifest: Manifest,
    rows: Sequence[Mapping[str, Any]],
    weights: Tensor,
    items_folder: Path | None = None,
    device: str = "auto",
    kernel: str = "auto",
) -> list[dict[str, Any]]:
    """The same for a stored zoo.

    Args:
        manifest: That of the zoo.
        rows: See `rescore`, also for `weights` and what is returned.
        weights: Flat weights [N, P].
        items_folder: Where the user has the items, for a family whose items are read from files.
        device: See `choose_kernel`, also for `kernel`.
        kernel: What runs the models.

    Raises:
        RnnzooError: The zoo was imported, its items cannot be had, or the device or kernel cannot be had.
    """
    config = config_of(manifest.config, f"zoo {manifest.zoo}")
    plan = ZooPlan(config, config.make_family(items_folder))
    check_fingerprints(plan.fingerprints, manifest.fingerprints or {}, f"zoo {manifest.zoo}")
    return rescore(choose_kernel(config.spec, config.encoding, device, kernel), plan, rows, weights)


def _run_of(plan: ZooPlan, row: Mapping[str, Any]) -> Run:
    run = plan.runs.find(row["run_id"])
    if run is None or run.seed != row["seed"]:
        raise RnnzooError(f"metadata: {row['run_id']} with seed {row['seed']} is no run of this config")
    return run

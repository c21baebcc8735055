"""Why splits go by task: the same readout, scored on splits by checkpoint, by run and by task."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import truth_of, used_rows
from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.zoo_builder.tasks.target import Target

MOST_ROWS = 4000
UNITS = {"checkpoint": "checkpoint_id", "run": "run_id", "task": "task_id"}


def measure_leakage(loaded: LoadedZoo, target: Target, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Scores of the nearest neighbour on raw weights when a quarter of the checkpoints, runs or tasks is held out.

    Checkpoints of the same run share most of their weights. So when single checkpoints are held out, looking up
    the nearest known one scores well, though nothing was understood.

    Args:
        loaded: The zoo. Of one with more than 4000 checkpoints, whole runs with about so many are drawn.
        target: What is predicted.
        seed: For what is drawn and held out.

    Returns:
        What is held out ("checkpoint", "run" or "task") -> score -> value.
    """
    random = np.random.default_rng(seed)
    rows = used_rows(loaded, target, np.arange(len(loaded)))
    if len(rows) > MOST_ROWS:
        # Whole runs, or the neighbours that leak would be lost.
        runs = random.permutation(np.unique(loaded.column("run_id")))
        kept = runs[: max(4, int(len(runs) * MOST_ROWS / len(rows)))]
        rows = rows[np.isin(loaded.column("run_id")[rows], kept)]
    return {unit: _scores(loaded, target, rows, _held_out(loaded, rows, unit, random)) for unit in UNITS}


def _held_out(loaded: LoadedZoo, rows: RowNumbers, unit: str, random: np.random.Generator) -> NDArray[np.bool_]:
    names, numbers = np.unique(loaded.column(UNITS[unit])[rows], return_inverse=True)
    chosen = random.permutation(len(names))[: max(1, len(names) // 4)]
    return np.isin(numbers, chosen)


def _scores(
    loaded: LoadedZoo, target: Target, rows: RowNumbers, held: NDArray[np.bool_]
) -> dict[str, float | None]:
    known, unknown = rows[~held], rows[held]
    distances = torch.cdist(loaded.flat[unknown], loaded.flat[known])
    nearest = known[distances.argmin(dim=1).cpu().numpy()]
    truth, prediction = (truth_of(loaded, target, chosen) for chosen in (unknown, nearest))
    return dict(score(target, truth, prediction, loaded.column("step")[unknown]))

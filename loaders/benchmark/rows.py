"""What the results of a folder are about: the checkpoints that are reported on, and their truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnzoo.loaders.benchmark.prediction.leakage import measure_leakage
from rnnzoo.loaders.benchmark.prediction.limits import chance
from rnnzoo.loaders.benchmark.prediction.targets import error_of, labels_of, truth_of, used_rows, zoo_targets
from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.content import Leakage, Rows, SplitRows
from rnnzoo.loaders.benchmark.results.files import LEAKAGE, ROWS, read_rows, write_leakage, write_rows
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.writing import alone_in
from rnnzoo.zoo_builder.tasks.target import Target


def describe_rows(loaded: LoadedZoo, setting: Setting, targets: list[Target]) -> None:
    """Write what the results are about, and the leakage that splits by task avoid: once for each results folder.

    Args:
        loaded: The zoo.
        setting: What all jobs share.
        targets: All targets of the benchmark.

    Raises:
        RnnzooError: The folder has results of another zoo, or another target of the same name.
    """
    with alone_in(setting.board):
        _describe_rows(loaded, setting, targets)


def _describe_rows(loaded: LoadedZoo, setting: Setting, targets: list[Target]) -> None:
    every = _known_targets(loaded, setting, targets)
    rows = Rows(
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        zoo_config=loaded.zoo.manifest.config,
        protocol=setting.protocol,
        targets=every,
        splits={name: _split_rows(loaded, chosen, every) for name, chosen in setting.parts.reported.items()},
        chance={target.name: _chance(loaded, setting, target) for target in every},
    )
    write_rows(setting.board, rows)
    task = every[0]
    measured = np.unique(loaded.column("task_id")[used_rows(loaded, task, np.arange(len(loaded)))])
    if len(measured) > 1 and not (setting.board / LEAKAGE).exists():
        leakage = Leakage(
            zoo_digest=setting.zoo_digest,
            encoder="flat weights",
            target=task.name,
            readout="nearest neighbour",
            scores=measure_leakage(loaded, task),
        )
        write_leakage(setting.board, leakage)


def _known_targets(loaded: LoadedZoo, setting: Setting, asked: list[Target]) -> list[Target]:
    """The zoo's targets, those of the user's own that the leaderboard has already, and those asked for."""
    found = read_rows(setting.board) if (setting.board / ROWS).exists() else None
    before = found.targets if found is not None and found.zoo_digest == setting.zoo_digest else []
    known: dict[str, Target] = {}
    for target in (*zoo_targets(loaded), *before, *asked):
        if known.setdefault(target.name, target) != target:
            raise RnnzooError(
                f"{setting.board / ROWS}: found {known[target.name]}, expected {target}; choose another folder"
            )
    return list(known.values())


def _chance(loaded: LoadedZoo, setting: Setting, target: Target) -> dict[str, dict[str, float | None]]:
    """Split -> score -> what the best constant answer scores: none where there is nothing to choose it from."""
    training = truth_of(loaded, target, used_rows(loaded, target, setting.parts.readout))
    found: dict[str, dict[str, float | None]] = {}
    for split, reported in setting.parts.reported.items() if len(training) else ():
        found[split] = {
            **chance(target, training, *labels_of(loaded, target, used_rows(loaded, target, reported)))
        }
    return found


def _split_rows(loaded: LoadedZoo, rows: Any, targets: list[Target]) -> SplitRows:
    errors = {target.name: error_of(loaded, target, rows) for target in targets}
    return SplitRows(
        run=loaded.column("run_id")[rows].tolist(),
        task=loaded.column("task_id")[rows].tolist(),
        step=loaded.column("step")[rows].tolist(),
        targets={target.name: truth_of(loaded, target, rows).tolist() for target in targets},
        errors={name: error.tolist() for name, error in errors.items() if error is not None},
    )

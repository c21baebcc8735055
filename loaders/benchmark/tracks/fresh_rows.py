"""Scores on a fresh zoo, beside those on the published one, of what was fitted there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import labels_of, used_rows
from rnnzoo.loaders.benchmark.protocol import zoo_digest
from rnnzoo.loaders.benchmark.results.content import Fresh, as_stored
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.tasks.target import Target

Predict = Callable[[str, NDArray[np.int64]], NDArray[np.float64]]
"""A split, and rows of the fresh zoo [M], to predictions [M] or [M, K]."""


def score_fresh(fresh: LoadedZoo, target: Target, predict: Predict, published: dict[str, Any]) -> Fresh:
    """What predictions of a fresh zoo are worth.

    Args:
        fresh: The zoo.
        target: What is predicted.
        predict: What was fitted on the published zoo.
        published: Split -> score -> value there, the main score first.

    Returns:
        The scores, and by how much the main ones of the published zoo are higher.
    """
    scores, gap = {}, {}
    for split, there in published.items():
        rows = used_rows(fresh, target, np.flatnonzero(fresh.column("split") == split))
        if len(rows):
            labels = labels_of(fresh, target, rows)
            scores[split] = score(
                target,
                as_stored(labels.truth),
                as_stored(predict(split, rows)),
                labels.steps,
                measured=labels.measured,
            )
            main = next(iter(there))
            before, now = there[main], scores[split][main]
            gap[split] = None if before is None or now is None else before - now
    config = fresh.zoo.manifest.config
    return Fresh(seed=config["seed"], zoo_digest=zoo_digest(fresh.zoo.manifest), scores=scores, gap=gap)

"""The features and frozen tracks: embeddings of a fixed encoder, and what readouts make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rnnzoo.loaders.benchmark.prediction.readout import Fold, fit_readout
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import labels_of, truth_of, used_rows
from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.content import Readout, as_stored
from rnnzoo.loaders.benchmark.tracks.fresh_rows import score_fresh
from rnnzoo.loaders.benchmark.tracks.soundness import Compute, check_finite, compute_rows, compute_soundly
from rnnzoo.loaders.encoders.base import Encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.tasks.target import Target

Predictions = dict[str, NDArray[np.float64]]
"""Split -> what is predicted of its rows [M] or [M, K]."""


def embed(
    loaded: LoadedZoo, encoder: Encoder, rows: NDArray[np.int64], columns: tuple[str, ...]
) -> NDArray[np.float64]:
    """Embeddings float64 [M, E] of some rows. Raises RnnzooError when one is not finite."""
    embedded = compute_rows(loaded, _embedding_by(loaded, encoder, columns), rows)
    check_finite(loaded, rows, embedded)
    return embedded


def _embedding_by(loaded: LoadedZoo, encoder: Encoder, columns: tuple[str, ...]) -> Compute:
    """What gives the embeddings of a batch; a module is left in evaluation mode."""
    if isinstance(encoder, nn.Module):
        encoder.to(loaded.device).eval()
    return lambda weights, rows: encoder(weights, **loaded.columns(columns, rows))


def embed_parts(
    loaded: LoadedZoo, setting: Setting, encoder: Encoder, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Embeddings of all rows that the partition uses, in a table [M, E] of the zoo's rows (nan elsewhere).

    Second, how far copies with the same function move them; for this, seed and errors see `compute_soundly`.
    """
    parts = setting.parts
    used = np.unique(np.concatenate([parts.train, parts.readout, parts.validation, *parts.reported.values()]))
    features = np.full((len(loaded), setting.embedding_size), np.nan)
    compute = _embedding_by(loaded, encoder, setting.columns)
    features[used], moves = compute_soundly(loaded, compute, used, seed)
    return features, moves


@dataclass(frozen=True)
class Shown:
    """A fresh zoo and the embeddings of its rows, [M, E]."""

    zoo: LoadedZoo
    features: NDArray[np.float64]


def embed_fresh(fresh: LoadedZoo | None, setting: Setting, encoder: Encoder) -> Shown | None:
    """The embeddings of a fresh zoo, if there is one that readouts are scored on."""
    if fresh is None or setting.track == "supervised":
        return None
    return Shown(fresh, embed(fresh, encoder, np.arange(len(fresh)), setting.columns))


def read_out(
    loaded: LoadedZoo,
    setting: Setting,
    target: Target,
    embedded: tuple[NDArray[np.float64], float],
    seed: int,
    shown: Shown | None = None,
) -> dict[str, Any]:
    """The fields of a `Result` that fitting and scoring the readouts gives. embedded: see `embed_parts`."""
    features, moves = embedded

    def fold(rows: NDArray[np.int64]) -> Fold:
        used = used_rows(loaded, target, rows)
        return features[used], truth_of(loaded, target, used)

    parts = setting.parts
    train, validation, rim = fold(parts.readout), fold(parts.validation), fold(parts.rim)
    inner = fold(parts.readout[~np.isin(parts.readout, parts.rim)])
    reported = {name: fold(rows) for name, rows in parts.reported.items()}
    readouts, predictors, predictions = {}, {}, {}
    for name in setting.readouts:
        predictors[name], distance = fit_readout(name, target, train, validation, seed)
        predictions[name] = {
            split: as_stored(predictors[name].predict(inputs)) for split, (inputs, _) in reported.items()
        }
        scores = score_predictions(loaded, setting, target, predictions[name])
        beyond = None
        if len(rim[1]) and len(inner[1]) and len(setting.readouts) > 1:
            beyond = fit_readout(name, target, inner, rim, seed)[1]
        readouts[name] = Readout(validation=distance, rim=beyond, scores=scores)
    chosen = _nearest(readouts, "validation")
    furthest = _nearest(readouts, "rim") if all(one.rim is not None for one in readouts.values()) else None
    taken = {split: furthest if furthest and split == "ood" else chosen for split in reported}
    found: dict[str, Any] = {
        "readout": chosen,
        "ood_readout": furthest,
        "readouts": readouts,
        "predictions": {split: predictions[name][split] for split, name in taken.items()},
        "scores": {split: readouts[name].scores[split] for split, name in taken.items()},
        "moves": moves,
    }
    if shown is not None:
        known = shown.features

        def predict(split: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
            return predictors[taken[split]].predict(known[rows])

        found["fresh"] = score_fresh(shown.zoo, target, predict, found["scores"])
    return found


def _nearest(readouts: dict[str, Readout], measured: str) -> str:
    """The readout of the least distance where it was `measured`, "validation" or "rim"; of equals the first."""
    distances = {name: getattr(one, measured) for name, one in readouts.items()}
    return min(distances, key=lambda name: np.inf if distances[name] is None else distances[name])


def score_predictions(
    loaded: LoadedZoo, setting: Setting, target: Target, predictions: Predictions
) -> dict[str, Any]:
    """Split -> scores of what was predicted of a target."""
    scores = {}
    for split, prediction in predictions.items():
        labels = labels_of(loaded, target, used_rows(loaded, target, setting.parts.reported[split]))
        scores[split] = score(target, as_stored(labels.truth), prediction, labels.steps, measured=labels.measured)
    return scores

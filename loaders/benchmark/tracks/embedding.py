"""The features and frozen tracks: embeddings of a fixed encoder, and what readouts make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnzoo.loaders.benchmark.prediction.readout import fit_readout
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import truth_of, used_rows
from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.files import Readout
from rnnzoo.loaders.encoders.base import Encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target

MODELS_AT_ONCE = 128

Predictions = dict[str, NDArray[np.float64]]
"""Split -> what is predicted of its rows [M] or [M, K]."""


@torch.no_grad()
def embed(loaded: LoadedZoo, encoder: Encoder, rows: NDArray[np.int64], columns: tuple[str, ...]) -> Any:
    """Embeddings float64 [M, E] of some rows. Raises RnnzooError when one is not finite."""
    if isinstance(encoder, nn.Module):
        encoder.to(loaded.device).eval()
    found = []
    for chunk in torch.from_numpy(rows).to(loaded.device).split(MODELS_AT_ONCE):
        read = {
            name: torch.from_numpy(loaded.column(name)[chunk.cpu().numpy()]).to(loaded.device) for name in columns
        }
        found.append(encoder(loaded.weights(chunk), **read).double().cpu())
    embedded = torch.cat(found).numpy()
    broken = rows[~np.isfinite(embedded).all(axis=1)]
    if len(broken):
        raise RnnzooError(
            f"encoder: found values that are not finite in the embeddings of {len(broken)} checkpoints, "
            f"{loaded.metadata['checkpoint_id'][int(broken[0])].as_py()} among them"
        )
    return embedded


def embed_parts(loaded: LoadedZoo, setting: Setting, encoder: Encoder) -> NDArray[np.float64]:
    """Embeddings of all rows that the partition uses, in a table [M, E] of the zoo's rows (nan elsewhere)."""
    parts = setting.parts
    used = np.unique(np.concatenate([parts.train, parts.readout, parts.validation, *parts.reported.values()]))
    features = np.full((len(loaded), setting.embedding_size), np.nan)
    features[used] = embed(loaded, encoder, used, setting.columns)
    return features


def read_out(
    loaded: LoadedZoo, setting: Setting, target: Target, features: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """The fields of a `Result` that fitting and scoring the readouts gives."""

    def fold(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        used = used_rows(loaded, target, rows)
        return features[used], truth_of(loaded, target, used)

    train, validation = fold(setting.parts.readout), fold(setting.parts.validation)
    reported = {name: fold(rows) for name, rows in setting.parts.reported.items()}
    readouts, predictions, distances = {}, {}, {}
    for name in setting.readouts:
        predictor, distances[name] = fit_readout(name, target, train, validation, seed)
        predictions[name] = {split: predictor.predict(inputs) for split, (inputs, _) in reported.items()}
        scores = score_predictions(loaded, setting, target, predictions[name])
        readouts[name] = Readout(validation=distances[name], scores=scores)
    chosen = min(distances, key=lambda name: distances[name])
    return {
        "readout": chosen,
        "readouts": readouts,
        "predictions": predictions[chosen],
        "scores": readouts[chosen].scores,
    }


def score_predictions(
    loaded: LoadedZoo, setting: Setting, target: Target, predictions: Predictions
) -> dict[str, Any]:
    """Split -> scores of what was predicted of a target."""
    scores = {}
    for split, prediction in predictions.items():
        rows = used_rows(loaded, target, setting.parts.reported[split])
        scores[split] = score(target, truth_of(loaded, target, rows), prediction, loaded.column("step")[rows])
    return scores

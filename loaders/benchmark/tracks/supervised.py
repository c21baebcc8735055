"""The supervised track: an encoder trained end to end on one target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnzoo.loaders.benchmark.prediction.heads import TargetHead
from rnnzoo.loaders.benchmark.prediction.targets import truth_of, used_rows
from rnnzoo.loaders.benchmark.protocol import Partition
from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.content import CurvePoint, Readout, as_stored
from rnnzoo.loaders.benchmark.results.kept import KEPT, write_kept
from rnnzoo.loaders.benchmark.tracks.embedding import score_predictions
from rnnzoo.loaders.benchmark.tracks.fresh_rows import score_fresh
from rnnzoo.loaders.benchmark.tracks.soundness import compute_soundly
from rnnzoo.loaders.benchmark.tracks.training_bar import TrainingBar
from rnnzoo.loaders.encoders.recipe import make_learned
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training import TrainingObserver, draw_models, train
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.tasks.target import Target

HIDDEN = 128
MODELS_AT_ONCE = 128


class Predictor(nn.Module):
    """An encoder and a small MLP on its embedding: named weights of N models -> outputs [N, W] of a head."""

    def __init__(self, encoder: nn.Module, embedding_size: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.readout = nn.Sequential(nn.Linear(embedding_size, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))

    def forward(self, weights: dict[str, Tensor]) -> Tensor:
        return self.readout(self.encoder(weights))


def predict_end_to_end(
    loaded: LoadedZoo,
    setting: Setting,
    target: Target,
    seed: int,
    state: Path,
    quiet: bool,
    fresh: LoadedZoo | None,
) -> dict[str, Any]:
    """The fields of a `Result` that a training on one target gives.

    state: where it is saved while under way; what was trained is kept beside it.
    """
    encoder, training = make_learned(setting.recipe, loaded.population, seed), setting.known_training
    with TrainingBar(f"{target.name}, seed {seed}", training.steps, quiet) as bar:
        found = train_supervised(
            loaded,
            encoder,
            setting.embedding_size,
            target,
            setting.parts,
            training,
            seed,
            state,
            bar,
            setting.key,
        )
    write_kept(state.with_suffix(KEPT), found.predictor.state_dict(), setting.key)
    scores = score_predictions(loaded, setting, target, found.predictions)
    on_fresh = None
    if fresh is not None:

        def predict(split: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
            return found.head.predict(_outputs(fresh, found.predictor, rows))

        on_fresh = score_fresh(fresh, target, predict, scores)
    return {
        "fresh": on_fresh,
        "readout": "end to end",
        "readouts": {"end to end": Readout(validation=found.validation, scores=scores)},
        "predictions": found.predictions,
        "scores": scores,
        "moves": found.moves,
        "curve": [CurvePoint.model_validate(point) for point in found.curve],
    }


@dataclass(frozen=True)
class Supervised:
    """What a supervised training found.

    Attributes:
        predictions: Split -> [M] or [M, K], of the rows the target is about.
        moves: How far copies with the same function move its outputs, see `compute_soundly`.
        predictor: The trained encoder and readout.
        head: What makes predictions of its outputs.
    """

    predictions: dict[str, NDArray[np.float64]]
    moves: float
    validation: float
    curve: list[dict[str, float]]
    predictor: Predictor
    head: TargetHead


def train_supervised(
    loaded: LoadedZoo,
    encoder: nn.Module,
    embedding_size: int,
    target: Target,
    parts: Partition,
    config: TrainingConfig,
    seed: int,
    state_path: Path,
    observer: TrainingObserver,
    key: ResultKey | None = None,
) -> Supervised:
    """Train on the rows readouts may see, stop at the best validation loss, predict the reported rows."""
    rows = {"train": parts.readout, "validation": parts.validation, **parts.reported}
    rows = {name: used_rows(loaded, target, chosen) for name, chosen in rows.items()}
    head = TargetHead(target, truth_of(loaded, target, rows["train"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = Predictor(encoder, embedding_size, head.width).to(loaded.device)
    encoded = {
        name: head.encode(truth_of(loaded, target, rows[name])).to(loaded.device)
        for name in ("train", "validation")
    }
    training = torch.from_numpy(rows["train"])

    def batch_loss(step: int) -> Tensor:
        drawn = draw_models(len(training), config, seed, step)
        outputs = predictor(loaded.weights(training[drawn].to(loaded.device)))
        return head.loss(outputs, encoded["train"][drawn.to(loaded.device)])

    def validation_loss() -> float:
        name = "validation" if len(rows["validation"]) else "train"
        return float(head.loss(_outputs(loaded, predictor, rows[name]), encoded[name]))

    curve = train(predictor, batch_loss, validation_loss, config, seed, state_path, observer, key)
    reported = {name: rows[name] for name in parts.reported if len(rows[name])}
    found, moves = compute_soundly(
        loaded, lambda weights, rows: predictor(weights), np.concatenate(list(reported.values())), seed
    )
    ends = np.cumsum([len(chosen) for chosen in reported.values()])[:-1]
    outputs = torch.from_numpy(found).float().to(loaded.device).tensor_split(torch.from_numpy(ends))
    predictions = {name: as_stored(head.predict(split)) for name, split in zip(reported, outputs, strict=True)}
    validation = min(point["validation_loss"] for point in curve)
    return Supervised(predictions, moves, validation, curve, predictor, head)


@torch.no_grad()
def _outputs(loaded: LoadedZoo, predictor: Predictor, rows: NDArray[np.int64]) -> Tensor:
    chunks = torch.from_numpy(rows).to(loaded.device).split(MODELS_AT_ONCE)
    return torch.cat([predictor(loaded.weights(chunk)) for chunk in chunks])

"""Training an encoder and an emulator jointly, and measuring them on checkpoints they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnzoo.loaders.emulation.emulator import LOSSES, EncoderEmulator, make_emulator
from rnnzoo.loaders.encoders.base import declared
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training import TrainingObserver, draw_models, train
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError

MODELS_AT_ONCE = 64


def train_emulation(
    loaded: LoadedZoo,
    encoder: nn.Module,
    rows: dict[str, NDArray[np.int64]],
    config: TrainingConfig,
    seed: int,
    state_path: Path,
    observer: TrainingObserver,
    key: ResultKey | None = None,
) -> tuple[EncoderEmulator, list[dict[str, float]]]:
    """Train `encoder` and a fresh emulator on rows["train"], watching rows["validation"].

    Each step uses `config.models` checkpoints, drawn as `config.draws` says, and `config.rollouts` random rollouts
    of each (Herrmann et al. 2024).

    Args:
        loaded: The zoo.
        encoder: Trained in place.
        rows: "train" and "validation" -> rows of `loaded`. Without validation rows, the first 64 of training are
            watched.
        config: Settings of the training.
        seed: For the emulator's parameters and all batches.
        state_path: See `train`.
        observer: Told of every step.
        key: See `train`.

    Returns:
        Encoder and emulator at their best validation, and the learning curve as in `train`.

    Raises:
        RnnzooError: There is no such loss, or the loss stops being finite.
    """
    if config.loss not in LOSSES:
        raise RnnzooError(f"loss: found {config.loss!r}, expected one of {', '.join(LOSSES)}")
    embedding = _width(loaded, encoder.to(loaded.device), rows["train"][:1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        emulator = make_emulator(loaded.zoo.spec, config, embedding)
    emulation = EncoderEmulator(encoder, emulator).to(loaded.device)
    training = torch.from_numpy(rows["train"])
    sequences = loaded.rollouts.shape[1]

    def batch_loss(step: int) -> Tensor:
        drawn = training[draw_models(len(training), config, seed, step)].to(loaded.device)
        rollouts = torch.randint(sequences, (len(drawn), config.rollouts)).to(loaded.device)
        return _losses(loaded, emulation, drawn, rollouts, config.loss).mean()

    def validation_loss() -> float:
        chosen = rows["validation"] if len(rows["validation"]) else rows["train"][:MODELS_AT_ONCE]
        return float(emulation_losses(loaded, emulation, chosen, config).mean())

    curve = train(emulation, batch_loss, validation_loss, config, seed, state_path, observer, key)
    return emulation, curve


@torch.no_grad()
def _width(loaded: LoadedZoo, encoder: nn.Module, rows: NDArray[np.int64]) -> int:
    """E of an encoder, found by trying it on some rows."""
    chosen = torch.from_numpy(rows)
    was_training = encoder.training
    columns = loaded.columns(tuple(declared(encoder, "columns")), chosen)
    width = encoder.eval()(loaded.weights(chosen), **columns).shape[1]
    encoder.train(was_training)
    return int(width)


def _losses(loaded: LoadedZoo, emulation: EncoderEmulator, rows: Tensor, rollouts: Tensor, loss: str) -> Tensor:
    """The loss of N checkpoints, rows [N], on rollouts [N, R] of theirs: [N, R, T]."""
    weights = loaded.weights(rows)
    items = loaded.rollouts[loaded.rollout_group[rows].unsqueeze(1), rollouts]
    inputs = loaded.zoo.encoding.inputs(items)
    with torch.no_grad():
        original = FrozenRNNs(weights).run(inputs).log_softmax(dim=-1)
    columns = loaded.columns(emulation.columns, rows)
    return LOSSES[loss](original, emulation(weights, inputs, **columns))


@torch.no_grad()
def emulation_losses(
    loaded: LoadedZoo, emulation: EncoderEmulator, rows: Sequence[int] | NDArray[np.int64], config: TrainingConfig
) -> NDArray[np.float64]:
    """Mean total variation of each checkpoint, over some of its rollouts and all positions.

    The settings say how many rollouts, and which; they are the same at every call. It is total variation whatever
    loss was trained with, so that trainings with different losses can be compared.

    Args:
        loaded: The zoo.
        emulation: The encoder and emulator; they are left in evaluation mode.
        rows: The M checkpoints, as rows of `loaded`.
        config: Settings, of which `validation_rollouts` and `validation_draws` are read.

    Returns:
        Losses from 0 to 1, [M].
    """
    emulation.eval()
    measured = torch.as_tensor(np.asarray(rows))
    order = torch.arange(loaded.rollouts.shape[1]).expand(len(measured), -1)
    if config.validation_draws == "random":
        order = torch.rand(order.shape, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    chosen = order[:, : config.validation_rollouts].to(loaded.device)
    found = []
    for chunk, rollouts in zip(measured.split(MODELS_AT_ONCE), chosen.split(MODELS_AT_ONCE), strict=True):
        losses = _losses(loaded, emulation, chunk.to(loaded.device), rollouts, "total_variation")
        found.append(losses.mean(dim=(1, 2)))
    return torch.cat(found).double().cpu().numpy()

"""The frozen track's encoder: trained by emulation once, and kept with what was found out about it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.content import CurvePoint, Emulation, Sequence
from rnnzoo.loaders.benchmark.results.files import emulation_path, write_emulation
from rnnzoo.loaders.benchmark.results.kept import KEPT, read_kept, write_kept
from rnnzoo.loaders.benchmark.tracks.embedding import embed
from rnnzoo.loaders.benchmark.tracks.training_bar import TrainingBar
from rnnzoo.loaders.emulation import (
    EncoderEmulator,
    emulated_performance,
    emulated_sequence,
    emulation_losses,
    make_emulator,
    train_emulation,
)
from rnnzoo.loaders.encoders.recipe import make_learned
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training import STATE
from rnnzoo.zoo_builder.rnn import rnn_forward

PERFORMERS = 48
"""Checkpoints of a split whose task performance is compared with their emulation's, all of the last step."""


def emulated_encoder(loaded: LoadedZoo, setting: Setting, seed: int, quiet: bool) -> nn.Module:
    """The encoder of a finished training by emulation: read from its files, or trained now."""
    training = setting.known_training
    path = emulation_path(setting.board, setting.encoder, seed)
    state, kept = path.with_suffix(STATE), path.with_suffix(KEPT)
    encoder = make_learned(setting.recipe, loaded.population, seed)
    if path.exists() and kept.exists():
        emulator = make_emulator(loaded.zoo.spec, training, setting.embedding_size)
        EncoderEmulator(encoder, emulator).load_state_dict(read_kept(kept, setting.key))
        state.unlink(missing_ok=True)  # left by whoever was killed before it removed it
        return encoder
    began = time.perf_counter()
    rows = {"train": setting.parts.train, "validation": setting.parts.validation}
    with TrainingBar(f"emulation, seed {seed}", training.steps, quiet) as bar:
        emulation, curve = train_emulation(loaded, encoder, rows, training, seed, state, bar, setting.key)
    write_kept(kept, emulation.state_dict(), setting.key)
    write_emulation(
        setting.board, _emulation_file(loaded, setting, emulation, curve, seed, time.perf_counter() - began)
    )
    state.unlink(missing_ok=True)
    return encoder


def _emulation_file(
    loaded: LoadedZoo,
    setting: Setting,
    emulation: EncoderEmulator,
    curve: list[dict[str, float]],
    seed: int,
    seconds: float,
) -> Emulation:
    reported = setting.parts.reported
    measured = {"validation": setting.parts.validation, **reported}
    losses = {
        split: emulation_losses(loaded, emulation, rows, setting.known_training)
        for split, rows in measured.items()
        if len(rows)
    }
    performance = {}
    if loaded.knows_answers:
        performance = {split: _performance(loaded, emulation, rows) for split, rows in reported.items()}
    probes, answers = _probes(loaded, emulation.encoder, reported)
    return Emulation(
        key=setting.key,
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        encoder=setting.encoder,
        seed=seed,
        preset=setting.preset,
        training=setting.known_training.to_dict(),
        parameters=setting.parameters,
        curve=[CurvePoint.model_validate(point) for point in curve],
        losses={split: float(found.mean()) for split, found in losses.items()},
        row_losses={split: losses[split].tolist() for split in reported},
        performance=performance,
        map=_embedding_map(loaded, setting, emulation.encoder),
        sequences=[_sequence(loaded, emulation, split, rows) for split, rows in reported.items()],
        probes=probes,
        answers=answers,
        seconds={"training": seconds},
        command=setting.command,
    )


def _performance(loaded: LoadedZoo, emulation: EncoderEmulator, rows: NDArray[np.int64]) -> dict[str, Any]:
    steps = loaded.column("step")[rows]
    last = rows[steps == steps.max()]
    chosen = last[np.unique(np.linspace(0, len(last) - 1, PERFORMERS).round().astype(int))]  # of all tasks alike
    found = emulated_performance(loaded, emulation, chosen)
    pairs = [[original, emulated] for original, emulated in zip(found["original"], found["emulated"], strict=True)]
    return {
        "original": float(np.mean(found["original"])),
        "emulated": float(np.mean(found["emulated"])),
        "per checkpoint": pairs,
    }


def _embedding_map(loaded: LoadedZoo, setting: Setting, encoder: nn.Module) -> dict[str, Any]:
    """The two main components of the embeddings of the reported rows; the directions are those of training."""
    trained = embed(loaded, encoder, setting.parts.train, setting.columns)
    _, _, directions = np.linalg.svd(trained - trained.mean(axis=0), full_matrices=False)
    return {
        split: (embed(loaded, encoder, rows, setting.columns) - trained.mean(axis=0)) @ directions[:2].T
        for split, rows in setting.parts.reported.items()
    }


def _sequence(loaded: LoadedZoo, emulation: EncoderEmulator, split: str, rows: NDArray[np.int64]) -> Sequence:
    row = int(rows[-1])
    found = emulated_sequence(loaded, emulation, row)
    return Sequence(
        split=split,
        task=str(loaded.column("task_id")[row]),
        step=int(loaded.column("step")[row]),
        text=loaded.family.describe(found.item),
        original=_shown(found.original),
        emulated=_shown(found.emulated),
    )


@torch.no_grad()
def _probes(loaded: LoadedZoo, encoder: nn.Module, reported: dict[str, NDArray[np.int64]]) -> tuple[Any, Any]:
    """What a probing encoder feeds one RNN, the last that is reported, [K, T, D], and its answers [K, T, O].

    None and None for other encoders.
    """
    probing: Any = encoder
    if not hasattr(encoder, "probing_inputs"):
        return None, None
    weights = loaded.weights(list(reported.values())[-1][-1:])
    inputs = probing.probing_inputs(weights)
    return _shown(inputs[0].cpu().numpy()), _shown(
        rnn_forward(weights, inputs)[0][0].softmax(dim=-1).cpu().numpy()
    )


def _shown(values: NDArray[np.float32]) -> Any:
    """Numbers for a picture, to three digits after the point."""
    return np.round(values.astype(np.float64), 3)

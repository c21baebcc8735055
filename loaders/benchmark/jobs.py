"""One job of a benchmark: a seed of an encoder, from training to the files of its results."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from rnnzoo.loaders.benchmark.protocol import Partition
from rnnzoo.loaders.benchmark.readout import fit_readout
from rnnzoo.loaders.benchmark.results import (
    CurvePoint,
    Emulation,
    Readout,
    Result,
    emulation_path,
    read_emulation,
    result_path,
    write_emulation,
    write_result,
)
from rnnzoo.loaders.benchmark.scores import score
from rnnzoo.loaders.benchmark.supervised import train_supervised
from rnnzoo.loaders.benchmark.targets import truth_of, used_rows
from rnnzoo.loaders.emulation import (
    Emulator,
    EncoderEmulator,
    emulated_performance,
    emulation_losses,
    train_emulation,
)
from rnnzoo.loaders.encoders.base import Encoder, load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target

MODELS_AT_ONCE = 128
PERFORMERS = 48
"""Checkpoints of a split whose task performance is compared with their emulation's, all of the last step."""

Features = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Setting:
    """What all jobs of a benchmark share: a checked request. See `Result` for most fields.

    columns: metadata the encoder reads. readouts: names in `READOUTS`. board: folder of the results.
    """

    encoder: str
    group: Any
    published: bool
    uses_data: bool
    columns: tuple[str, ...]
    readouts: tuple[str, ...]
    track: Any
    protocol: str
    parts: Partition
    preset: str | None
    training: TrainingConfig | None
    parameters: int
    embedding_size: int
    zoo: str
    zoo_digest: str
    board: Path
    versions: dict[str, str]
    command: str


@dataclass(frozen=True)
class Job:
    """A seed, and the targets to predict with what it trains."""

    seed: int
    targets: tuple[Target, ...]

    def path(self, setting: Setting, target: Target) -> Path:
        return result_path(setting.board, setting.encoder, setting.track, target.name, self.seed)

    def paths(self, setting: Setting) -> list[Path]:
        return [self.path(setting, target) for target in self.targets]

    def without_finished(self, setting: Setting) -> Job | None:
        """What is left to do of it, if anything."""
        left = tuple(target for target in self.targets if not self.path(setting, target).exists())
        return replace(self, targets=left) if left else None


def run_job(loaded: LoadedZoo, setting: Setting, job: Job, quiet: bool = False) -> None:
    """Do a job, with a progress bar unless `quiet`, and write its results."""
    if setting.track == "supervised":
        _run_supervised(loaded, setting, job, quiet)
        return
    began = time.perf_counter()
    if setting.track == "features":
        encoder = load_encoder(setting.encoder, loaded.population, job.seed)
    else:
        encoder = _emulated_encoder(loaded, setting, job.seed, quiet)
    features = _embed_parts(loaded, setting, encoder)
    embedded = time.perf_counter() - began
    for target in job.targets:
        began = time.perf_counter()
        result = _read_out(loaded, setting, target, features, job.seed)
        seconds = {"embedding": embedded, "readouts": time.perf_counter() - began}
        write_result(setting.board, _result(setting, target, job.seed, seconds=seconds, **result))


def _result(setting: Setting, target: Target, seed: int, **fields: Any) -> Result:
    return Result(
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        encoder=setting.encoder,
        group=setting.group,
        published=setting.published,
        uses_data=setting.uses_data,
        track=setting.track,
        protocol=setting.protocol,
        target=target.name,
        seed=seed,
        preset=setting.preset,
        training=None if setting.training is None else setting.training.to_dict(),
        parameters=setting.parameters,
        embedding_size=setting.embedding_size,
        versions=setting.versions,
        command=setting.command,
        **{"curve": [], **fields},
    )


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


def _embed_parts(loaded: LoadedZoo, setting: Setting, encoder: Encoder) -> NDArray[np.float64]:
    """Embeddings of all rows that the partition uses, in a table [M, E] of the zoo's rows (nan elsewhere)."""
    parts = setting.parts
    used = np.unique(np.concatenate([parts.train, parts.readout, parts.validation, *parts.reported.values()]))
    features = np.full((len(loaded), setting.embedding_size), np.nan)
    features[used] = embed(loaded, encoder, used, setting.columns)
    return features


def _read_out(
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
        scores = _scores(loaded, setting, target, predictions[name])
        readouts[name] = Readout(validation=distances[name], scores=scores)
    chosen = min(distances, key=lambda name: distances[name])
    return {
        "readout": chosen,
        "readouts": readouts,
        "predictions": predictions[chosen],
        "scores": readouts[chosen].scores,
    }


def _scores(loaded: LoadedZoo, setting: Setting, target: Target, predictions: Features) -> dict[str, Any]:
    scores = {}
    for split, prediction in predictions.items():
        rows = used_rows(loaded, target, setting.parts.reported[split])
        scores[split] = score(target, truth_of(loaded, target, rows), prediction, loaded.column("step")[rows])
    return scores


class Bar:
    """A progress bar of a training: its step, and the losses."""

    def __init__(self, description: str, steps: int, quiet: bool) -> None:
        self._bar = tqdm(total=steps, desc=description, unit="step", leave=False, disable=quiet, smoothing=0.05)
        self._validation = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step_done(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        if validation_loss is not None:
            self._validation = f", validation {validation_loss:.4f}"
        self._bar.set_postfix_str(f"loss {train_loss:.4f}{self._validation}", refresh=False)
        self._bar.update(step - self._bar.n)


def _run_supervised(loaded: LoadedZoo, setting: Setting, job: Job, quiet: bool) -> None:
    assert setting.training is not None
    for target in job.targets:
        began = time.perf_counter()
        path = job.path(setting, target)
        state = path.with_suffix(".pt")
        encoder = load_encoder(setting.encoder, loaded.population, job.seed)
        assert isinstance(encoder, nn.Module)
        with Bar(f"{target.name}, seed {job.seed}", setting.training.steps, quiet) as bar:
            found = train_supervised(
                loaded,
                encoder,
                setting.embedding_size,
                target,
                setting.parts,
                setting.training,
                job.seed,
                state,
                bar,
            )
        scores = _scores(loaded, setting, target, found.predictions)
        result = _result(
            setting,
            target,
            job.seed,
            readout="end to end",
            readouts={"end to end": Readout(validation=found.validation, scores=scores)},
            predictions=found.predictions,
            scores=scores,
            curve=[CurvePoint.model_validate(point) for point in found.curve],
            seconds={"training": time.perf_counter() - began},
        )
        write_result(setting.board, result)
        state.unlink(missing_ok=True)


def _emulated_encoder(loaded: LoadedZoo, setting: Setting, seed: int, quiet: bool) -> nn.Module:
    """The encoder of a finished training by emulation: read from its files, or trained now."""
    assert setting.training is not None
    training = setting.training
    path = emulation_path(setting.board, setting.encoder, seed)
    state, kept = path.with_suffix(".pt"), path.with_suffix(".safetensors")
    encoder = load_encoder(setting.encoder, loaded.population, seed)
    assert isinstance(encoder, nn.Module)
    if path.exists() and kept.exists():
        found = read_emulation(path)
        if (found.training, found.zoo_digest) != (training.to_dict(), setting.zoo_digest):
            raise RnnzooError(
                f"{path}: found the training {found.training} on zoo {found.zoo_digest}, expected "
                f"{training.to_dict()} on zoo {setting.zoo_digest}; choose another folder, or delete it"
            )
        emulator = Emulator(loaded.zoo.spec, training.emulator_hidden, training.emulator_layers)
        EncoderEmulator(encoder, emulator).load_state_dict(load_file(kept))
        return encoder
    began = time.perf_counter()
    rows = {"train": setting.parts.train, "validation": setting.parts.validation}
    with Bar(f"emulation, seed {seed}", training.steps, quiet) as bar:
        emulation, curve = train_emulation(loaded, encoder, rows, training, seed, state, bar)
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in emulation.state_dict().items()}, kept)
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
    assert setting.training is not None
    reported = setting.parts.reported
    measured = {"validation": setting.parts.validation, **reported}
    losses: dict[str, float | None] = {
        split: float(emulation_losses(loaded, emulation, rows, setting.training).mean())
        for split, rows in measured.items()
        if len(rows)
    }
    return Emulation(
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        encoder=setting.encoder,
        seed=seed,
        preset=setting.preset,
        training=setting.training.to_dict(),
        parameters=setting.parameters,
        curve=[CurvePoint.model_validate(point) for point in curve],
        losses=losses,
        performance={split: _performance(loaded, emulation, rows) for split, rows in reported.items()},
        map=_embedding_map(loaded, setting, emulation.encoder),
        probes=_probes(loaded, emulation.encoder, reported),
        seconds={"training": seconds},
        versions=setting.versions,
        command=setting.command,
    )


def _performance(loaded: LoadedZoo, emulation: EncoderEmulator, rows: NDArray[np.int64]) -> dict[str, Any]:
    steps = loaded.column("step")[rows]
    found = emulated_performance(loaded, emulation, rows[steps == steps.max()][:PERFORMERS])
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


@torch.no_grad()
def _probes(loaded: LoadedZoo, encoder: nn.Module, reported: dict[str, NDArray[np.int64]]) -> Any:
    """What a probing encoder feeds one RNN, the last that is reported: [K, T, D]; None for other encoders."""
    probing: Any = encoder
    if not hasattr(encoder, "probing_inputs"):
        return None
    row = torch.from_numpy(list(reported.values())[-1][-1:]).to(loaded.device)
    return np.round(probing.probing_inputs(loaded.weights(row))[0].cpu().numpy().astype(np.float64), 3)

"""What a benchmark is asked for, and what that comes to once zoo and encoder are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import rnnzoo
from rnnzoo.loaders.benchmark.code import code_of
from rnnzoo.loaders.benchmark.prediction.readout import FITTED
from rnnzoo.loaders.benchmark.prediction.targets import choose_targets
from rnnzoo.loaders.benchmark.protocol import Partition, partition, zoo_digest
from rnnzoo.loaders.benchmark.results.files import leaderboard_folder
from rnnzoo.loaders.encoders import ENCODERS, PUBLISHED_FORMS
from rnnzoo.loaders.encoders.base import Encoder, check_encoder, declared, is_learned, load_encoder
from rnnzoo.loaders.encoders.names import encoder_location, in_published_form, parse_encoder_name
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training_config import PRESETS, TRACKS, TrainingConfig
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target


@dataclass(frozen=True)
class Request:
    """What `zoo-bench run` was asked for.

    Attributes:
        zoo: A zoo's folder, or "org/name" of a repository on the hub.
        encoder: Name and options, see `load_encoder`.
        out: The folder of all results.
        track: "features", "frozen" or "supervised"; None takes "features" for an encoder without parameters, else
            "frozen".
        protocol: "strict" or "paper", see `partition`.
        targets: See `choose_targets`; none stands for all that the zoo has.
        seeds: How many seeds, counted from 0.
        preset: A key of `PRESETS[track]`. With "paper", the paper's encoders are of their published form unless
            another is asked for.
        overrides: Fields of the preset's `TrainingConfig` that have another value.
        workers: Processes that share the jobs.
        threads: Of each worker; None to share the cores.
        device: That of the trainings: "auto", "cpu" or "cuda".
        ray: Address of a cluster whose nodes share the jobs instead of workers; each task then has one thread
            unless `threads` are given.
        gpus_per_task: Share of a GPU that each task on the cluster holds.
        command: The command line, for the results.
        overwrite: Whether results of this encoder and track that other code, data or settings made are removed,
            and made anew.
        fresh_seed: Seed of a fresh zoo that is built, and scored on besides; None for none.
    """

    zoo: str
    encoder: str
    out: Path
    track: str | None = None
    protocol: str = "strict"
    targets: tuple[str | Target, ...] = ()
    seeds: int = 5
    preset: str = "quick"
    overrides: tuple[tuple[str, Any], ...] = ()
    workers: int = 1
    threads: int | None = None
    device: str = "auto"
    ray: str | None = None
    gpus_per_task: float | None = None
    command: str = ""
    overwrite: bool = False
    fresh_seed: int | None = None


@dataclass(frozen=True)
class Setting:
    """What all jobs of a benchmark share: a checked request. See `Result` for fields that are not here.

    Attributes:
        columns: Metadata that the encoder reads.
        readouts: Names in `READOUTS`.
        parts: Which checkpoints are used for what.
        training: Settings of the training; None for the track "features".
        board: The folder of the results.
        key: Of all results.
        fresh: The folder of the fresh zoo; None where none is scored on.
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
    key: ResultKey
    command: str
    fresh: Path | None = None
    fresh_seed: int | None = None

    @property
    def known_training(self) -> TrainingConfig:
        """The settings of the training, in a track that trains."""
        if self.training is None:
            raise RnnzooError(f"track: found {self.track!r}, which trains nothing; expected frozen or supervised")
        return self.training


def resolve(request: Request, loaded: LoadedZoo) -> tuple[Setting, list[Target]]:
    """Check a request against its zoo and encoder, and fill in what it leaves open.

    Args:
        request: What was asked for.
        loaded: Its zoo.

    Returns:
        What all jobs share, and the targets.

    Raises:
        RnnzooError: The encoder fails `check_encoder`, or the protocol does not fit the zoo.
        ParameterError: A parameter has a value that is unknown, or that does not fit the encoder or the zoo.
    """
    if request.preset == "paper" and request.track != "features":
        request = replace(request, encoder=in_published_form(request.encoder))
    encoder = load_encoder(request.encoder, loaded.population)
    width = check_encoder(encoder, loaded.population)
    _check_columns(request.encoder, encoder)
    track = _track(request, encoder)
    parts = partition(loaded, request.protocol)
    targets = _choose_targets(request, loaded, encoder)
    manifest = loaded.zoo.manifest
    readouts = ("identity",) if declared(encoder, "answers") else FITTED
    training = None if track == "features" else _training(request, track)
    setting = Setting(
        encoder=request.encoder,
        group=declared(encoder, "group"),
        published=declared(encoder, "published"),
        uses_data=declared(encoder, "uses_data"),
        columns=tuple(declared(encoder, "columns")),
        readouts=readouts,
        track=track,
        protocol=request.protocol,
        parts=parts,
        preset=None if track == "features" else request.preset,
        training=training,
        parameters=sum(p.numel() for p in getattr(encoder, "parameters", list)()),
        embedding_size=width,
        zoo=manifest.zoo,
        zoo_digest=zoo_digest(manifest),
        board=leaderboard_folder(request.out, manifest.zoo, request.protocol),
        key=_key(request, loaded, encoder, track, readouts, training),
        command=request.command,
    )
    return setting, targets


def _track(request: Request, encoder: Encoder) -> str:
    """The track asked for, or the encoder's usual one. Raises ParameterError where it does not fit the encoder."""
    learned = is_learned(encoder)
    track = request.track or ("frozen" if learned else "features")
    if track not in TRACKS:
        raise ParameterError("track", f"found {track!r}, expected one of {', '.join(TRACKS)}")
    if track != "features" and not learned:
        raise ParameterError(
            "track", f"found {track!r}, but {request.encoder} has no parameters; expected features"
        )
    if track == "features" and learned:
        raise ParameterError(
            "track",
            f"found 'features', but {request.encoder} learns; expected frozen or supervised, which also report it "
            "as it was initialised",
        )
    if track == "supervised" and declared(encoder, "columns"):
        raise ParameterError(
            "track",
            f"found 'supervised', but {request.encoder} reads metadata, not weights; expected frozen, where "
            "it shows how far an emulator comes",
        )
    return track


def _key(
    request: Request,
    loaded: LoadedZoo,
    encoder: Encoder,
    track: str,
    readouts: tuple[str, ...],
    training: TrainingConfig | None,
) -> ResultKey:
    """What all results of a request belong to."""
    code, packages = code_of_encoder(request.encoder, encoder, loaded)
    return ResultKey(
        code=code,
        versions={
            "rnnzoo": rnnzoo.__version__,
            "torch": torch.__version__,
            "scikit-learn": version("scikit-learn"),
            **packages,
        },
        zoo_digest=zoo_digest(loaded.zoo.manifest),
        settings={
            "encoder": request.encoder,
            "track": track,
            "protocol": request.protocol,
            "preset": None if training is None else request.preset,
            "columns": declared(encoder, "columns"),
            "readouts": readouts,
            **({} if training is None else training.to_dict()),
        },
    )


def _check_columns(text: str, encoder: Encoder) -> None:
    """Raise ParameterError if an encoder reads metadata, and is no control of this package."""
    columns = declared(encoder, "columns")
    if columns and (parse_encoder_name(text)[0] not in ENCODERS or declared(encoder, "group") != "control"):
        raise ParameterError(
            "encoder",
            f"found {text}, which reads the metadata {', '.join(columns)}, which only controls of rnnzoo may; "
            "expected one that reads weights",
        )


def code_of_encoder(text: str, encoder: Encoder, loaded: LoadedZoo) -> tuple[dict[str, str], dict[str, str]]:
    """The files and packages that the results of an encoder on a zoo come from, see `code_of`."""
    name, options = parse_encoder_name(text)
    location = encoder_location(name, options.get("form", "own") if name in PUBLISHED_FORMS else "own")
    return code_of(location, encoder, loaded.family)


def _choose_targets(request: Request, loaded: LoadedZoo, encoder: Encoder) -> list[Target]:
    """The targets asked for, or those of the zoo that the encoder can say something of."""
    targets = choose_targets(loaded, request.targets)
    known = declared(encoder, "targets")
    for target in targets:
        if known is not None and target.name not in known and request.targets:
            raise ParameterError(
                "target",
                f"found {target.name!r}, but {request.encoder} can only say something of {', '.join(known)}",
            )
    targets = [target for target in targets if known is None or target.name in known]
    if not targets:
        says = "anything" if known is None else ", ".join(known)
        raise ParameterError(
            "encoder", f"found {request.encoder}, which says something of {says}; this zoo lacks it"
        )
    return targets


def _training(request: Request, track: str) -> TrainingConfig:
    presets = PRESETS[track]
    if request.preset not in presets:
        raise ParameterError("preset", f"found {request.preset!r}, expected one of {', '.join(presets)}")
    return replace(presets[request.preset], **dict(request.overrides))

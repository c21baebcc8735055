"""What a benchmark is asked for, and what that comes to once zoo and encoder are known."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch

import rnnzoo
from rnnzoo.loaders.benchmark.code import code_of
from rnnzoo.loaders.benchmark.given_values import digest_values
from rnnzoo.loaders.benchmark.prediction.readout import FITTED
from rnnzoo.loaders.benchmark.prediction.targets import choose_targets, used_rows
from rnnzoo.loaders.benchmark.protocol import Partition, partition, zoo_digest
from rnnzoo.loaders.benchmark.results.files import leaderboard_folder
from rnnzoo.loaders.benchmark.tried_encoder import try_encoder
from rnnzoo.loaders.emulation import LOSSES
from rnnzoo.loaders.encoders.base import Encoder, declared, is_learned
from rnnzoo.loaders.encoders.names import in_published_form
from rnnzoo.loaders.encoders.recipe import Recipe, recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training_config import PRESETS, TRACKS, TrainingConfig
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target


@dataclass(frozen=True)
class Request:
    """What a benchmark of one encoder is asked for.

    Attributes:
        zoo: A zoo's folder, or "org/name" of a repository on the hub.
        encoder: Name and options, see `load_encoder`; or an object, see `make_encoder`.
        out: The folder of all results.
        tracks: Of "features", "frozen" and "supervised"; none stands for "features" for an encoder without
            parameters that require a gradient, else "frozen".
        protocol: "strict" or "paper", see `partition`.
        targets: See `choose_targets`; none stands for all that the zoo has.
        seeds: How many seeds.
        first_seed: The first of them; others may have those before it.
        preset: A key of `PRESETS[track]`. With "paper", the paper's encoders are of their published form unless
            another is asked for.
        overrides: Fields of the preset's `TrainingConfig` that have another value.
        workers: Processes that share the jobs.
        threads: Of each worker; None to share the cores.
        device: That of the trainings: "auto", "cpu" or "cuda".
        ray: Address of a cluster whose nodes share the jobs instead of workers; each task then has one thread
            unless `threads` are given.
        gpus_per_task: Share of a GPU that each task on the cluster holds.
        command: The command line or call, for the results.
        overwrite: Whether results of this encoder and track that other code, data or settings made are removed,
            and made anew.
        fresh_seed: Seed of a fresh zoo that is built, and scored on besides; None for none.
        items_folder: Where the user has the items of a fresh zoo, if its family reads them from files.
        name: What results call an object, see `recipe_of`.
        revision: Of a repository on the hub; None for the newest tag.
        quiet: Whether to show no progress.
    """

    zoo: str
    encoder: Any
    out: Path
    tracks: tuple[str, ...] = ()
    protocol: str = "strict"
    targets: tuple[str | Target, ...] = ()
    seeds: int = 5
    first_seed: int = 0
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
    items_folder: Path | None = None
    name: str | None = None
    revision: str | None = None
    quiet: bool = False


class Options(TypedDict, total=False):
    """The fields of a `Request` that most requests leave as they are."""

    protocol: str
    preset: str
    first_seed: int
    workers: int
    threads: int | None
    device: str
    ray: str | None
    gpus_per_task: float | None
    fresh_seed: int | None
    items_folder: Path | None
    overwrite: bool
    quiet: bool
    command: str
    revision: str | None


@dataclass(frozen=True)
class Setting:
    """What all jobs on one track share: a checked request. See `Result` for fields that are not here.

    Attributes:
        recipe: What the encoder is made from.
        columns: Metadata that the encoder reads.
        readouts: Names in `READOUTS`.
        parts: Which checkpoints are used for what.
        training: Settings of the training; None for the track "features".
        board: The folder of the results.
        key: Of all results.
        fresh: The folder of the fresh zoo; None where none is scored on.
    """

    recipe: Recipe
    group: Any
    published: bool
    uses_data: bool
    columns: tuple[str, ...]
    readouts: tuple[str, ...]
    track: Any
    protocol: Any
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
    def encoder(self) -> str:
        """The encoder's name."""
        return self.recipe.name

    @property
    def known_training(self) -> TrainingConfig:
        """The settings of the training, in a track that trains."""
        if self.training is None:
            raise RnnzooError(f"track: found {self.track!r}, which trains nothing; expected frozen or supervised")
        return self.training


def resolve(request: Request, loaded: LoadedZoo) -> tuple[list[Setting], list[Target]]:
    """Check a request against its zoo and encoder, and fill in what it leaves open.

    Args:
        request: What was asked for.
        loaded: Its zoo.

    Returns:
        What all jobs share, for each track; and the targets.

    Raises:
        RnnzooError: The encoder fails `try_encoder`, or the protocol does not fit the zoo.
        ParameterError: A parameter has a value that is unknown, or that does not fit the encoder or the zoo.
    """
    if request.preset == "paper" and request.tracks != ("features",) and isinstance(request.encoder, str):
        request = replace(request, encoder=in_published_form(request.encoder))
    parts = partition(loaded, request.protocol)
    recipe = recipe_of(request.encoder, request.name)
    encoder, width = try_encoder(recipe, loaded)
    tracks = _tracks(request, recipe, encoder)
    targets = _choose_targets(request, recipe, loaded, encoder)
    for target in targets:
        if not len(used_rows(loaded, target, parts.readout)):
            raise RnnzooError(f"target {target.name}: found no checkpoint to learn it from: none that is trained")
    readouts = ("identity",) if declared(encoder, "answers") else FITTED
    manifest = loaded.zoo.manifest

    def setting(track: str) -> Setting:
        checked = _training(request, "frozen" if track == "features" else track)
        training = None if track == "features" else checked
        return Setting(
            recipe=recipe,
            group=declared(encoder, "group"),
            published=declared(encoder, "published"),
            uses_data=declared(encoder, "uses_data"),
            columns=tuple(declared(encoder, "columns")),
            readouts=readouts,
            track=track,
            protocol=request.protocol,
            parts=parts,
            preset=None if training is None else request.preset,
            training=training,
            parameters=sum(p.numel() for p in getattr(encoder, "parameters", list)()),
            embedding_size=width,
            zoo=manifest.zoo,
            zoo_digest=zoo_digest(manifest),
            board=leaderboard_folder(request.out, manifest.zoo, request.protocol),
            key=_key(request, recipe, loaded, encoder, track, readouts, training),
            command=request.command,
        )

    return [setting(track) for track in tracks], targets


def _tracks(request: Request, recipe: Recipe, encoder: Encoder) -> list[str]:
    """The tracks asked for, or the encoder's usual one. Raises ParameterError for one that does not fit it."""
    learned = is_learned(encoder)
    tracks = list(dict.fromkeys(request.tracks)) or ["frozen" if learned else "features"]
    for track in tracks:
        if track not in TRACKS:
            raise ParameterError("tracks", f"found {track!r}, expected one of {', '.join(TRACKS)}")
        if track != "features" and not learned:
            raise ParameterError(
                "tracks", f"found {track!r}, but {recipe.name} has no parameters to train; expected features"
            )
        if track == "features" and learned:
            raise ParameterError(
                "tracks",
                f"found 'features', but {recipe.name} learns; expected frozen or supervised, which also report it "
                "as it was initialised, or an encoder whose parameters require no gradient",
            )
        if track == "supervised" and declared(encoder, "columns"):
            raise ParameterError(
                "tracks",
                f"found 'supervised', but {recipe.name} reads metadata, not weights; expected frozen, where "
                "it shows how far an emulator comes",
            )
    return tracks


def _key(
    request: Request,
    recipe: Recipe,
    loaded: LoadedZoo,
    encoder: Encoder,
    track: str,
    readouts: tuple[str, ...],
    training: TrainingConfig | None,
) -> ResultKey:
    """What all results of a request on a track belong to."""
    values, parts = ({}, []) if recipe.location else _object_key(recipe.given)
    code, packages = code_of(recipe.location, *parts, encoder, loaded.family)
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
            "encoder": recipe.name,
            "track": track,
            "protocol": request.protocol,
            "preset": None if training is None else request.preset,
            "columns": declared(encoder, "columns"),
            "readouts": readouts,
            **values,
            **({} if training is None else training.to_dict()),
        },
    )


def _object_key(given: object) -> tuple[dict[str, str], list[Any]]:
    """The setting that stands for the values of an object, and the classes and functions that it is made of."""
    digest, parts = digest_values(given)
    return {"values": digest}, parts


def _choose_targets(request: Request, recipe: Recipe, loaded: LoadedZoo, encoder: Encoder) -> list[Target]:
    """The targets asked for, or those of the zoo that the encoder can say something of."""
    targets = choose_targets(loaded, request.targets)
    known = declared(encoder, "targets")
    for target in targets:
        if known is not None and target.name not in known and request.targets:
            raise ParameterError(
                "targets",
                f"found {target.name!r}, but {recipe.name} can only say something of {', '.join(known)}",
            )
    targets = [target for target in targets if known is None or target.name in known]
    if not targets:
        says = "anything" if known is None else ", ".join(known)
        raise ParameterError("encoder", f"found {recipe.name}, which says something of {says}; this zoo lacks it")
    return targets


def _training(request: Request, track: str) -> TrainingConfig:
    presets = PRESETS[track]
    if request.preset not in presets:
        raise ParameterError("preset", f"found {request.preset!r}, expected one of {', '.join(presets)}")
    known = [field.name for field in fields(TrainingConfig)]
    for name, value in request.overrides:
        if name not in known:
            raise ParameterError("settings", f"found {name!r}, expected one of {', '.join(known)}")
        if name == "loss" and value not in LOSSES:
            raise ParameterError("loss", f"found {value!r}, expected one of {', '.join(LOSSES)}")
    return replace(presets[request.preset], **dict(request.overrides))

"""What the files of a results folder hold; `files.py` says where each stands, and writes and reads it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rnnzoo.loaders.benchmark.prediction.limits import measurable
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.tasks.target import Target

_DIGITS = 7
_CLOSE = 1e-6
LARGEST_INTEGER = 2**63


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rounded(value: Any) -> Any:
    """Numbers of nested lists and dicts to seven digits: files stay small, and an object equals its file."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    value = _finite_or_none(value)
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"found a whole number beyond {LARGEST_INTEGER}")
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, int | float) else value


def shape_of(values: Any) -> tuple[int, ...]:
    """The shape of nested lists of numbers; () of what is none, such as lists of several lengths."""
    try:
        return np.array(values, dtype=np.float64).shape
    except (TypeError, ValueError, OverflowError):
        return ()


def as_stored(predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions as results keep them: what only differs by rounding is the same.

    Readouts compute in float32, and give equal embeddings numbers that differ in their last bits. So numbers of
    one column that lie within a millionth of its largest become one, and then all have seven digits.

    Args:
        predictions: [M] or [M, K].

    Returns:
        The same, of the same shape.
    """
    merged = np.array(predictions, dtype=np.float64)
    for column in merged.reshape(len(merged), -1).T if merged.size else ():
        finite = np.abs(column[np.isfinite(column)])
        if finite.size and not np.array_equal(column, np.round(column)):  # numbers of classes are exact
            column[:] = _merged(column, _CLOSE * finite.max())
    return np.array(rounded(merged), dtype=np.float64).reshape(merged.shape)


def _merged(values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Values [M], of which those within `width` of the least that stands alone are that one."""
    distinct, where = np.unique(values, return_inverse=True)
    start = 0
    while start < len(distinct):
        end = max(start + 1, int(np.searchsorted(distinct, distinct[start] + width, side="right")))
        distinct[start:end] = distinct[start]
        start = end
    return distinct[where]


Value = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A number, or None where there is none (nan and infinity become None)."""
Scores = dict[str, Annotated[dict[str, Value], Field(min_length=1)]]
"""Split -> score -> value, the main one first."""
Numbers = Annotated[list[Any], BeforeValidator(rounded)]
"""A nested list of numbers, rounded; arrays become lists."""
Performance = Annotated[dict[str, Any], BeforeValidator(rounded)]
"""Accuracy on a split: the means "original" and "emulated", and a list "per checkpoint"."""


class ResultsFile(BaseModel):
    """A file of this format: unknown keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitRows(ResultsFile):
    """Checkpoints of one split, in the order of all predictions.

    Attributes:
        run: Names of their runs, [M].
        task: Names of their tasks, [M].
        step: Their training steps, [M].
        targets: Target -> truth, [M] or [M, K].
        errors: Target -> standard errors of its truth, [M], None where one is unknown; of targets that have some.
    """

    run: list[str]
    task: list[str]
    step: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
    targets: dict[str, Numbers]
    errors: dict[str, Numbers] = {}

    @model_validator(mode="after")
    def _one_entry_a_row(self) -> SplitRows:
        lengths = {"run": len(self.run), "task": len(self.task)}
        for name, values in [*self.targets.items(), *self.errors.items()]:
            try:
                lengths[name] = len(np.array(values, dtype=np.float64))
            except (TypeError, OverflowError) as error:
                raise ValueError(f"target {name[:80]!r}: {error}") from error
        for name, length in lengths.items():
            if length != len(self.step):
                raise ValueError(f"{name[:80]!r} has {length} entries, step {len(self.step)}")
        return self

    def covered(self, target: Target) -> NDArray[np.bool_]:
        """Which rows [M] a target is about."""
        return target.covers(np.array(self.step))

    def error(self, target: Target) -> NDArray[np.float64] | None:
        """The standard errors [M] of the rows that a target is about; None where its truth is exact."""
        found = self.errors.get(target.name)
        return None if found is None else np.array(found, dtype=np.float64)[self.covered(target)]

    def measured(self, target: Target) -> NDArray[np.bool_]:
        """Of the rows that a target is about, those of steps at which it is measurable, [M]."""
        return measurable(self.truth(target), self.error(target), np.array(self.step)[self.covered(target)])

    def truth(self, target: Target) -> NDArray[np.float64]:
        """The truth of the rows that a target is about, [M] or [M, K], as predictions are scored against it."""
        return as_stored(np.array(self.targets[target.name], dtype=np.float64)[self.covered(target)])


class Rows(ResultsFile):
    """The checkpoints a leaderboard reports on.

    Attributes:
        zoo: The zoo's name.
        zoo_digest: The text of the zoo's `ZooDigest`. Results that were made before zoos had one have 16
            hexadecimal digits of the zoo's config there.
        zoo_config: The zoo's config.
        protocol: "strict" or "paper".
        targets: All targets whose truth is there.
        splits: Test and ood, or ood alone -> its checkpoints.
        chance: Target -> split -> score -> what the best constant answer scores.
    """

    format: Literal[3] = 3
    zoo: str
    zoo_digest: str
    zoo_config: dict[str, Any]
    protocol: Literal["strict", "paper"]
    targets: list[Target]
    splits: dict[str, SplitRows]
    chance: dict[str, Scores] = {}

    @model_validator(mode="after")
    def _truth_of_every_target(self) -> Rows:
        if [*self.splits] not in (["test", "ood"], ["ood"]):
            raise ValueError(f"the splits are {list(self.splits)!r:.200}, expected test and ood, or ood alone")
        for name, split in self.splits.items():
            if split.targets.keys() != {target.name for target in self.targets}:
                raise ValueError(f"the targets of {name[:80]!r} are {list(split.targets)!r:.200}")
            for target in self.targets:
                found = np.array(split.targets[target.name], dtype=np.float64)
                if found.size and found.ndim != (2 if target.kind == "classes" else 1):
                    raise ValueError(f"target {target.name[:80]!r}: its truth is no {target.kind}")
        return self

    def target(self, name: str) -> Target | None:
        """The target of this name, if there is one."""
        return next((target for target in self.targets if target.name == name), None)


class Readout(ResultsFile):
    """How well one kind of readout does.

    Attributes:
        validation: Its distance on the validation split, by which readouts are chosen.
        rim: Its distance on the rim of the training tasks after it was fitted on the others, by which readouts
            are chosen for ood; None where that was not measured.
        scores: Split -> score -> value.
    """

    validation: Value
    rim: Value = None
    scores: Scores


class Untrained(ResultsFile):
    """What readouts make of a learned encoder as it was initialised; for the fields see `Result`."""

    readout: str
    ood_readout: str | None = None
    readouts: dict[str, Readout]
    predictions: dict[str, Numbers]
    scores: Scores


class Fresh(ResultsFile):
    """What an encoder and its readouts are worth on a zoo of another seed, on unseen tasks.

    Attributes:
        seed: That of the zoo.
        scores: Split -> score -> value.
        gap: Split -> the main score on the published zoo, less that on the fresh one.
    """

    seed: int
    zoo_digest: str
    scores: Scores
    gap: dict[str, Value]

    @model_validator(mode="after")
    def _a_gap_for_every_split(self) -> Fresh:
        if self.gap.keys() != self.scores.keys():
            raise ValueError(f"gap is of {list(self.gap)!r:.200}, scores are of {list(self.scores)!r:.200}")
        return self


class CurvePoint(ResultsFile):
    """Losses at a step of training; None where one was not measured or not finite."""

    step: int
    train_loss: Value
    validation_loss: Value


class Result(ResultsFile):
    """One encoder, track, target and seed.

    Attributes:
        key: The code, versions, zoo and settings that made it.
        encoder: As typed, with options.
        group: See `RegisteredEncoder`, also for `published` and `uses_data`.
        preset: Name of the training's settings; None where nothing was trained.
        training: Settings of the training; None where nothing was trained.
        parameters: Numbers that the encoder learns.
        embedding_size: E.
        readout: The chosen one ("end to end" for the supervised track).
        ood_readout: The one that was chosen for ood, on the rim of the training tasks; None where it is `readout`.
        readouts: Name -> how well each kind of readout does.
        predictions: Those of the readout chosen for each split, split -> one entry for each row of `Rows`. For
            trained_only targets, one for each row of a trained model.
        scores: Those of the readout chosen for each split.
        twin: The same of the same encoder before its training; None where nothing was trained.
        moves: How far copies of RNNs with the same function move the embedding, or the output of the track
            "supervised", in spreads; see `compute_soundly`.
        fresh: The same on a fresh zoo; None where none was asked for.
        curve: Losses of what was trained for this result alone.
        seconds: Part of the work -> its time in seconds.
        command: The command line.
    """

    format: Literal[3] = 3
    key: ResultKey
    zoo: str
    zoo_digest: str
    encoder: str
    group: Literal["mechanistic", "functionalist", "hand-made", "control", "user"]
    published: bool
    uses_data: bool
    track: Literal["features", "frozen", "supervised"]
    protocol: str
    target: str
    seed: int
    preset: str | None
    training: dict[str, Any] | None
    parameters: int
    embedding_size: int
    readout: str
    ood_readout: str | None = None
    readouts: dict[str, Readout]
    predictions: dict[str, Numbers]
    scores: Scores
    twin: Untrained | None = None
    moves: Value = None
    fresh: Fresh | None = None
    curve: list[CurvePoint]
    seconds: dict[str, float]
    command: str


class Sequence(ResultsFile):
    """An RNN and its emulation, step by step along one of the RNN's rollouts.

    Attributes:
        split: Where the RNN is from.
        task: Name of its task.
        step: Its training step.
        text: The rollout, as its family describes it.
        original: The RNN's probabilities [T, O].
        emulated: The emulator's [T, O].
    """

    split: str
    task: str
    step: int
    text: str
    original: Numbers
    emulated: Numbers

    @model_validator(mode="after")
    def _alike(self) -> Sequence:
        shape, other = shape_of(self.original), shape_of(self.emulated)
        if len(shape) != 2 or 0 in shape or shape != other:
            raise ValueError(f"original has the shape {shape}, emulated {other}, expected [T, O] of both")
        return self


class Emulation(ResultsFile):
    """One training by emulation.

    Attributes:
        key: That of the results which are read out of its encoder.
        losses: Split -> emulation loss.
        row_losses: Split -> the loss of each row of `Rows`.
        performance: Split -> how well the emulator does the RNNs' task; empty where the zoo has no labels to tell.
        map: Split -> [x, y] for each row of `Rows`, the first two principal components of the embeddings.
        sequences: The last run of every reported split and its emulation, at the run's last step.
        probes: The learned probing inputs [K, T, D], or None.
        answers: What the RNN answers to them, probabilities [K, T, O], or None.
        seconds: Part of the work -> its time in seconds.
    """

    format: Literal[3] = 3
    key: ResultKey
    zoo: str
    zoo_digest: str
    encoder: str
    seed: int
    preset: str | None
    training: dict[str, Any]
    parameters: int
    curve: list[CurvePoint]
    losses: dict[str, Value]
    row_losses: dict[str, Numbers]
    performance: dict[str, Performance]
    map: dict[str, Numbers]
    sequences: list[Sequence]
    probes: Numbers | None
    answers: Numbers | None
    seconds: dict[str, float]
    command: str

    @model_validator(mode="after")
    def _shapes(self) -> Emulation:
        for split, found in self.performance.items():
            means, pairs = (found.get(name) for name in ("original", "emulated")), found.get("per checkpoint")
            if shape_of([*means]) != (2,) or (pairs != [] and shape_of(pairs)[1:] != (2,)):
                raise ValueError(f"performance.{split[:80]}: expected two means and [original, emulated] of each")
        probes, answers = shape_of(self.probes), shape_of(self.answers)
        if (self.probes, self.answers) != (None, None) and (
            len(probes) != 3 or len(answers) != 3 or 0 in (*probes, *answers) or probes[:2] != answers[:2]
        ):
            raise ValueError(
                f"probes have the shape {probes}, answers {answers}, expected [K, T, D] and [K, T, O]"
            )
        return self


class Leakage(ResultsFile):
    """Scores of the same readout of the same features when the data are split in three ways.

    Attributes:
        scores: "checkpoint", "run" or "task", by which the data are split -> score -> value.
    """

    format: Literal[3] = 3
    zoo_digest: str
    encoder: str
    target: str
    readout: str
    scores: Annotated[Scores, Field(min_length=1)]

"""The settings of a training, and their presets for each track that trains. Nothing here needs torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rnnzoo.zoo_builder.errors import ParameterError

Decay = Literal["constant", "cosine"]
Clipping = Literal["together", "apart"]
ModelDraws = Literal["independent", "epochs"]
RolloutDraws = Literal["first", "random"]
EmulatorForm = Literal["own", "published"]
Condition = Literal["first", "every"]
Precision = Literal["float32", "bfloat16"]


WORDS: dict[str, tuple[str, ...]] = {
    "clipping": get_args(Clipping),
    "decay": get_args(Decay),
    "draws": get_args(ModelDraws),
    "emulator_form": get_args(EmulatorForm),
    "emulator_condition": get_args(Condition),
    "emulator_precision": get_args(Precision),
    "validation_draws": get_args(RolloutDraws),
}
"""Field of a `TrainingConfig` -> the words that it may be."""

BOUNDS: dict[str, tuple[type, float, float]] = {
    **dict.fromkeys(("steps", "validate_every"), (int, 1, 10**9)),
    **dict.fromkeys(("warmup", "patience"), (int, 0, 10**9)),
    **dict.fromkeys(("models", "rollouts", "validation_rollouts"), (int, 1, 10**6)),
    "emulator_hidden": (int, 1, 2**15 - 1),
    "emulator_layers": (int, 1, 1000),
    "learning_rate": (float, 1e-30, 1e6),
    "weight_decay": (float, 0, 1e6),
    "clip": (float, 1e-30, 1e30),
}
"""Field of a `TrainingConfig` that is a number -> its type, and the least and the largest that it may be."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything about a training apart from encoder, data and seed.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Its peak, which is reached after `warmup` steps.
        models: RNNs in a step.
        rollouts: Sequences of each RNN in a step (emulation).
        weight_decay: That of AdamW.
        clip: Largest norm of the gradient; longer gradients are shortened to it.
        clipping: Whether the gradient of encoder and emulator, or readout, is clipped as one ("together"), or
            that of each ("apart").
        warmup: Steps over which the learning rate rises to its peak.
        decay: Whether the learning rate then stays ("constant") or falls to zero ("cosine").
        draws: Whether the RNNs of a step are drawn anew from all ("independent"), or all are gone through in a
            random order before any comes again ("epochs"; the last step of an epoch has what is left).
        loss: A key of `LOSSES` (emulation).
        emulator_hidden: Units of a layer of the emulator (emulation).
        emulator_layers: Layers of the emulator (emulation).
        emulator_form: How the emulator's parameters start, see `Emulator` (emulation).
        emulator_condition: The steps at which the emulator is told the embedding, "first" or "every" (emulation).
        emulator_precision: In which the products of the emulator's LSTM are computed in training; "bfloat16" is
            faster where a CPU or GPU has instructions for it. Everything else is float32 (emulation).
        validate_every: Steps between validations.
        validation_rollouts: Sequences of each RNN in a validation, or as many as it has (emulation).
        validation_draws: Whether these are its first ones, or drawn at random, once for all validations
            (emulation).
        patience: The training ends when a validation comes more than so many steps after the best one; 0: never.

    Raises:
        ParameterError: A number is out of its bounds, or a word is unknown.
    """

    steps: int
    learning_rate: float
    models: int = 64
    rollouts: int = 1
    weight_decay: float = 0.01
    clip: float = 0.1
    clipping: Clipping = "together"
    warmup: int = 0
    decay: Decay = "constant"
    draws: ModelDraws = "independent"
    loss: str = "total_variation"
    emulator_hidden: int = 256
    emulator_layers: int = 2
    emulator_form: EmulatorForm = "own"
    emulator_condition: Condition = "first"
    emulator_precision: Precision = "float32"
    validate_every: int = 1000
    validation_rollouts: int = 8
    validation_draws: RolloutDraws = "first"
    patience: int = 0

    def __post_init__(self) -> None:
        for name, (kind, least, most) in BOUNDS.items():
            value = getattr(self, name)
            is_number = isinstance(value, kind) or (kind is float and isinstance(value, int))
            if isinstance(value, bool) or not is_number or not least <= value <= most:
                what = "a whole number" if kind is int else "a number"
                raise ParameterError(name, f"found {value!r}, expected {what} from {least:g} to {most:g}")
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                raise ParameterError(name, f"found {getattr(self, name)!r}, expected {' or '.join(words)}")

    def rate(self, step: int) -> float:
        """The learning rate of the update that follows `step` updates."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.learning_rate
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def to_dict(self) -> dict[str, Any]:
        """Field -> value, as results files have it."""
        return dataclasses.asdict(self)


TRACKS = ("features", "frozen", "supervised")
PRESETS: dict[str, dict[str, TrainingConfig]] = {
    "frozen": {
        "quick": TrainingConfig(
            steps=2000,
            learning_rate=1.5e-3,
            models=32,
            rollouts=4,
            warmup=50,
            decay="cosine",
            clip=1.0,
            loss="cross_entropy",
            emulator_hidden=64,
            validate_every=100,
        ),
        "paper": TrainingConfig(
            steps=100_000,
            learning_rate=1e-4,
            clipping="apart",
            draws="epochs",
            emulator_form="published",
            validation_rollouts=1,
            validation_draws="random",
        ),
    },
    "supervised": {
        "quick": TrainingConfig(
            steps=400, learning_rate=2e-3, models=32, warmup=40, decay="cosine", clip=1.0, validate_every=50
        ),
        "paper": TrainingConfig(steps=20_000, learning_rate=1e-4),
    },
}
"""Track -> preset -> settings; the track "features" trains nothing.

With the preset `paper`, encoders that have a published form are of it unless another form is asked for. Its
emulation is that of the published program. That program does not train on targets: `paper` of the track
"supervised" is ours.

Emulation's `quick` trains on the cross-entropy: while the emulator knows little, total variation pulls it towards
the likeliest token of the average RNN, and it takes many times the steps to leave that. How far an emulator comes
in its steps that is told everything, the control `oracle`, stands in docs/encoders.md.
"""

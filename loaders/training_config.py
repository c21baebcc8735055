"""The settings of a training, and their presets for each track that trains. Nothing here needs torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from rnnzoo.zoo_builder.errors import ParameterError


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
        warmup: Steps over which the learning rate rises to its peak.
        decay: Whether the learning rate then stays ("constant") or falls to zero ("cosine").
        loss: A key of `LOSSES` (emulation).
        emulator_hidden: Units of a layer of the emulator (emulation).
        emulator_layers: Layers of the emulator (emulation).
        validate_every: Steps between validations.
        validation_rollouts: Sequences of each RNN in a validation.

    Raises:
        ParameterError: A number is too small, or `decay` is unknown.
    """

    steps: int
    learning_rate: float
    models: int = 64
    rollouts: int = 1
    weight_decay: float = 0.01
    clip: float = 0.1
    warmup: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    loss: str = "total_variation"
    emulator_hidden: int = 256
    emulator_layers: int = 2
    validate_every: int = 1000
    validation_rollouts: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "models", "rollouts", "emulator_hidden", "emulator_layers", "validate_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ParameterError(name, f"found {getattr(self, name)!r}, expected a whole number of at least 1")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ParameterError(name, f"found {getattr(self, name)!r}, expected a number above 0")
        if self.decay not in ("constant", "cosine"):
            raise ParameterError("decay", f"found {self.decay!r}, expected constant or cosine")

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
            steps=1000,
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
        "paper": TrainingConfig(steps=100_000, learning_rate=1e-4),
    },
    "supervised": {
        "quick": TrainingConfig(
            steps=400, learning_rate=2e-3, models=32, warmup=40, decay="cosine", clip=1.0, validate_every=50
        ),
        "paper": TrainingConfig(steps=20_000, learning_rate=1e-4),
    },
}
"""Track -> preset -> settings; the track "features" trains nothing.

Emulation's `quick` trains on the cross-entropy: while the emulator knows little, total variation pulls it towards
the likeliest token of the average RNN, and it takes many times the steps to leave that.
"""

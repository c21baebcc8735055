"""Controls of emulation: how far an emulator comes that is told nothing of an RNN, its step, or its step and task.

An encoder that stays at `step` tells the emulator nothing that training time does not; one that reaches `oracle`
tells it all that the task does. What an encoder is worth lies between `constant` and `oracle`.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as types
import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE, EVERY_SYMMETRY, EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Weights

HIDDEN = (128, 128)
MOST_ENTRIES = 32
"""Of a list whose length depends on the zoo, what comes after these is not read."""


class Constant(RegisteredEncoder):
    """One learned vector for all RNNs: how far an emulator comes that is told nothing of them.

    Args:
        population: Not used.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(EMBEDDING_SIZE))

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to the same embedding of unit length N times, [N, E]."""
        return nn.functional.normalize(self.vector, dim=0).expand(len(weights["head.bias"]), -1)


class Step(RegisteredEncoder):
    """A learned map of the training step alone: how far an emulator comes that knows no more of an RNN.

    Args:
        population: Not used.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY
    columns = ("step",)

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.head = EmbeddingHead(1, HIDDEN)

    def forward(self, weights: Weights, step: Tensor) -> Tensor:
        """Training steps [N] to embeddings [N, E] of unit length; the weights are not read."""
        return self.head(_time(step, weights))


class Oracle(RegisteredEncoder):
    """A learned map of task and training step: how far an emulator comes that knows what an RNN is to compute.

    Args:
        population: What it is made from; its family says which columns say the task.

    Raises:
        RnnzooError: The family is not known, or no number says its tasks.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY

    def __init__(self, population: Population) -> None:
        super().__init__()
        family = population.known_family("oracle")
        entries = {field.name: _entries(field.type) for field in family.task_columns}
        self.entries = {name: count for name, count in entries.items() if count}
        if not self.entries:
            raise RnnzooError(
                f"oracle: found the task columns {', '.join(entries)} in {family.name}, expected one with numbers"
            )
        self.angles = {target.column for target in family.targets if target.kind == "angle"}
        self.columns = (*self.entries, "step")  # type: ignore[misc]
        numbers = sum(count * (2 if name in self.angles else 1) for name, count in self.entries.items())
        self.head = EmbeddingHead(numbers + 1, HIDDEN)

    def forward(self, weights: Weights, step: Tensor, **task: Tensor) -> Tensor:
        """Embed what the metadata say of N RNNs.

        Args:
            weights: Not read.
            step: Training steps, [N].
            task: Task column -> [N] or [N, K]; entries that are not there count as 0.

        Returns:
            Embeddings [N, E] of unit length.
        """
        read = [_time(step, weights)]
        for name, count in self.entries.items():
            values = task[name].to(weights["head.bias"]).reshape(len(step), -1)[:, :count]
            values = nn.functional.pad(values, (0, count - values.shape[1]))
            turns = torch.deg2rad(values)
            read += [turns.sin(), turns.cos()] if name in self.angles else [values]
        return self.head(torch.cat(read, dim=1))


def _time(step: Tensor, weights: Weights) -> Tensor:
    """log(1 + step) [N, 1], in the type and on the device of the weights."""
    return step.to(weights["head.bias"]).log1p().unsqueeze(1)


def _entries(kind: Any) -> int:
    """How many numbers a value of an Arrow type has at most; 0 for text."""
    if isinstance(kind, pa.FixedSizeListType):
        return kind.list_size
    if isinstance(kind, pa.ListType):
        return MOST_ENTRIES
    return int(types.is_integer(kind) or types.is_floating(kind))

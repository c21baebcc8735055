"""What a kernel computes. `training.loop` and `rollouts` call these four functions and know no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, init_parameters
from rnnzoo.zoo_builder.tasks.data import Data

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""AdamW (Loshchilov & Hutter 2019) with the defaults of `torch.optim.AdamW`."""

EXACT_ARITHMETIC = "fma-1"
"""The arithmetic that gives the same bits everywhere: see docs/arithmetic.md."""


@dataclass
class TrainState:
    """N runs in the middle of their training.

    Attributes:
        spec: The architecture of the models.
        weights: Flat weights, float32 [N, P].
        first_moment: AdamW's first moment, float32 [N, P].
        second_moment: AdamW's second moment, float32 [N, P].
        step: Updates taken so far, the same for all N.
    """

    spec: RNNSpec
    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    step: int = 0

    @classmethod
    def initial(cls, spec: RNNSpec, seeds: list[int]) -> TrainState:
        """N runs at step 0, each initialised from its own seed."""
        weights = init_parameters(spec, seeds)
        return cls(spec, weights, torch.zeros_like(weights), torch.zeros_like(weights))


class Kernel(Protocol):
    """Trains, scores and samples N models at once. Model i's results do not depend on its neighbours.

    Loss is the mean cross-entropy over all T positions of a sequence; logits follow `rnn_forward`.

    Attributes:
        name: Which kernel it is.
        arithmetic: Name of the arithmetic that it computes in. `fma-1` gives the same bits everywhere (see
            docs/arithmetic.md); those of torch change with the machine and the version of torch.
    """

    name: str
    arithmetic: str

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """Take S AdamW steps with N runs, in place.

        Args:
            state: The N runs; it is changed.
            data: The items of the runs.
            item_ids: int32 [N, S, B].
            learning_rates: float32 [N, S].
            weight_decays: float32 [N].

        Returns:
            The batch loss of each step before its update, float32 [N, S]. A loss that is not finite is returned
            as it is: it is for the caller to say that a run diverged.
        """
        ...

    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and correctness of N models on M items each.

        Args:
            spec: The architecture of the models.
            weights: Flat weights [N, P].
            data: The items of the models.
            item_ids: [N, M].

        Returns:
            The loss of each sequence, float32 [N, M], and whether it is answered right, bool [N, M]: the largest
            logit is the target at the last step, or at every one (`Encoding.every_answer`; False where a logit of
            these steps is not finite).
        """
        ...

    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        """The losses of N models at each step of M items each.

        Args:
            spec: The architecture of the models.
            weights: Flat weights [N, P].
            data: The items of the models.
            item_ids: [N, M].

        Returns:
            -log of the probability of each step's target, in nats, float64 [N, M, T].
        """
        ...

    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        """Let N models write M strings each at temperature 1.

        Token t is the first k at which the cumulated softmax probability exceeds uniforms[..., t] (the last k
        where none does), and is the input of step t + 1. A model with logits that are not finite writes `begin`.

        Args:
            spec: The architecture of the models.
            weights: Flat weights [N, P].
            begin: The token whose one-hot vector is the first input.
            uniforms: float32 [N, M, T] in [0, 1).

        Returns:
            uint8 [N, M, T + 1], `begin` first.
        """
        ...


def check_batches(item_ids: Tensor) -> None:
    """Raise RnnzooError for batches without a sequence [N, S, 0]: they have no loss."""
    if item_ids.shape[2] == 0:
        raise RnnzooError("item_ids: found batches of 0 items, expected at least 1")

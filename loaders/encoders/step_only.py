"""Training time alone: what a target can be told from without a look at the weights."""

from __future__ import annotations

from torch import Tensor

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class StepOnly(RegisteredEncoder):
    """log(1 + step). A score that an encoder shares with it is no score of the weights.

    What training time alone predicts is thus known, and only what exceeds it can come from the weights.

    Args:
        population: Not used.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY
    columns = ("step",)

    def __init__(self, population: Population) -> None:
        super().__init__()

    def forward(self, weights: Weights, step: Tensor) -> Tensor:
        """The logarithm of the training time.

        Args:
            weights: Not read.
            step: Training steps of each checkpoint, [N].

        Returns:
            log(1 + step), [N, 1].
        """
        return step.to(weights["head.bias"]).log1p().unsqueeze(1)

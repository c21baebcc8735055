"""The task of an RNN, read from what it does by a rule of its family. No learning at all."""

from __future__ import annotations

from torch import Tensor

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class GreedyDecode(RegisteredEncoder):
    """The family's first target [N, K], decoded greedily from what the RNN does.

    Args:
        population: What it is made from; its family gives the rule.

    Raises:
        RnnzooError: The family has no such rule, or is not known.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY
    answers = True

    def __init__(self, population: Population) -> None:
        super().__init__()
        family = population.known_family("greedy_decode")
        self.reader = family.task_reader(population.steps)
        self.targets = (family.targets[0].name,)  # type: ignore[misc]

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to the decoded target [N, K], which is the prediction itself."""
        return self.reader(weights)

"""Statistics of what RNNs do, as the family of their tasks describes it."""

from __future__ import annotations

from torch import Tensor

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class BehaviourStatistics(RegisteredEncoder):
    """Statistics [N, E] of the RNN's own behaviour, with no look at a weight: see the family's description.

    Args:
        population: What it is made from; its family says which statistics.

    Raises:
        RnnzooError: The family describes no statistics, or it needs labelled items and there are none.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY

    def __init__(self, population: Population) -> None:
        super().__init__()
        family = population.known_family("behaviour_statistics")
        self.statistics = family.behaviour_statistics(population.steps, population.reference)
        self.uses_data = self.statistics.uses_data  # type: ignore[misc, assignment]

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to the family's statistics [N, E]."""
        return self.statistics(weights)

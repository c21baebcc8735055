"""Stepwise probing: the questions of feedback probing, and every answer read at the step at which it came."""

from __future__ import annotations

from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE
from rnnzoo.loaders.encoders.probing.feedback_probing import FeedbackProbing
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class StepwiseProbing(FeedbackProbing):
    """Asks as `FeedbackProbing` does; the embedding is a linear map of the answers at all steps.

    It is for RNNs whose tasks differ in the order of what they answer, such as the bits of a secret: sums have no
    order. Numbers that RNNs count further than any training RNN did are better told by the sums.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes that of the RNNs' own sequences.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"

    def __init__(self, population: Population, probes: int = 8, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        self.head = nn.Linear(self.probes * self.length * population.spec.output_size, EMBEDDING_SIZE)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E]."""
        rnns = FrozenRNNs(weights)
        return self.head(rnns.run(self.asked(rnns)).softmax(dim=-1).flatten(1))

"""Layer-wise statistics: seven numbers of every weight tensor (after Unterthiner et al. 2020), and an MLP."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class LayerStatistics(RegisteredEncoder):
    """Mean, variance and quantiles of each tensor, then an MLP of 3 x 768.

    (Herrmann et al. 2024; their code builds 1 x 128 by mistake.) Invariant to permutations of hidden units;
    moved by sign flips and by the split of the biases.
    """

    group = "mechanistic"
    published = True
    invariant_to = frozenset({"permutation"})
    quantiles: Tensor

    def __init__(self, population: Population, hidden: tuple[int, ...] = (768, 768, 768)) -> None:
        super().__init__()
        self.names = [parameter.name for parameter in population.spec.parameters]
        self.register_buffer("quantiles", torch.tensor(QUANTILES))
        self.head = EmbeddingHead(7 * len(self.names), hidden)

    def forward(self, weights: Weights) -> Tensor:
        """name -> [N, *shape] to [N, E]."""
        return self.head(self.statistics(weights))

    def statistics(self, weights: Weights) -> Tensor:
        """The statistics themselves, [N, 7 * tensors], in the spec's order of tensors."""
        statistics = []
        for name in self.names:
            values = weights[name].flatten(1)
            variance, mean = torch.var_mean(values, dim=1)
            statistics += [
                mean.unsqueeze(1),
                variance.unsqueeze(1),
                torch.quantile(values, self.quantiles, dim=1).T,
            ]
        return torch.cat(statistics, dim=1)

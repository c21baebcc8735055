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

    From Herrmann et al. (2024), whose code builds 1 x 128 by mistake; the seven statistics are after Unterthiner
    et al. (2020). Permutations of hidden units leave the embedding unchanged; sign flips and the split of the
    biases change it.

    Args:
        population: What it is made from.
        hidden: Widths of the MLP's hidden layers.
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
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
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

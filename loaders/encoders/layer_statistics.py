"""Layer-wise statistics: seven numbers of every weight tensor (after Unterthiner et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_builder.rnn import RNNSpec, Weights

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class LayerStatistics(nn.Module):
    """Mean, variance and quantiles of each tensor, in the spec's order: E = 7 * number of tensors.

    Invariant to permutations of hidden units; moved by sign flips and by the split of the biases.
    """

    quantiles: Tensor

    def __init__(self, spec: RNNSpec) -> None:
        super().__init__()
        self.names = [parameter.name for parameter in spec.parameters]
        self.register_buffer("quantiles", torch.tensor(QUANTILES))

    def forward(self, weights: Weights) -> Tensor:
        """name -> [N, *shape] to [N, E]."""
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

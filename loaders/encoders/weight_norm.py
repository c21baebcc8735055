"""The size of the weights alone: it grows with training time and shrinks with weight decay."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnzoo.loaders.encoders.base import RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

SMALLEST = 1e-12
"""Norms below this count as this, so that a tensor of zeros has a logarithm."""


class WeightNorm(RegisteredEncoder):
    """Logarithm of the Euclidean norm of each tensor.

    Args:
        population: What it is made from; only the list of tensors is used.
    """

    group = "control"
    invariant_to = frozenset({"permutation", "sign_flip"})

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.names = [parameter.name for parameter in population.spec.parameters]

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to natural logarithms [N, tensors], in the spec's order of tensors."""
        norms = [weights[name].flatten(1).norm(dim=1) for name in self.names]
        return torch.stack(norms, dim=1).clamp_min(SMALLEST).log()

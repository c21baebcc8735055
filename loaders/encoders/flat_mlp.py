"""Flattened weights: all of a model's weights as one long vector, and an MLP; the simplest encoder there is."""

from __future__ import annotations

import math

from torch import Tensor

from rnnzoo.loaders.encoders.augmentation import Augmentation, augment_units, check_augmentation
from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights, flatten_weights


class FlatMLP(RegisteredEncoder):
    """All weights concatenated, then an MLP of 3 x 128 (Herrmann et al. 2024).

    It has no symmetry built in, but may learn one by augmentation: in train mode each model's hidden units are
    permuted at random.

    Args:
        population: What it is made from.
        hidden: Widths of the MLP's hidden layers.
        augment: "permutation"; "permutation_and_sign" also flips units; None leaves the units as they are.

    Raises:
        RnnzooError: There is no such augmentation, or the cell does not allow it.
    """

    group = "mechanistic"
    published = True

    def __init__(
        self,
        population: Population,
        hidden: tuple[int, ...] = (128, 128, 128),
        augment: Augmentation | None = "permutation",
    ) -> None:
        super().__init__()
        check_augmentation(population.spec, augment)
        self.spec = population.spec
        self.augment = augment
        self.scale = math.sqrt(self.spec.hidden_size)  # weights at initialisation then span (-1, 1)
        self.head = EmbeddingHead(self.spec.num_parameters, hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        if self.training:
            weights = augment_units(self.spec, weights, self.augment)
        return self.head(self.scale * flatten_weights(self.spec, weights))

"""Flattened weights as published."""

from __future__ import annotations

from torch import Tensor

from rnnzoo.loaders.encoders.augmentation import augment_units
from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights, flatten_weights


class PublishedFlatMLP(RegisteredEncoder):
    """All weights concatenated as they are, then an MLP of 3 x 128.

    From the program of Herrmann et al. (2024). In train mode hidden units are permuted at random, by one
    permutation for all N models. The program does so when it validates, too; here evaluation leaves the units as
    they are, so that an embedding is a function of the weights.

    Args:
        population: What it is made from.
        hidden: Widths of the MLP's hidden layers.
    """

    group = "mechanistic"
    published = True

    def __init__(self, population: Population, hidden: tuple[int, ...] = (128, 128, 128)) -> None:
        super().__init__()
        self.spec = population.spec
        self.head = EmbeddingHead(self.spec.num_parameters, hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        if self.training:
            weights = augment_units(self.spec, weights, "permutation", shared=True)
        return self.head(flatten_weights(self.spec, weights))

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        return {"mlp_model": "head.layers"}

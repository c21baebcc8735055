"""Parameter transformer: a token for every neuron, which holds the weights that feed it, and self-attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from rnnzoo.loaders.encoders.augmentation import Augmentation, augment_units, check_augmentation
from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Axis, Parameter, RNNSpec, Weights


class Block(nn.Module):
    """Self-attention and feed-forward, each on normalised input and added to it; [N, tokens, width]."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width))

    def forward(self, tokens: Tensor) -> Tensor:
        by_head = self.query_key_value(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = by_head.permute(2, 0, 3, 1, 4)  # each [N, heads, tokens, width / heads]
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.mix(attended)
        return tokens + self.feedforward(self.feedforward_norm(tokens))


class ParameterTransformer(RegisteredEncoder):
    """A pre-norm transformer over neurons, mean pooling (after Herrmann et al. 2024).

    The token of a hidden unit holds its rows of every matrix and bias that feeds it, in all gates; the token of an
    output holds its row of the head and its bias. That makes L H + O tokens for L layers. The paper makes a token
    of every row of every matrix, 518 in place of 70 for 2 layers of 32 units and 6 outputs. The rows of a unit
    only act together, and with seven times fewer tokens attention and MLPs take a seventh of the time or less.
    Positions have learned embeddings, which break the permutation symmetry; as in `FlatMLP`, it is left to
    augmentation.

    Args:
        population: What it is made from.
        layers: Blocks of self-attention and feed-forward.
        width: Numbers in a token; a multiple of `heads`.
        heads: Attention heads of each block.
        feedforward: Hidden width of each block's feed-forward part.
        augment: "permutation", "permutation_and_sign" or None, as in `FlatMLP`.

    Raises:
        RnnzooError: The width is no multiple of the heads, or the cell does not allow the augmentation.
    """

    group = "mechanistic"
    published = True

    def __init__(
        self,
        population: Population,
        layers: int = 6,
        width: int = 128,
        heads: int = 2,
        feedforward: int = 512,
        augment: Augmentation | None = "permutation",
    ) -> None:
        super().__init__()
        check_augmentation(population.spec, augment)
        if width % heads:
            raise RnnzooError(f"width: found {width}, expected a multiple of heads, {heads}")
        self.spec = population.spec
        self.augment = augment
        self.scale = math.sqrt(self.spec.hidden_size)  # weights at initialisation then span (-1, 1)
        self.groups = neuron_groups(self.spec)
        self.embeddings = nn.ModuleList(
            nn.Linear(sum(p.size for p in group) // neurons(group), width) for group in self.groups
        )
        tokens = sum(neurons(group) for group in self.groups)
        self.positions = nn.Parameter(torch.randn(tokens, width) / math.sqrt(width))
        self.blocks = nn.Sequential(*[Block(width, heads, feedforward) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = EmbeddingHead(width)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        if self.training:
            weights = augment_units(self.spec, weights, self.augment)
        tokens = [
            embedding(self.scale * torch.cat([neuron_rows(p, weights[p.name]) for p in group], dim=-1))
            for group, embedding in zip(self.groups, self.embeddings, strict=True)
        ]
        attended = self.blocks(torch.cat(tokens, dim=1) + self.positions)
        return self.head(self.norm(attended).mean(dim=1))


def neuron_groups(spec: RNNSpec) -> list[list[Parameter]]:
    """The parameters that feed the units of one layer, or the outputs, together; in the spec's order."""
    groups: dict[Axis, list[Parameter]] = {}
    for parameter in spec.parameters:
        groups.setdefault(parameter.axes[0], []).append(parameter)
    return list(groups.values())


def neurons(group: list[Parameter]) -> int:
    """How many neurons the parameters feed."""
    return group[0].shape[0] // group[0].axes[0].gates


def neuron_rows(parameter: Parameter, tensor: Tensor) -> Tensor:
    """What feeds each neuron: [N, gates * neurons, ...] to [N, neurons, gates * ...]."""
    return tensor.unflatten(1, (parameter.axes[0].gates, -1)).transpose(1, 2).flatten(2)

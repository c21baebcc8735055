"""Neural functional: linear layers on weight space that commute with permutations of the hidden units.

After Zhou et al. 2023, "Permutation Equivariant Neural Functionals" (the HNP case: hidden axes are permuted,
inputs and outputs are not), carried over to recurrent layers through the axis labels of `RNNSpec`: see
`weight_space`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.encoders.weight_space import Space, arrays_by_space, channels_by_space, parameter_spaces
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

Features = Mapping[Space, Tensor]
"""Space -> [N, units of each of its layers, channels]."""


class NeuralFunctional(RegisteredEncoder):
    """Four equivariant layers of 48 channels a tensor, ReLU after each, means over all hidden axes, an MLP.

    From Herrmann et al. (2024), after Zhou et al. (2023), "Permutation Equivariant Neural Functionals".
    Permutations of hidden units leave the embedding unchanged; sign flips and the split of the biases change it.
    No position embeddings are added: inputs, outputs and gates are told apart by their channels.

    Args:
        population: What it is made from.
        layers: Equivariant layers.
        channels: Channels of each space after every layer.
        hidden: Widths of the MLP's hidden layers.
    """

    group = "mechanistic"
    published = True
    invariant_to = frozenset({"permutation"})

    def __init__(
        self, population: Population, layers: int = 4, channels: int = 48, hidden: tuple[int, ...] = (64,)
    ) -> None:
        super().__init__()
        self.spec = population.spec
        self.scale = math.sqrt(self.spec.hidden_size)  # weights at initialisation then span (-1, 1)
        raw = channels_by_space(self.spec)
        wide = {space: channels * len(group) for space, group in parameter_spaces(self.spec).items()}
        self.layers = nn.ModuleList(EquivariantLinear(raw if n == 0 else wide, wide) for n in range(layers))
        self.head = EmbeddingHead(sum(wide.values()), hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        features: Features = {
            space: self.scale * array for space, array in arrays_by_space(self.spec, weights).items()
        }
        for layer in self.layers:
            features = {space: array.relu() for space, array in layer(features).items()}
        return self.head(torch.cat([mean_but(array) for array in features.values()], dim=-1))


class EquivariantLinear(nn.Module):
    """The linear maps between spaces that neural functionals allow, all at once.

    An array over (l, k) becomes a mix of its own channels, plus, along either axis, a mix of all that is known of
    that unit (the means of every array over all axes but one that runs over the same layer), plus a mix of all
    total means. From an array over (l, l) to itself these are six terms: itself, row and column means along the
    rows and along the columns, the total mean. before, after: channels of each space.
    """

    def __init__(self, before: Mapping[Space, int], after: Mapping[Space, int]) -> None:
        super().__init__()
        self.after = dict(after)
        depth = 1 + max(layer for space in before for layer in space)
        self.itself = nn.ModuleDict(
            {name(space): nn.Linear(before[space], after[space], bias=False) for space in before if len(space) > 1}
        )
        self.units = nn.ModuleList(
            nn.Linear(sum(widths_along(before, layer)), sum(widths_along(after, layer)), bias=False)
            for layer in range(depth)
        )
        self.overall = nn.Linear(sum(before.values()), sum(after.values()))

    def forward(self, features: Features) -> Features:
        """Features of the channels `before` to those of the channels `after`."""
        known: list[list[Tensor]] = [[] for _ in self.units]
        means = []
        for space, array in features.items():
            by_axis = [mean_but(array, dim) for dim in range(1, 1 + len(space))]
            for layer, summary in zip(space, by_axis, strict=True):
                known[layer].append(summary)
            means.append(mean_but(by_axis[0] if space else array))
        overall = self.overall(torch.cat(means, dim=-1)).split(list(self.after.values()), dim=-1)
        shares = [
            iter(units(torch.cat(arrays, dim=-1)).split(widths_along(self.after, layer), dim=-1))
            for layer, (units, arrays) in enumerate(zip(self.units, known, strict=True))
        ]
        result = {}
        for (space, array), total in zip(features.items(), overall, strict=True):
            along = [next(shares[layer]) for layer in space]
            if along:
                along[0] = along[0] + total.unsqueeze(1)
            if len(space) > 1:
                result[space] = self.itself[name(space)](array)
                for dim, share in enumerate(along, start=1):
                    result[space].add_(spread(share, dim, len(space)))
            else:
                result[space] = along[0] if along else total
        return result


def name(space: Space) -> str:
    """Of a space, as a key of a `ModuleDict`."""
    return "_".join(map(str, space))


def widths_along(channels: Mapping[Space, int], layer: int) -> list[int]:
    """The channels of each axis that runs over the units of `layer`; twice those of the space (layer, layer)."""
    return [width for space, width in channels.items() for axis in space if axis == layer]


def mean_but(array: Tensor, dim: int | None = None) -> Tensor:
    """The mean over all unit axes of [N, units, ..., channels], save `dim`."""
    others = [other for other in range(1, array.dim() - 1) if other != dim]
    if not others:
        return array
    # A sum's gradient is a view; a mean's would be written out in full.
    return array.sum(others) / math.prod(array.shape[other] for other in others)


def spread(share: Tensor, dim: int, axes: int) -> Tensor:
    """[N, H, channels] as an array of `axes` unit axes that varies along `dim` alone."""
    shape = [len(share)] + [1] * axes + [share.shape[-1]]
    shape[dim] = share.shape[1]
    return share.reshape(shape)

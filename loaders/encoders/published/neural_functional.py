"""Neural functional as published: permutation-equivariant layers with the gates as channels.

The matrices are read as a chain: the W_ih of all layers and the head's continue each other, and each layer's W_hh
stands beside its W_ih. A matrix is an array [N, channels, rows, columns], its bias [N, channels, rows].
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Parameter, RNNSpec, Weights

Arrays = dict[str, Tensor]
"""Parameter name -> [N, channels, rows, columns], or [N, channels, rows] for a bias."""


class PublishedNeuralFunctional(RegisteredEncoder):
    """Four equivariant layers of 48 channels, ReLU between them, means over each tensor, an MLP of 1 x 128.

    From the program of Herrmann et al. (2024), after Zhou et al. (2023), "Permutation Equivariant Neural
    Functionals". Every layer adds learned embeddings to the columns of the first matrix and to the rows of the
    head, which tell inputs and outputs apart; the head, which has no gates, stands in every gate's channel. Cells
    with other gates than an LSTM's have as many channels at first as they have gates.

    Args:
        population: What it is made from.
        layers: Equivariant layers.
        channels: Channels after every layer.
        hidden: Widths of the MLP's hidden layers.
    """

    group = "mechanistic"
    published = True
    invariant_to = frozenset({"permutation"})

    def __init__(
        self, population: Population, layers: int = 4, channels: int = 48, hidden: tuple[int, ...] = (128,)
    ) -> None:
        super().__init__()
        self.spec = population.spec
        self.gates = self.spec.parameters[0].axes[0].gates
        widths = [self.gates, *[channels] * layers]
        self.layers = nn.ModuleList(_Layer(self.spec, before, after) for before, after in pairwise(widths))
        self.head = EmbeddingHead(len(self.spec.parameters) * channels, hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        arrays = {p.name: self._gates_as_channels(p, weights[p.name]) for p in self.spec.parameters}
        for number, layer in enumerate(self.layers):
            if number:
                arrays = {name: array.relu() for name, array in arrays.items()}
            arrays = layer(arrays)
        return self.head(torch.cat([array.flatten(2).mean(dim=-1) for array in arrays.values()], dim=1))

    def _gates_as_channels(self, parameter: Parameter, tensor: Tensor) -> Tensor:
        if parameter.axes[0].kind == "hidden":
            return tensor.unflatten(1, (self.gates, -1))
        return tensor.unsqueeze(1).expand(-1, self.gates, *[-1] * (tensor.dim() - 1))

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        parts = {"layer_{}": "itself", "layer_{}_rc": "overall", "layer_{}_r": "columns", "layer_{}_c": "rows"}
        parts |= {"bias_{}": "bias_rows", "bias_{}_rc": "bias_overall"}
        names = {"mlp_model": "head.layers"}
        for number in range(len(self.layers)):
            theirs, ours = f"np_model.{2 * number}", f"layers.{number}"  # a ReLU stands after each but the last
            for embedding in ("in_embed", "out_embed", "out_bias_embed"):
                names[f"{theirs}.{embedding}"] = f"{ours}.{embedding}"
            for place in range(2 * self.spec.num_layers + 1):
                kind = ("i2h", "h2h")[place % 2]
                for part, our_part in parts.items():
                    names[f"{theirs}.{kind}_{part.format(place // 2)}"] = f"{ours}.matrices.{place}.{our_part}"
        return names


class _Layer(nn.Module):
    """Arrays of `before` channels to arrays of `after` channels, for all matrices and biases of an RNN."""

    def __init__(self, spec: RNNSpec, before: int, after: int) -> None:
        super().__init__()
        self.names = [p.name for p in spec.parameters]
        self.weights = [name for name in self.names if "weight" in name]
        self.biases = [name.replace("weight", "bias") for name in self.weights]
        self.seen = [matrix_neighbours(place, spec.num_layers) for place in range(len(self.weights))]
        everything = before * len(self.names)
        self.matrices = nn.ModuleList(
            _Matrix(before, after, len(columns), len(rows), everything) for columns, rows in self.seen
        )
        self.in_embed = nn.Parameter(torch.randn(1, before, 1, spec.input_size))
        self.out_embed = nn.Parameter(torch.randn(1, before, spec.output_size, 1))
        self.out_bias_embed = nn.Parameter(torch.randn(1, before, spec.output_size))

    def forward(self, arrays: Arrays) -> Arrays:
        arrays = dict(arrays)
        embeddings = (self.in_embed, self.out_embed, self.out_bias_embed)
        for name, embedding in zip((self.names[0], *self.names[-2:]), embeddings, strict=True):
            arrays[name] = arrays[name] + embedding
        weights, biases = [arrays[name] for name in self.weights], [arrays[name] for name in self.biases]
        summaries = {
            "columns": [weight.mean(dim=-2) for weight in weights],
            "rows": [weight.mean(dim=-1) for weight in weights],
            "bias": biases,
        }
        means = [weight.mean(dim=(-2, -1)) for weight in weights] + [bias.mean(dim=-1) for bias in biases]
        overall = torch.cat(means, dim=-1)
        found: Arrays = {}
        for place, (matrix, seen) in enumerate(zip(self.matrices, self.seen, strict=True)):
            along_columns, along_rows = (
                torch.cat([summaries[kind][other] for kind, other in neighbours], dim=1) for neighbours in seen
            )
            weight, bias = matrix(weights[place], along_columns, along_rows, overall)
            found[self.weights[place]], found[self.biases[place]] = weight, bias
        return {name: found[name] for name in self.names}


class _Matrix(nn.Module):
    """The linear maps to one matrix and its bias.

    before, after: channels. columns, rows: how many arrays are seen along its columns and along its rows.
    everything: numbers in the means of all matrices and biases.
    """

    def __init__(self, before: int, after: int, columns: int, rows: int, everything: int) -> None:
        super().__init__()
        self.itself = nn.Conv2d(before, after, 1)
        self.overall = nn.Linear(everything, after)
        self.columns = nn.Conv1d(columns * before, after, 1)
        self.rows = nn.Conv1d(rows * before, after, 1)
        self.bias_rows = nn.Conv1d(rows * before, after, 1)
        self.bias_overall = nn.Linear(everything, after)
        width, along = before * (1 + columns + rows), before * rows
        initialise((self.itself, self.overall, self.columns, self.rows), width + everything)
        initialise((self.bias_rows, self.bias_overall), along + everything)

    def forward(self, weight: Tensor, columns: Tensor, rows: Tensor, overall: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.itself(weight) + self.overall(overall)[..., None, None]
        mixed = mixed + self.columns(columns).unsqueeze(-2) + self.rows(rows).unsqueeze(-1)
        return mixed, self.bias_rows(rows) + self.bias_overall(overall).unsqueeze(-1)


def matrix_neighbours(place: int, layers: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """What a matrix hears of along its columns, and along its rows: (summary, place of a matrix).

    Places are W_ih of layer l at 2 l, W_hh at 2 l + 1, the head at 2 L. The summary "columns" of a matrix has a
    mean for each of its columns, "rows" one for each of its rows; "bias" is its bias.

    Args:
        place: Of the matrix.
        layers: L.

    Returns:
        The neighbours along the columns, and those along the rows, in the published order.
    """
    layer, recurrent = divmod(place, 2)
    above = [("columns", place + 2 - recurrent)]
    if recurrent:
        fed = [("columns", place), ("rows", place), ("bias", place), ("rows", place - 1), ("bias", place - 1)]
        feeding = [("rows", place), ("bias", place), ("columns", place)]
        # The published layer leaves out that the last W_hh feeds the head.
        return fed, feeding + (above if layer < layers - 1 else [])
    fed, feeding = [("columns", place)], [("rows", place), ("bias", place)]
    if layer:
        fed += [("rows", place - 2), ("bias", place - 2), ("rows", place - 1), ("bias", place - 1)]
        fed += [("columns", place - 1)]
    if layer < layers:
        feeding += [("rows", place + 1), ("bias", place + 1), ("columns", place + 1), *above]
    return fed, feeding


def initialise(layers: tuple[nn.Conv1d | nn.Conv2d | nn.Linear, ...], width: int) -> None:
    """Uniform within 1 / sqrt(width), the inputs of all the layers together, whose outputs are added up."""
    bound = 1 / math.sqrt(width)
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound)

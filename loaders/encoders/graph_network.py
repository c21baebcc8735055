"""Graph network: messages along an RNN's own connections, equivariant to all its symmetries.

A node is a hidden unit, an edge the weights of all gates between two units. Permutations of the units are those of
the nodes (graph metanetworks, Lim et al. 2024). For the sign flip of a unit, as (h, c) -> (-h, -c), every number
has a parity at each of its units: it is *even* (stays) or *odd* (changes sign). A plain unit axis is odd; a gated
axis is odd in the rows of `Cell.odd_gates` alone, so that with an LSTM, whose odd gate is g,

    W_i, W_f, W_o [dst, src]   odd at the source only         their diagonals: odd
    W_g [dst, src]             odd at both ends               its diagonal: even
    b_i, b_f, b_o even, b_g odd; W_out odd.

Nodes carry an even stream e, on which anything may be computed, and an odd stream u, which only meets maps without
bias, factors that are even, and weights whose parities make up for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, Weights, unflatten_weights


@dataclass(frozen=True)
class Edges:
    """Weights from the units of one layer to those of another, or of the same, sorted by parity.

    Attributes:
        destination: The layer that the weights feed.
        source: The layer that they read.
        one_sided: Weights that are odd at the source, [N, gates, H, H].
        two_sided: Weights that are odd at both ends, [N, gates, H, H].
    """

    destination: int
    source: int
    one_sided: Tensor  # odd at the source
    two_sided: Tensor  # odd at both ends


@dataclass(frozen=True)
class Streams:
    """Features of the units of a layer, C in each stream.

    Attributes:
        even: Those that stay when a unit changes sign, [N, H, C].
        odd: Those that change sign with it, [N, H, C].
    """

    even: Tensor
    odd: Tensor


@dataclass(frozen=True)
class Graph:
    """The weights of N RNNs as a graph.

    Where the cell sees only the sum of its two biases, only this sum is in the graph. Logits count up to a shift
    of them all.

    Attributes:
        even: Even features of the units of each layer, [N, H, F].
        odd: Odd features of the units of each layer, [N, H, F].
        edges: Weights between units.
        outside: Weights that belong to no unit, [N, F].
    """

    even: list[Tensor]
    odd: list[Tensor]
    edges: list[Edges]
    outside: Tensor  # [N, F]: what belongs to no unit


def parameter_graph(spec: RNNSpec, weights: Weights) -> Graph:
    """Sort the weights by the units they belong to and their parity there."""
    cell = CELLS[spec.cell]
    even_gates = [k for k, gate in enumerate(cell.gates) if gate not in cell.odd_gates]
    odd_gates = [k for k, gate in enumerate(cell.gates) if gate in cell.odd_gates]
    even: list[list[Tensor]] = [[] for _ in range(spec.num_layers)]
    odd: list[list[Tensor]] = [[] for _ in range(spec.num_layers)]
    edges, outside = [], []

    for name, tensor in merge_biases(spec, weights).items():
        axes = next(parameter.axes for parameter in spec.parameters if parameter.name == name)
        for dim, axis in enumerate(axes, start=1):
            if axis.kind == "output":
                tensor = tensor - tensor.mean(dim=dim, keepdim=True)
        layers = [axis.layer for axis in axes if axis.layer is not None]
        if not layers:
            outside.append(tensor.flatten(1))
        elif axes[0].kind == "output":  # [N, O, H]
            odd[layers[0]].append(tensor.flatten(1, -2).transpose(1, 2))
        else:
            by_gate = tensor.unflatten(1, (axes[0].gates, spec.hidden_size))
            if len(layers) == 1:  # [N, gates, H] or [N, gates, H, D]
                features = by_gate.flatten(3) if by_gate.dim() > 3 else by_gate.unsqueeze(3)
                even[layers[0]].append(at_units(features[:, even_gates]))
                odd[layers[0]].append(at_units(features[:, odd_gates]))
                continue
            block = Edges(layers[0], layers[1], by_gate[:, even_gates], by_gate[:, odd_gates])
            edges.append(block)
            if block.destination == block.source:  # at one unit two odd ends make an even diagonal
                even[layers[0]].append(block.two_sided.diagonal(dim1=2, dim2=3).transpose(1, 2))
                odd[layers[0]].append(block.one_sided.diagonal(dim1=2, dim2=3).transpose(1, 2))
    joined_even, joined_odd = ([torch.cat(parts, dim=2) for parts in sorts] for sorts in (even, odd))
    return Graph(joined_even, joined_odd, edges, torch.cat(outside, dim=1))


def merge_biases(spec: RNNSpec, weights: Weights) -> dict[str, Tensor]:
    """The weights with each layer's b_hh added to b_ih in the gates that see their sum, and then 0 itself.

    Where that is every gate, b_hh is left out.
    """
    cell = CELLS[spec.cell]
    merged = dict(weights)
    for layer in range(spec.num_layers):
        names = [f"{spec.cell}.{name}_l{layer}" for name in ("bias_ih", "bias_hh")]
        summed = torch.cat(
            [weights[names[1]][:, spec.gate_rows(gate)] * (gate in cell.split_bias_gates) for gate in cell.gates],
            dim=1,
        )
        merged[names[0]] = weights[names[0]] + summed
        merged[names[1]] = weights[names[1]] - summed
        if set(cell.gates) == set(cell.split_bias_gates):
            del merged[names[1]]
    return merged


def at_units(features: Tensor) -> Tensor:
    """[N, K, H, F] to [N, H, K * F]."""
    return features.transpose(1, 2).flatten(2)


class EdgeFeatures(torch.autograd.Function):
    """ReLU of what edges [N, Q, H, H] and their two ends [N, Q, H] add up to; its mean and maximum at either end.

    Returns the features and [N, 2 * Q, H] at the destination and at the source. By itself autograd would hold and
    add a full-sized tensor for every step of this. Equal maxima take the gradient each.
    """

    @staticmethod
    def forward(ctx: Any, edges: Tensor, destination: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = (edges + destination.unsqueeze(3)).add_(source.unsqueeze(2)).relu_()
        at_ends = [torch.cat([features.mean(dim), features.amax(dim)], dim=1) for dim in (3, 2)]
        ctx.save_for_backward(features, *at_ends)
        return features, at_ends[0], at_ends[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *of_ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, *at_ends = ctx.saved_tensors
        total, largest = torch.empty_like(features), torch.empty_like(features)
        for dim, of_end, at_end in zip((3, 2), of_ends, at_ends, strict=True):
            of_mean, of_maximum = (half.unsqueeze(dim) for half in of_end.chunk(2, dim=1))
            maximum = at_end.chunk(2, dim=1)[1].unsqueeze(dim)
            gradient = torch.add(gradient, of_mean / features.shape[dim], out=total)
            total.addcmul_(torch.eq(features, maximum, out=largest), of_maximum)
        torch.ops.aten.threshold_backward.grad_input(total, features, 0, grad_input=total)
        return total, total.sum(3), total.sum(2)


class Messages(nn.Module):
    """Messages along a block of edges, to the units at both of its ends.

    An edge has Q even features, made from the sizes of its weights and the even streams of its ends. A unit
    receives their mean and maximum over its edges. It also receives numbers that the units at the other ends send,
    multiplied by the weights. The two-sided weights are multiplied by gates, made from the edge's features, in
    `HEADS` ways, each for a part of what is sent. A cell may have weights of one parity alone: then nothing is
    sent along the others.

    Args:
        one_sided: How many gates have weights that are odd at the source only.
        two_sided: How many gates have weights that are odd at both ends.
        channels: C, features in each stream of a unit.
        edge_channels: Q.
        said: Features that a unit sends; a multiple of `HEADS`.
    """

    HEADS = 4

    def __init__(self, one_sided: int, two_sided: int, channels: int, edge_channels: int, said: int) -> None:
        super().__init__()
        self.of_sizes = nn.Parameter(
            nn.init.kaiming_uniform_(torch.empty(edge_channels, 2 * (one_sided + two_sided)))
        )
        self.of_destination = nn.Linear(channels, edge_channels)
        self.of_source = nn.Linear(channels, edge_channels, bias=False)
        self.said = [said * bool(one_sided), said * bool(two_sided)]
        if two_sided:
            gates = torch.empty(two_sided * self.HEADS, edge_channels)
            self.gates = nn.Parameter(nn.init.xavier_uniform_(gates))
        self.source_says = nn.Linear(channels, sum(self.said), bias=False)
        if two_sided:
            self.destination_says = nn.Linear(channels, said, bias=False)
        if one_sided:
            self.destination_says_even = nn.Linear(channels, said)
        self.even_to_destination = 2 * edge_channels + one_sided * said
        self.even_to_source = 2 * edge_channels
        self.odd_to_destination = two_sided * said
        self.odd_to_source = (one_sided + two_sided) * said

    def forward(
        self, edges: Edges, sizes: Tensor, destination: Streams, source: Streams
    ) -> tuple[Streams, Streams]:
        """What the units at both ends receive.

        Args:
            edges: The weights.
            sizes: Even numbers that describe them, [N, F, H * H], see `edge_sizes`.
            destination: Of the units that the weights feed.
            source: Of the units that they read.

        Returns:
            Streams [N, H, F] of what destination and source receive.
        """
        features, pooled_at_destination, pooled_at_source = EdgeFeatures.apply(
            mix(self.of_sizes, sizes).view(len(sizes), -1, *edges.one_sided.shape[2:]),
            self.of_destination(destination.even).transpose(1, 2),
            self.of_source(source.even).transpose(1, 2),
        )
        to_one_sided, to_two_sided = self.source_says(source.odd).split(self.said, dim=2)
        even_at_destination = [pooled_at_destination.transpose(1, 2)]
        odd_at_destination, odd_at_source = to_two_sided[:, :, :0], []
        if edges.one_sided.shape[1]:
            even_at_destination.append(weighted(edges.one_sided, to_one_sided))
            said_even = self.destination_says_even(destination.even)
            odd_at_source.append(weighted(edges.one_sided.transpose(2, 3), said_even))
        if edges.two_sided.shape[1]:
            gates = mix(self.gates, features.flatten(2)).sigmoid()
            gates = gates.view(len(sizes), -1, self.HEADS, *features.shape[2:])
            two_sided = gates * edges.two_sided.unsqueeze(2)  # [N, gates, heads, H, H]
            odd_at_destination = weighted(two_sided, self.by_head(to_two_sided))
            said = self.by_head(self.destination_says(destination.odd))
            odd_at_source.append(weighted(two_sided.transpose(3, 4), said))
        at_destination = Streams(torch.cat(even_at_destination, dim=2), odd_at_destination)
        return at_destination, Streams(pooled_at_source.transpose(1, 2), torch.cat(odd_at_source, dim=2))

    def by_head(self, said: Tensor) -> Tensor:
        """[N, H, F] to [N, heads, H, F / heads]."""
        return said.unflatten(2, (self.HEADS, -1)).transpose(1, 2)


class Update(nn.Module):
    """New streams of a layer's units, from their old ones and what they receive."""

    def __init__(self, channels: int, even: int, odd: int) -> None:
        super().__init__()
        odd += channels
        self.squares = nn.Linear(odd, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(even + 2 * channels)
        self.inner = nn.Linear(even + 2 * channels, channels)
        self.even = nn.Linear(channels, channels)
        self.gate = nn.Linear(channels, channels)
        self.odd = nn.Linear(odd, channels, bias=False)

    def forward(self, streams: Streams, heard: Sequence[Streams]) -> Streams:
        odd = torch.cat([streams.odd, *(part.odd for part in heard)], dim=2)
        odd = odd * torch.rsqrt(1 + odd.square().mean(dim=2, keepdim=True))
        first, second = self.squares(odd).chunk(2, dim=2)
        even = torch.cat([streams.even, *(part.even for part in heard), first * second], dim=2)
        inner = torch.relu(self.inner(self.norm(even)))
        return Streams(
            streams.even + self.even(inner),
            streams.odd + self.odd(odd) * torch.sigmoid(self.gate(inner)),
        )


class Round(nn.Module):
    """Messages along all blocks of edges at once, then an update of all layers."""

    def __init__(self, graph: Graph, channels: int, edge_channels: int, said: int) -> None:
        super().__init__()
        all_messages = [
            Messages(block.one_sided.shape[1], block.two_sided.shape[1], channels, edge_channels, said)
            for block in graph.edges
        ]
        self.messages = nn.ModuleList(all_messages)
        even, odd = [0] * len(graph.even), [0] * len(graph.even)
        for block, messages in zip(graph.edges, all_messages, strict=True):
            even[block.destination] += messages.even_to_destination
            odd[block.destination] += messages.odd_to_destination
            even[block.source] += messages.even_to_source
            odd[block.source] += messages.odd_to_source
        self.updates = nn.ModuleList(Update(channels, *widths) for widths in zip(even, odd, strict=True))

    def forward(self, graph: Graph, sizes: Sequence[Tensor], layers: Sequence[Streams]) -> list[Streams]:
        heard: list[list[Streams]] = [[] for _ in layers]
        for block, messages, size in zip(graph.edges, self.messages, sizes, strict=True):
            at_destination, at_source = messages(block, size, layers[block.destination], layers[block.source])
            heard[block.destination].append(at_destination)
            heard[block.source].append(at_source)
        return [update(*both) for update, *both in zip(self.updates, layers, heard, strict=True)]


class GraphNetwork(RegisteredEncoder):
    """Rounds of messages between hidden units, then rho(e, u) + rho(e, -u), its mean and maximum a layer, an MLP.

    A graph metanetwork (Lim et al. 2024). The embedding is invariant to everything that leaves the RNN's output
    distribution unchanged: see `parameter_graph`.

    Args:
        population: What it is made from.
        channels: Features of a hidden unit, in each of the even and the odd stream.
        edge_channels: Q, features of an edge.
        said: Features that a unit sends along its edges; a multiple of 4, the ways to gate an edge.
        rounds: Rounds of messages.
        hidden: Widths of the MLP's hidden layers.
    """

    group = "mechanistic"
    invariant_to = EVERY_SYMMETRY

    def __init__(
        self,
        population: Population,
        channels: int = 40,
        edge_channels: int = 32,
        said: int = 16,
        rounds: int = 2,
        hidden: tuple[int, ...] = (128,),
    ) -> None:
        super().__init__()
        self.spec = population.spec
        # Weights are initialised in +-1/sqrt(H): in these units.
        self.scale = math.sqrt(self.spec.hidden_size)
        graph = parameter_graph(self.spec, unflatten_weights(self.spec, torch.zeros(1, self.spec.num_parameters)))
        self.even = nn.ModuleList(nn.Linear(features.shape[2], channels) for features in graph.even)
        self.odd = nn.ModuleList(nn.Linear(features.shape[2], channels, bias=False) for features in graph.odd)
        self.rounds = nn.ModuleList(Round(graph, channels, edge_channels, said) for _ in range(rounds))
        self.read_even = nn.ModuleList(nn.Linear(channels, channels) for _ in graph.even)
        self.read_odd = nn.ModuleList(nn.Linear(channels, channels, bias=False) for _ in graph.odd)
        self.read = nn.ModuleList(nn.Linear(channels, channels) for _ in graph.even)
        self.head = EmbeddingHead(2 * channels * self.spec.num_layers + graph.outside.shape[1], hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        graph = parameter_graph(self.spec, {name: self.scale * tensor for name, tensor in weights.items()})
        sizes = [edge_sizes(block) for block in graph.edges]
        layers = [
            Streams(of_even(even), of_odd(odd))
            for of_even, of_odd, even, odd in zip(self.even, self.odd, graph.even, graph.odd, strict=True)
        ]
        for round_ in self.rounds:
            layers = round_(graph, sizes, layers)
        summaries = [graph.outside]
        for streams, of_even, of_odd, read in zip(layers, self.read_even, self.read_odd, self.read, strict=True):
            even, odd = of_even(streams.even), of_odd(streams.odd)
            units = read(torch.relu(even + odd) + torch.relu(even - odd))
            summaries += [units.mean(dim=1), units.amax(dim=1)]
        return self.head(torch.cat(summaries, dim=1))


def edge_sizes(edges: Edges) -> Tensor:
    """Sizes of an edge's weights in two forms, [N, 2 * gates, H * H]: even whatever the weights' parity."""
    sizes = torch.cat([edges.one_sided, edges.two_sided], dim=1).abs().flatten(2)
    return torch.cat([sizes, torch.log1p(sizes.square())], dim=1)


def mix(matrix: Tensor, channels: Tensor) -> Tensor:
    """[C', C] times [N, C, K] to [N, C', K]."""
    return torch.bmm(matrix.expand(len(channels), *matrix.shape), channels)


def weighted(weights: Tensor, said: Tensor) -> Tensor:
    """What units say, [N, (heads,) H, F], summed by weights [N, gates, (heads,) H, H].

    The result is [N, H, gates * heads * F].
    """
    heard = weights @ said.unsqueeze(1)
    return heard.movedim(-2, 1).flatten(2)

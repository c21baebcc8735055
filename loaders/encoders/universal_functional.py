"""Universal neural functional (Zhou et al. 2024): all permutation-equivariant linear maps of an RNN's weights.

The hidden units of every layer may be permuted, so a tensor is known by its space (see `weight_space`): (1, 0) is
a matrix from the units of layer 0 to those of layer 1, (0,) a vector over the units of layer 0, () does not move.
A linear map from one tensor to another that commutes with all permutations has one coefficient for every set
partition of the axes of both in which a block holds axes of one layer only: axes of a block run together, so that
two axes of the source in one block are its diagonal; a block of source axes alone is a mean; one of destination
axes alone is broadcast.

A partition is thus a *reading* of the source (diagonals and means), a *writing* to the destination (diagonals and
broadcasts), and the layers of the blocks that link them. All readings and writings of the same linked layers are
paired, which makes their terms one matrix product, at the size of the reading.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.encoders.weight_space import Space, arrays_by_space, channels_by_space
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

Blocks = tuple[tuple[int, ...], ...]
"""Blocks of a partition: which axes of a tensor run together."""


@dataclass(frozen=True)
class Reading:
    """Part of a term: blocks of source axes that are kept, in this order, and blocks that are averaged over."""

    source: Space
    kept: Blocks
    averaged: Blocks


@dataclass(frozen=True)
class Writing:
    """Part of a term: blocks of destination axes that run along the reading's, and those broadcast along."""

    destination: Space
    linked: Blocks
    free: Blocks


@dataclass(frozen=True)
class Term:
    """One basis element of the equivariant maps. linked: layers of the axes that reading and writing share."""

    reading: Reading
    writing: Writing
    linked: Space


def partitions(labels: Sequence[int]) -> Iterator[Blocks]:
    """Every set partition of positions 0, 1, ... whose blocks hold positions of one label only.

    >>> list(partitions([7, 7, 8]))
    [((0, 1), (2,)), ((0,), (1,), (2,))]
    """
    if not labels:
        yield ()
        return
    last = len(labels) - 1
    for blocks in partitions(labels[:-1]):
        for place, block in enumerate(blocks):
            if labels[block[0]] == labels[last]:
                yield (*blocks[:place], (*block, last), *blocks[place + 1 :])
        yield (*blocks, (last,))


def equivariant_terms(source: Space, destination: Space) -> list[Term]:
    """The basis of the equivariant linear maps from one tensor to another."""
    terms = []
    rank, labels = len(source), (*source, *destination)
    for blocks in partitions(labels):
        halves = [
            (tuple(a for a in block if a < rank), tuple(a - rank for a in block if a >= rank)) for block in blocks
        ]
        links = sorted((half for half in halves if all(half)), key=lambda half: half[1])
        reading = Reading(source, tuple(s for s, _ in links), tuple(s for s, d in halves if not d))
        writing = Writing(destination, tuple(d for _, d in links), tuple(d for s, d in halves if not s))
        terms.append(Term(reading, writing, tuple(destination[d[0]] for _, d in links)))
    return terms


class EquivariantLayer(nn.Module):
    """ReLU of all equivariant terms between tensors [N, C, *hidden axes]; each term is a matrix over channels.

    `maps[i]` holds the terms whose linked layers are `linked[i]`: from all their readings to all their writings.
    """

    def __init__(self, channels_in: Mapping[Space, int], channels_out: int) -> None:
        super().__init__()
        self.channels_out = channels_out
        terms = [t for d in channels_in for s in channels_in for t in equivariant_terms(s, d)]
        self.num_terms = len(terms)
        self.linked = sorted({term.linked for term in terms}, key=lambda linked: (len(linked), linked))
        self.readings = [_unique(t.reading for t in terms if t.linked == linked) for linked in self.linked]
        self.writings = [_unique(t.writing for t in terms if t.linked == linked) for linked in self.linked]
        written_to = [writing.destination for writings in self.writings for writing in writings]
        self.maps = nn.ParameterList()
        for readings, writings in zip(self.readings, self.writings, strict=True):
            width = sum(channels_in[reading.source] for reading in readings)
            # He et al. (2015), with an equal share for every writing to a tensor.
            shares = [math.sqrt(2 / (width * written_to.count(writing.destination))) for writing in writings]
            self.maps.append(torch.cat([std * torch.randn(channels_out, width) for std in shares]))
        self.bias = nn.Parameter(torch.zeros(len(channels_in), channels_out))

    def forward(self, tensors: Mapping[Space, Tensor]) -> dict[Space, Tensor]:
        """Hidden axes -> [N, C_in, *hidden axes] to the same with C_out."""
        reader = Reader(tensors)
        written: dict[Space, dict[Blocks, list[Tensor]]] = {
            axes: {_apart(axes): [bias.view(1, -1, *[1] * len(axes))]}
            for axes, bias in zip(tensors, self.bias, strict=True)
        }
        for readings, writings, matrix in zip(self.readings, self.writings, self.maps, strict=True):
            mixed = mix_channels(matrix, [reader.read(reading) for reading in readings])
            # The gradient of a split is a copy, which a matrix is too large for.
            split = mixed.split(self.channels_out, dim=1) if len(writings) > 1 else (mixed,)
            for writing, part in zip(writings, split, strict=True):
                blocks = tuple(sorted(writing.linked + writing.free))
                for place, block in enumerate(blocks):
                    part = part if block in writing.linked else part.unsqueeze(2 + place)
                written[writing.destination].setdefault(blocks, []).append(part)
        return {axes: _assemble(written[axes], axes) for axes in tensors}


class Reader:
    """Readings of some tensors, each reduction computed once."""

    def __init__(self, tensors: Mapping[Space, Tensor]) -> None:
        self._tensors = tensors
        self._known: dict[Reading, Tensor] = {}

    def read(self, reading: Reading) -> Tensor:
        """[N, C, *kept]."""
        if reading not in self._known:
            self._known[reading] = self._compute(reading)
        return self._known[reading]

    def _compute(self, reading: Reading) -> Tensor:
        if reading.averaged:  # a mean of what is already averaged over the other blocks
            *others, last = reading.averaged
            tensor = self.read(Reading(reading.source, (*reading.kept, last), tuple(others)))
            return tensor.sum(dim=-1) / tensor.shape[-1]
        return tie_axes(self._tensors[reading.source], reading.kept)


class UniversalFunctional(RegisteredEncoder):
    """Layers of all equivariant terms (119 for two LSTM layers) with ReLU, means over all orbits, an MLP.

    Permutations of hidden units leave the embedding unchanged.

    Args:
        population: What it is made from.
        channels: Channels of each tensor after every layer.
        layers: Equivariant layers.
        hidden: Widths of the MLP's hidden layers.
    """

    group = "mechanistic"
    invariant_to = frozenset({"permutation"})

    def __init__(
        self, population: Population, channels: int = 28, layers: int = 3, hidden: tuple[int, ...] = (128,)
    ) -> None:
        super().__init__()
        self.spec = population.spec
        # Weights are initialised in +-1/sqrt(H): in these units.
        self.scale = math.sqrt(self.spec.hidden_size)
        widths: Mapping[Space, int] = channels_by_space(self.spec)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(EquivariantLayer(widths, channels))
            widths = dict.fromkeys(widths, channels)
        self.pooled = _unique(t.reading for source in widths for t in equivariant_terms(source, ()))
        self.head = EmbeddingHead(channels * len(self.pooled), hidden)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        tensors = {
            space: self.scale * array.movedim(-1, 1).contiguous()
            for space, array in arrays_by_space(self.spec, weights).items()
        }
        for layer in self.layers:
            tensors = layer(tensors)
        reader = Reader(tensors)
        return self.head(torch.cat([reader.read(reading) for reading in self.pooled], dim=1))


def mix_channels(matrix: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Channels [C', C * parts] of some tensors [N, C, *axes] of the same axes: [N, C', *axes]."""
    models, _, *lengths = parts[0].shape
    if len(lengths) < 2:  # small: worth a copy that makes it one product
        parts = [torch.cat(list(parts), dim=1)]
    columns = matrix.expand(models, *matrix.shape).split([part.shape[1] for part in parts], dim=2)
    flat = [part.reshape(models, part.shape[1], -1) for part in parts]
    mixed = torch.bmm(columns[0], flat[0])
    for column, part in zip(columns[1:], flat[1:], strict=True):
        mixed = torch.baddbmm(mixed, column, part)
    return mixed.view(models, -1, *lengths)


def _assemble(written: Mapping[Blocks, Sequence[Tensor]], axes: Space) -> Tensor:
    """ReLU of the sum of what was written to a tensor, on the whole of it and on its diagonals."""
    places, parts = [], []
    for blocks, at_blocks in sorted(written.items(), key=lambda item: len(item[0])):
        for part in _add_up(at_blocks):
            places.append(blocks)
            parts.append(part)
    return SumReLU.apply(places[::-1], *parts[::-1])  # the whole first


def _apart(axes: Space) -> Blocks:
    """The partition of a tensor's axes that ties none of them."""
    return tuple((axis,) for axis in range(len(axes)))


def _add_up(parts: Sequence[Tensor]) -> list[Tensor]:
    """Add each part to the next, where that is cheap; parts are ordered from small to large.

    What remains does not broadcast to one another, but for the last, which is of full size.
    """
    *small, whole = parts
    remaining: list[Tensor] = []
    for part in small:
        if remaining and torch.broadcast_shapes(remaining[-1].shape, part.shape) == part.shape:
            part = part + remaining.pop()
        remaining.append(part)
    return [*remaining, whole]


class SumReLU(torch.autograd.Function):
    """ReLU of the sum of a tensor [N, C, *axes] and of parts that broadcast along it or along a diagonal of it.

    Autograd alone would hold and copy a full-sized tensor for every part.
    """

    @staticmethod
    def forward(ctx: Any, places: Sequence[Blocks], whole: Tensor, *parts: Tensor) -> Tensor:
        """places: for `whole` and every part, which axes it ties; the first part ties none, as `whole` does."""
        total = whole + parts[0]
        for blocks, part in zip(places[2:], parts[1:], strict=True):
            tie_axes(total, blocks).add_(part)
        total.relu_()
        ctx.save_for_backward(total)
        ctx.places, ctx.shapes = places, [part.shape for part in parts]
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (total,) = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, total, 0)
        shared = [
            tie_axes(gradient, blocks).sum_to_size(shape)
            for blocks, shape in zip(ctx.places[1:], ctx.shapes, strict=True)
        ]
        return None, gradient, *shared


def tie_axes(tensor: Tensor, blocks: Blocks) -> Tensor:
    """View [N, C, *blocks] of a tensor [N, C, *axes], where the axes of a block run together."""
    letter = {axis: string.ascii_lowercase[block[0]] for block in blocks for axis in block}
    tied = "".join(letter[axis] for axis in range(len(letter)))
    kept = "".join(letter[block[0]] for block in blocks)
    return torch.einsum(f"yz{tied}->yz{kept}", tensor)


def _unique(items: Iterable[Any]) -> list[Any]:
    """The items without repetitions, in their order."""
    return list(dict.fromkeys(items))

"""Statistics of the weights that no symmetry of the RNN moves: what weights say before anything is learned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, Weights
from rnnzoo.zoo_builder.rnn.symmetry import split_biases

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
POWERS = (1, 2, 3)


class InvariantStatistics(RegisteredEncoder):
    """Statistics and spectra [N, E] that permutations, sign flips, bias splits and the head gauge leave in place.

    A block is a gate's rows of a tensor, after `fix_gauges`. Of each block there are: mean, deviation and
    quantiles of its entries, or of their absolute values where flips change their signs; and quantiles of its
    singular values, without those that are zero where `fix_gauges` has centred the block. A flip negates plain
    unit axes and the rows of `Cell.odd_gates`. So these do not change either, and are taken too: traces of powers
    of the blocks whose two axes run over the same units and flip together, cosines of the blocks of two even
    gates, W W^T of the head, and `linear_path`. E is 344 for 2 x 32 LSTMs on 6 tokens.

    Args:
        population: What it is made from.
    """

    group = "control"
    invariant_to = EVERY_SYMMETRY

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.spec = population.spec
        self.sums_to_one = population.encoding.input_range.sums_to_one

    @torch.no_grad()
    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to statistics [N, E]."""
        fixed = fix_gauges(self.spec, weights, self.sums_to_one)
        blocks = gate_blocks(self.spec, fixed)
        head = fixed["head.weight"]
        rows, columns = torch.triu_indices(*head.shape[1:2] * 2).unbind()
        statistics = [
            fixed["head.bias"],
            (head @ head.mT)[:, rows, columns],
            linear_path(self.spec, blocks, head).flatten(1),
            *describe_block(head, flipped_axes(self.spec, "head.weight"), centred=1),
        ]
        for (name, gate), block in blocks.items():
            flips = flipped_axes(self.spec, name, gate)
            statistics += describe_block(block, flips, 2 if self.sums_to_one and "weight_ih_l0" in name else None)
            if "weight_hh" in name and len(set(flips)) == 1:
                statistics += [
                    torch.linalg.matrix_power(block, power).diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
                    for power in POWERS
                ]
        return torch.cat([*statistics, *inner_products(self.spec, blocks)], dim=1)


Blocks = Mapping[tuple[str, str], Tensor]
"""(tensor, gate) -> that gate's rows of N models, [N, H] or [N, H, columns]."""


def fix_gauges(spec: RNNSpec, weights: Weights, sums_to_one: bool) -> dict[str, Tensor]:
    """The same RNNs with all of a split bias in bias_ih, the head centred over the outputs, and, for inputs that
    sum to one, weight_ih_l0 centred over the inputs, its mean moved into the bias.
    """
    fixed = dict(weights)
    for layer in range(spec.num_layers):
        fixed = split_biases(spec, fixed, layer, fixed[f"{spec.cell}.bias_hh_l{layer}"])
    for name in ("head.weight", "head.bias"):
        fixed[name] = fixed[name] - fixed[name].mean(dim=1, keepdim=True)
    if sums_to_one:
        to_gates, bias = f"{spec.cell}.weight_ih_l0", f"{spec.cell}.bias_ih_l0"
        mean = fixed[to_gates].mean(dim=2)
        fixed[to_gates] = fixed[to_gates] - mean.unsqueeze(2)
        fixed[bias] = fixed[bias] + mean
    return fixed


def gate_blocks(spec: RNNSpec, fixed: Weights) -> Blocks:
    """The recurrent tensors gate by gate, but for the parts of bias_hh that `fix_gauges` has emptied."""
    cell = CELLS[spec.cell]
    return {
        (parameter.name, gate): fixed[parameter.name][:, spec.gate_rows(gate)]
        for parameter in spec.parameters
        if parameter.axes[0].kind == "hidden"
        for gate in cell.gates
        if not ("bias_hh" in parameter.name and gate in cell.split_bias_gates)
    }


def flipped_axes(spec: RNNSpec, name: str, gate: str | None = None) -> tuple[bool, ...]:
    """Which axes of a tensor, or of a gate's rows of it, change sign when units do."""
    odd_gates = CELLS[spec.cell].odd_gates
    axes = next(parameter.axes for parameter in spec.parameters if parameter.name == name)
    return (gate in odd_gates, *(bool(odd_gates) and axis.kind == "hidden" for axis in axes[1:]))


def describe_block(block: Tensor, flips: tuple[bool, ...], centred: int | None) -> list[Tensor]:
    """Mean, deviation and quantiles of a block [N, ...], and quantiles of the singular values of a matrix.

    Where `fix_gauges` has centred one of its axes, its mean and one singular value may be nothing but rounding;
    those are left out.
    """
    values = (block.abs() if any(flips) else block).flatten(1)
    deviation, mean = torch.std_mean(values, dim=1, keepdim=True, correction=min(1, values.shape[1] - 1))
    described = [deviation, _quantiles(values)]
    if centred is None or any(flips):
        described.insert(0, mean)
    if block.dim() == 3:
        rank = min(*block.shape[1:], *([] if centred is None else [block.shape[centred] - 1]))
        described.append(_quantiles(torch.linalg.svdvals(block)[:, :rank]))
    return described


def inner_products(spec: RNNSpec, blocks: Blocks) -> list[Tensor]:
    """Cosines [N, 1] of the blocks of each pair of gates whose rows no flip changes, in each matrix."""
    even = [gate for gate in CELLS[spec.cell].gates if gate not in CELLS[spec.cell].odd_gates]
    names = dict.fromkeys(name for name, _ in blocks)
    return [
        torch.cosine_similarity(blocks[name, one].flatten(1), blocks[name, other].flatten(1)).unsqueeze(1)
        for name in names
        for one, other in itertools.combinations(even, 2)
        if (name, one) in blocks and (name, other) in blocks
    ]


def linear_path(spec: RNNSpec, blocks: Blocks, head: Tensor) -> Tensor:
    """From inputs to outputs through a gate that carries the state's sign: [N, O, D], W_out W_ih1,g W_ih0,g.

    Through the first gate, where none does and units cannot be flipped.
    """
    cell = CELLS[spec.cell]
    gate = (*cell.odd_gates, *cell.gates)[0]
    path = head
    for layer in reversed(range(spec.num_layers)):
        path = path @ blocks[f"{spec.cell}.weight_ih_l{layer}", gate]
    return path


def _quantiles(values: Tensor) -> Tensor:
    """[N, K] to [N, 5]."""
    return torch.quantile(values, torch.tensor(QUANTILES).to(values), dim=1).T

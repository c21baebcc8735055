"""An RNN's parameters as arrays over its hidden units: what permutations of the units move, by space.

Gates, inputs and outputs are channels. What is left of a parameter is an array over the hidden units of 0, 1 or 2
layers: its space, () or (l,) or (l, k). Arrays of the same space stand side by side, as more channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnzoo.zoo_builder.rnn import Parameter, RNNSpec, Weights

Space = tuple[int, ...]
"""The layers whose hidden units the axes of an array run over."""


def channels_by_space(spec: RNNSpec) -> dict[Space, int]:
    """Space -> gates x inputs x outputs, over all parameters of the space."""
    return {space: sum(map(_channels, group)) for space, group in parameter_spaces(spec).items()}


def parameter_spaces(spec: RNNSpec) -> dict[Space, list[Parameter]]:
    """The parameters of each space, both in the spec's order."""
    spaces: dict[Space, list[Parameter]] = {}
    for parameter in spec.parameters:
        space = tuple(axis.layer for axis in parameter.axes if axis.layer is not None)
        spaces.setdefault(space, []).append(parameter)
    return spaces


def arrays_by_space(spec: RNNSpec, weights: Weights) -> dict[Space, Tensor]:
    """The weights of N RNNs, name -> [N, *shape], as space -> [N, units of each of its layers, channels]."""
    return {
        space: torch.cat([_unit_axes_first(p, weights[p.name]) for p in group], dim=-1)
        for space, group in parameter_spaces(spec).items()
    }


def _channels(parameter: Parameter) -> int:
    axes = zip(parameter.shape, parameter.axes, strict=True)
    return math.prod(axis.gates if axis.kind == "hidden" else length for length, axis in axes)


def _unit_axes_first(parameter: Parameter, tensor: Tensor) -> Tensor:
    """[N, *shape] to [N, units of each hidden axis, channels]."""
    units: list[int] = []
    others: list[int] = []
    dim = 1
    for axis in parameter.axes:
        if axis.kind == "hidden":
            tensor = tensor.unflatten(dim, (axis.gates, -1))
            others.append(dim)
            dim += 1
        (units if axis.kind == "hidden" else others).append(dim)
        dim += 1
    return tensor.permute(0, *units, *others).flatten(1 + len(units))

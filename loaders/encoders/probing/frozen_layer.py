"""Layers of N frozen RNNs, over many steps or one, forward and back: what they are, and LSTMs by torch.

Time comes first, [T, N, B, ...], so that a step is one contiguous block.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from rnnzoo.loaders.encoders.probing.recurrence import LSTMBack, activate, lstm_trace
from rnnzoo.zoo_builder.compiled.frozen_layers import CompiledCell, CompiledMap, Trace


class FrozenLayer(Protocol):
    """One layer of N models; `CompiledLayer` is one."""

    def room(self, steps: int, sequences: int) -> Trace:
        """For what T steps on B sequences leave behind."""
        ...

    def forward(self, inputs: Tensor, trace: Trace, first: int, end: int) -> Tensor:
        """Runs steps first to end - 1, of which inputs [t, N or 1, B, D]; returns h [t, N, B, H]."""
        ...

    def back(self, trace: Trace) -> FrozenLayerBack:
        """The way back through the steps of a trace."""
        ...


class FrozenLayerBack(Protocol):
    """The way back through a layer's steps, from the last to the first, many at a time or one."""

    def backward(self, above: Tensor, first: int, d_memory: Tensor | None = None) -> Tensor:
        """The t steps from `first` on: gradients of h, and of the memory, by all but later steps [t, N, B, H] ->
        that of the inputs [t, N, B, D].
        """
        ...


class LSTMLayer:
    """A `FrozenLayer` of LSTMs by torch: W_ih [N, 4 H, D], W_hh [N, 4 H, H], b_ih and b_hh [N, 4 H]."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        self.weight_ih, self.weight_hh, self.bias = weight_ih, weight_hh, bias_ih + bias_hh

    def room(self, steps: int, sequences: int) -> Trace:
        """See `FrozenLayer`."""
        models, gates = self.bias.shape
        return lstm_trace(self.bias.new_empty(steps, models, sequences, gates))

    def forward(self, inputs: Tensor, trace: Trace, first: int, end: int) -> Tensor:
        """See `FrozenLayer`."""
        flat = _models_first(inputs).expand(len(self.bias), -1, -1)
        driven = torch.baddbmm(self.bias.unsqueeze(1), flat, self.weight_ih.mT)
        trace.sums[first:end] = _time_first(driven, end - first)
        for t in range(first, end):
            if t:
                trace.sums[t].baddbmm_(trace.hidden[t - 1], self.weight_hh.mT)
            activate(trace, t)
        return trace.hidden[first:end]

    def back(self, trace: Trace) -> LSTMLayerBack:
        """See `FrozenLayer`."""
        return LSTMLayerBack(self, trace)


class LSTMLayerBack:
    """A `FrozenLayerBack` of LSTMs by torch."""

    def __init__(self, layer: LSTMLayer, trace: Trace) -> None:
        self.layer, self.steps = layer, LSTMBack(trace)
        self.d_hidden = torch.zeros_like(trace.hidden[0])

    def backward(self, above: Tensor, first: int, d_memory: Tensor | None = None) -> Tensor:
        """See `FrozenLayerBack`."""
        end = first + len(above)
        for t in reversed(range(first, end)):
            self.d_hidden += above[t - first]
            if d_memory is not None:
                self.steps.d_cell += d_memory[t - first]
            torch.bmm(self.steps.step(t, self.d_hidden), self.layer.weight_hh, out=self.d_hidden)
        d_gates = _models_first(self.steps.d_gates[first:end])
        return _time_first(torch.bmm(d_gates, self.layer.weight_ih), len(above))


class FrozenHead:
    """The linear heads of N models: weight [N, O, H], bias [N, O]."""

    def __init__(self, cell: CompiledCell | None, weight: Tensor, bias: Tensor) -> None:
        """cell: whose compiled functions to take; None for torch."""
        self.weight, self.bias = weight, bias
        self.compiled: tuple[CompiledMap, CompiledMap] | None = None
        if cell is not None:
            self.compiled = CompiledMap(cell, weight.mT, bias), CompiledMap(cell, weight)

    def forward(self, hidden: Tensor) -> Tensor:
        """h [T, N, B, H] -> logits [T, N, B, O]."""
        if self.compiled is not None:
            return self.compiled[0](hidden)
        return _time_first(
            torch.baddbmm(self.bias.unsqueeze(1), _models_first(hidden), self.weight.mT), len(hidden)
        )

    def backward(self, d_logits: Tensor) -> Tensor:
        """[T, N, B, O] -> [T, N, B, H]."""
        if self.compiled is not None:
            return self.compiled[1](d_logits)
        return _time_first(torch.bmm(_models_first(d_logits), self.weight), len(d_logits))


def _models_first(values: Tensor) -> Tensor:
    """[T, N, B, C] -> [N, T B, C]."""
    return values.transpose(0, 1).flatten(1, 2)


def _time_first(values: Tensor, steps: int) -> Tensor:
    """[N, T B, C] -> [T, N, B, C]."""
    return values.unflatten(1, (steps, -1)).transpose(0, 1)

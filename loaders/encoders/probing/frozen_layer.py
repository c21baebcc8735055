"""One layer of N frozen RNNs, over many steps or one, forward and back: compiled where it can be, else by torch.

Time comes first, [T, N, B, ...], so that a step is one contiguous block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnzoo.loaders.encoders.probing.recurrence import Steps
from rnnzoo.zoo_builder.compiled.lstm_layers import CompiledLayer, CompiledMap, can_compile
from rnnzoo.zoo_builder.compiled.lstm_steps import deactivate


class FrozenLayer:
    """One LSTM layer of N models: W [N, 4H, D], U [N, 4H, H], bias [N, 4H]."""

    def __init__(self, input_weights: Tensor, recurrent_weights: Tensor, bias: Tensor) -> None:
        self.input_weights, self.recurrent_weights, self.bias = input_weights, recurrent_weights, bias
        self.models, gates, _ = input_weights.shape
        compiles = can_compile(input_weights, gates // 4)
        self.compiled = CompiledLayer(input_weights, recurrent_weights, bias) if compiles else None

    def room(self, steps: int, sequences: int) -> Steps:
        """For what T steps on B sequences leave behind."""
        return Steps(self.bias.new_empty(steps, self.models, sequences, self.bias.shape[-1]))

    def forward(self, inputs: Tensor, ran: Steps, first: int, end: int) -> Tensor:
        """Runs steps first to end - 1, of which inputs [t, N or 1, B, D]; returns h [t, N, B, H]."""
        if self.compiled is not None:
            self.compiled.forward(inputs, ran.tensors(), first, end)
            return ran.hidden[first:end]
        flat = _models_first(inputs).expand(self.models, -1, -1)
        driven = torch.baddbmm(self.bias.unsqueeze(1), flat, self.input_weights.mT)
        ran.gates[first:end] = _time_first(driven, end - first)
        for t in range(first, end):
            if t:
                ran.gates[t].baddbmm_(ran.hidden[t - 1], self.recurrent_weights.mT)
            ran.activate(t)
        return ran.hidden[first:end]


class FrozenLayerBack:
    """The way back through a layer's steps, from the last to the first, many at a time or one."""

    def __init__(self, layer: FrozenLayer, ran: tuple[Tensor, ...]) -> None:
        """ran: `Steps.tensors()` of the way forward."""
        self.layer, self.ran = layer, ran
        self.d_hidden, self.d_cell = torch.zeros_like(ran[-1][0]), torch.zeros_like(ran[-1][0])

    def backward(self, above: Tensor, first: int, d_squashed: Tensor | None = None) -> Tensor:
        """The t steps from `first` on: gradients of h, and of tanh(c), by all but later steps [t, N, B, H] -> that
        of the inputs [t, N, B, D].
        """
        layer = self.layer
        if layer.compiled is not None:
            return layer.compiled.backward(self.ran, self.d_hidden, self.d_cell, above, d_squashed, first)
        gates, cells, squashed, _ = self.ran
        d_gates = torch.empty_like(gates[: len(above)])
        for step in reversed(range(len(above))):
            t = first + step
            self.d_hidden += above[step]
            if d_squashed is not None:
                self.d_cell += d_squashed[step] * (1 - squashed[t] * squashed[t])
            previous = cells[t - 1] if t else None
            deactivate(gates[t], previous, squashed[t], self.d_hidden, self.d_cell, d_gates[step])
            torch.bmm(d_gates[step], layer.recurrent_weights, out=self.d_hidden)
        return _time_first(torch.bmm(_models_first(d_gates), layer.input_weights), len(above))


class FrozenHead:
    """The linear heads of N models: weight [N, O, H], bias [N, O]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.compiled: tuple[CompiledMap, CompiledMap] | None = None
        if can_compile(weight, weight.shape[-1]):
            self.compiled = CompiledMap(weight.mT, bias), CompiledMap(weight)

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

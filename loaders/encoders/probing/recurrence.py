"""LSTM layers on their way through T steps, and the LSTM of a reader as one node of the autograd graph.

Left to autograd, each of T steps would make a gradient of every weight matrix and add it up, T times the memory
traffic of the matrices. Here the backward keeps the gradients of the pre-activations, D [T, N, 4R], and takes
D^T X at the end, one product a matrix. R is the reader's hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnzoo.zoo_builder.compiled.lstm_steps import activate, deactivate

FEW = 32
"""On CPUs a matrix product with so few columns takes many times as long as its transpose, which has few rows."""


class Steps:
    """What the steps of one LSTM layer leave behind: gates [T, .., 4H]; c, tanh(c) and h [T, .., H]."""

    def __init__(self, gates: Tensor) -> None:
        """gates: room for the pre-activations of all steps."""
        self.gates = gates
        shape = (*gates.shape[:-1], gates.shape[-1] // 4)
        self.cells, self.squashed, self.hidden = gates.new_empty(3, *shape).unbind(0)

    def activate(self, t: int) -> Tensor:
        """From pre-activations of step t in `gates`; returns h."""
        previous = self.cells[t - 1] if t else None
        activate(self.gates[t], previous, self.cells[t], self.squashed[t], self.hidden[t])
        return self.hidden[t]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.gates, self.cells, self.squashed, self.hidden


class StepsBack:
    """Backward through such a layer: `d_gates` [T, .., 4H] fill up from the last step to the first."""

    def __init__(self, gates: Tensor, cells: Tensor, squashed: Tensor, hidden: Tensor) -> None:
        self.gates, self.cells, self.squashed, self.hidden = gates, cells, squashed, hidden
        self.d_cell = torch.zeros_like(cells[0])
        self.d_gates = torch.empty_like(gates)

    def deactivate(self, t: int, d_hidden: Tensor) -> Tensor:
        """The gradient of h at step t, complete -> that of the pre-activations [.., 4H]."""
        previous = self.cells[t - 1] if t else None
        deactivate(self.gates[t], previous, self.squashed[t], d_hidden, self.d_cell, self.d_gates[t])
        return self.d_gates[t]

    def weight_gradients(self, below: Tensor) -> list[Tensor]:
        """Those of W, U and b, once all steps are gone back; below [T, N, C]: the layer's inputs."""
        recurrent = outer_products(self.d_gates[1:], self.hidden[:-1])
        return [outer_products(self.d_gates, below), recurrent, self.d_gates.sum(dim=(0, 1))]


def outer_products(d_outputs: Tensor, inputs: Tensor) -> Tensor:
    """Their sum: [T, N, rows] and [T, N, columns] -> [rows, columns]."""
    d_outputs, inputs = d_outputs.flatten(0, 1), inputs.flatten(0, 1)
    if inputs.shape[-1] < FEW:
        return (inputs.T @ d_outputs).T
    return d_outputs.T @ inputs


class LSTMStack(torch.autograd.Function):
    """(inputs [T, N, C], then W [4R, C], U [4R, R], b [4R] of each layer) -> h [T, N, R] of the last."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, *weights: Tensor) -> Tensor:
        kept: list[Tensor] = []
        below = inputs
        for weight, recurrent, bias in zip(*[iter(weights)] * 3, strict=True):
            gates = torch.addmm(bias, below.flatten(0, 1), weight.T).unflatten(0, below.shape[:2])
            layer = Steps(gates)
            for t in range(len(gates)):
                if t:
                    gates[t].addmm_(layer.hidden[t - 1], recurrent.T)
                layer.activate(t)
            kept += layer.tensors()
            below = layer.hidden
        ctx.save_for_backward(inputs, *weights, *kept)
        ctx.layers = len(weights) // 3
        return below.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor | None, ...]:
        inputs, *rest = ctx.saved_tensors
        weights, kept = rest[: 3 * ctx.layers], rest[3 * ctx.layers :]
        d_weights: list[Tensor] = []
        d_hidden = d_hidden.clone(memory_format=torch.contiguous_format)
        for number in reversed(range(ctx.layers)):
            weight, recurrent, _ = weights[3 * number : 3 * number + 3]
            layer = StepsBack(*kept[4 * number : 4 * number + 4])
            for t in reversed(range(len(d_hidden))):
                d_gates = layer.deactivate(t, d_hidden[t])
                if t:
                    d_hidden[t - 1].addmm_(d_gates, recurrent)
            below = kept[4 * number - 1] if number else inputs
            d_weights = layer.weight_gradients(below) + d_weights
            if number or ctx.needs_input_grad[0]:
                d_hidden = (layer.d_gates.flatten(0, 1) @ weight).view_as(below)
        return (d_hidden if ctx.needs_input_grad[0] else None, *d_weights)

"""LSTM layers on their way through T steps, and the LSTM of a reader as one node of the autograd graph.

Left to autograd, each of T steps would make a gradient of every weight matrix and add it up, T times the memory
traffic of the matrices. Here the backward keeps the gradients of the pre-activations, D [T, N, 4R], and takes
D^T X at the end, one product a matrix. R is the reader's hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnzoo.zoo_builder.compiled.frozen_layers import Trace

FEW = 32
"""On CPUs a matrix product with so few columns takes many times as long as its transpose, which has few rows."""
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def in_full_precision(function: AnyFunction) -> AnyFunction:
    """A function whose tensors stay what they are under `torch.autocast`: those of lower precision become float32.

    RNNs are run in the precision of their weights, and room that was made before takes no other.
    """

    @wraps(function)
    def run(*arguments: Any) -> Any:
        tensors = [one for one in arguments if isinstance(one, Tensor)]
        if not torch.is_autocast_enabled(tensors[0].device.type):
            return function(*arguments)
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*(_widened(one) for one in arguments))

    return cast(AnyFunction, run)


def _widened(argument: Any) -> Any:
    is_narrow = isinstance(argument, Tensor) and argument.dtype in (torch.bfloat16, torch.float16)
    return argument.float() if is_narrow else argument


def lstm_trace(gates: Tensor) -> Trace:
    """gates: room for the pre-activations of all steps [T, .., 4 H]."""
    shape = (*gates.shape[:-1], gates.shape[-1] // 4)
    return Trace(gates, gates.new_empty(shape), gates.new_empty(shape))


def activate(trace: Trace, t: int) -> Tensor:
    """Step t of an LSTM, from its pre-activations in `trace.sums`, which become the gates; returns h.

    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')
    """
    gates, hidden, cell = trace.sums[t], trace.hidden[t], trace.memory[t]
    width = cell.shape[-1]
    gates[..., : 2 * width].sigmoid_()
    i, f, g, o = gates.split(width, dim=-1)
    g.tanh_()
    o.sigmoid_()
    torch.mul(i, g, out=cell)
    if t:
        cell.addcmul_(f, trace.memory[t - 1])
    torch.tanh(cell, out=hidden)
    return hidden.mul_(o)


class LSTMBack:
    """The way back through an LSTM layer, from the last step to the first, each taken once.

    d_gates [T, .., 4 H]: gradients of the pre-activations, at the steps that have been taken. With
    dc = d_cell + d_hidden o (1 - tanh(c)^2) they are dc g i (1 - i), dc c f (1 - f) with the c before,
    dc i (1 - g^2), and d_hidden tanh(c) o (1 - o). What depends on the way forward alone is computed for all steps
    at once.
    """

    def __init__(self, trace: Trace) -> None:
        gates, self.hidden, cells = trace
        i, self.forget, g, o = gates.chunk(4, dim=-1)
        squashed = cells.tanh()
        self.slope = torch.addcmul(o, o, squashed * squashed, value=-1)
        self.d_gates = torch.addcmul(gates, gates, gates, value=-1)
        to_i, to_f, to_g, to_o = self.d_gates.chunk(4, dim=-1)
        to_i *= g
        to_f[1:] *= cells[:-1]
        to_f[0] = 0
        torch.addcmul(i, i, g * g, value=-1, out=to_g)
        to_o *= squashed
        self.d_cell = torch.zeros_like(cells[0])

    def step(self, t: int, d_hidden: Tensor) -> Tensor:
        """The gradient of h at step t, complete -> that of the pre-activations [.., 4 H]."""
        self.d_cell.addcmul_(d_hidden, self.slope[t])
        by_gate = self.d_gates[t].unflatten(-1, (4, -1))
        by_gate[..., :3, :] *= self.d_cell.unsqueeze(-2)
        by_gate[..., 3, :] *= d_hidden
        self.d_cell *= self.forget[t]
        return self.d_gates[t]

    def weight_gradients(self, below: Tensor) -> list[Tensor]:
        """Those of W, U and b, after the first step is reached; below [T, N, C]: the layer's inputs."""
        recurrent = outer_products(self.d_gates[1:], self.hidden[:-1])
        return [outer_products(self.d_gates, below), recurrent, self.d_gates.sum(dim=(0, 1))]


def traces_of(tensors: Sequence[Tensor]) -> list[Trace]:
    """The tensors of several traces, one after the other, as traces."""
    return [Trace(*three) for three in zip(*[iter(tensors)] * 3, strict=True)]


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
            trace = lstm_trace(gates)
            for t in range(len(gates)):
                if t:
                    gates[t].addmm_(trace.hidden[t - 1], recurrent.T)
                activate(trace, t)
            kept += trace
            below = trace.hidden
        ctx.save_for_backward(inputs, *weights, *kept)
        ctx.layers = len(weights) // 3
        return below.clone()

    @staticmethod
    @once_differentiable
    @in_full_precision
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor | None, ...]:
        inputs, *rest = ctx.saved_tensors
        weights, traces = rest[: 3 * ctx.layers], traces_of(rest[3 * ctx.layers :])
        d_weights: list[Tensor] = []
        d_hidden = d_hidden.clone(memory_format=torch.contiguous_format)
        for number in reversed(range(ctx.layers)):
            weight, recurrent, _ = weights[3 * number : 3 * number + 3]
            layer = LSTMBack(traces[number])
            for t in reversed(range(len(d_hidden))):
                d_gates = layer.step(t, d_hidden[t])
                if t:
                    d_hidden[t - 1].addmm_(d_gates, recurrent)
            below = traces[number - 1].hidden if number else inputs
            d_weights = layer.weight_gradients(below) + d_weights
            if number or ctx.needs_input_grad[0]:
                d_hidden = (layer.d_gates.flatten(0, 1) @ weight).view_as(below)
        return (d_hidden if ctx.needs_input_grad[0] else None, *d_weights)

"""An `nn.LSTM` taken step by step, where inputs depend on the state before them, at the price of a whole sequence.

Autograd would form the gradient of every weight matrix at each of T steps and add it up: T times the memory traffic
of the matrices. Here the steps hold the weights constant and take their bias as an input of their own, one slice a
step. The gradients of the slices are those of the pre-activations, D [T, M, 4H]; they come together at one node,
whose backward is D^T X, a single product for each matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from loaders.encoders.frozen_rnn import activate_lstm, lstm_slopes


class StepwiseLSTM:
    """One pass of M sequences through at most `steps` steps of an `nn.LSTM`, from a zero state."""

    def __init__(self, lstm: nn.LSTM, sequences: int, steps: int) -> None:
        self.layers = []
        for layer in range(lstm.num_layers):
            weights = [
                getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            seen: list[tuple[Tensor, Tensor]] = []
            biases = _Gather.apply(seen, sequences, steps, *weights).unbind(0)
            self.layers.append((weights[0].detach(), weights[1].detach(), biases, seen))
        zero = weights[0].new_zeros(sequences, lstm.hidden_size)
        self.state = [(zero, zero) for _ in self.layers]
        self.taken = 0

    def step(self, inputs: Tensor) -> Tensor:
        """Inputs [M, D] of the next step -> the last layer's hidden state [M, H]."""
        for number, (input_weights, recurrent_weights, biases, seen) in enumerate(self.layers):
            hidden, cell = self.state[number]
            if torch.is_grad_enabled():
                seen.append((inputs.detach(), hidden.detach()))
            inputs, cell = _Step.apply(inputs, hidden, cell, biases[self.taken], input_weights, recurrent_weights)
            self.state[number] = (inputs, cell)
        self.taken += 1
        return inputs


class _Gather(torch.autograd.Function):
    """(what the steps saw, M, T, one layer's weights) -> the bias of every step [T, M, 4H]."""

    @staticmethod
    def forward(
        ctx: Any,
        seen: list[tuple[Tensor, Tensor]],
        sequences: int,
        steps: int,
        input_weights: Tensor,
        recurrent_weights: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> Tensor:
        ctx.seen = seen
        return (bias_ih + bias_hh).expand(steps, sequences, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_gates: Tensor) -> tuple[Tensor | None, ...]:
        inputs, hidden = (torch.cat(tensors) for tensors in zip(*ctx.seen, strict=True))
        rows = d_gates[: len(ctx.seen)].flatten(0, 1)
        d_bias = rows.sum(dim=0)
        return None, None, None, rows.T @ inputs, rows.T @ hidden, d_bias, d_bias


class _Step(torch.autograd.Function):
    """(inputs [M, D], h, c [M, H], bias [M, 4H], constant weights) -> the next h and c of one layer."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        bias: Tensor,
        input_weights: Tensor,
        recurrent_weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        gates = torch.addmm(bias, inputs, input_weights.T).addmm_(hidden, recurrent_weights.T)
        next_cell, squashed, next_hidden = (torch.empty_like(cell) for _ in range(3))
        activate_lstm(gates, cell, next_cell, squashed, next_hidden)
        ctx.save_for_backward(gates, cell, squashed, input_weights, recurrent_weights)
        ctx.set_materialize_grads(False)
        return next_hidden, next_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor | None, d_cell: Tensor | None) -> tuple[Tensor | None, ...]:
        gates, cell, squashed, input_weights, recurrent_weights = ctx.saved_tensors
        slopes, to_cell = lstm_slopes(gates, cell, squashed)
        d_hidden = torch.zeros_like(cell) if d_hidden is None else d_hidden
        d_cell = to_cell.mul_(d_hidden) if d_cell is None else torch.addcmul(d_cell, d_hidden, to_cell)
        slopes[..., :3, :].mul_(d_cell.unsqueeze(-2))
        slopes[..., 3, :].mul_(d_hidden)
        d_gates = slopes.flatten(-2)
        d_inputs = d_gates @ input_weights if ctx.needs_input_grad[0] else None
        forget = gates[:, cell.shape[-1] : 2 * cell.shape[-1]]
        return d_inputs, d_gates @ recurrent_weights, d_cell * forget, d_gates, None, None

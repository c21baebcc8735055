"""N RNNs with constant weights over inputs that take a gradient: what every probing encoder is made of.

`rnn_forward` under autograd keeps a graph of some twenty nodes a step. Here the weights are constants, so a
sequence is one node: its forward keeps the gates, its backward is a loop of in-place operations and one batched
matrix product a step. Time comes first in memory, [T, N, B, ...], so that a step is one contiguous block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from loaders.encoders.recurrence import Steps, StepsBack
from zoo_builder.compiled.lstm_steps import activate, deactivate
from zoo_builder.errors import RnnzooError
from zoo_builder.rnn import RNNSpec, Weights, rnn_forward
from zoo_builder.rnn.functional import State, stacked_spec, zero_state

FAST_CELLS = frozenset({"lstm"})
"""Cells with a hand-written backward; any other goes through `rnn_forward`."""


@dataclass(frozen=True)
class Layer:
    """One LSTM layer of N models: input_weights [N, 4H, D], recurrent_weights [N, 4H, H], bias [N, 1, 4H]."""

    input_weights: Tensor
    recurrent_weights: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Trajectories:
    """What every hidden unit did, one tensor a layer: hidden h and squashed tanh(c), each [N, B, T, H]."""

    hidden: tuple[Tensor, ...]
    squashed: tuple[Tensor, ...]


class FrozenRNNs:
    """N RNNs, prepared once a batch: no gradient reaches their weights, name -> [N, *shape]."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: tensor.detach() for name, tensor in weights.items()}
        self.spec: RNNSpec = stacked_spec(self.weights)
        self.models = self.weights["head.weight"].shape[0]
        self.is_fast = self.spec.cell in FAST_CELLS
        self.layers = tuple(self._layer(number) for number in range(self.spec.num_layers)) if self.is_fast else ()
        self.head_weight = self.weights["head.weight"]
        self.head_bias = self.weights["head.bias"].unsqueeze(1)

    def _layer(self, number: int) -> Layer:
        prefix = f"{self.spec.cell}.{{}}_l{number}"
        bias = self.weights[prefix.format("bias_ih")] + self.weights[prefix.format("bias_hh")]
        recurrent = self.weights[prefix.format("weight_hh")]
        return Layer(self.weights[prefix.format("weight_ih")], recurrent, bias.unsqueeze(1))

    def run(self, inputs: Tensor) -> Tensor:
        """Logits [N, B, T, O] of the models over [N, B, T, D], or [B, T, D] shared by all; zero states."""
        self._check(inputs)
        if not self.is_fast:
            return rnn_forward(self.weights, inputs)[0]
        return _Sequence.apply(inputs, self, False)[0]

    def run_observed(self, inputs: Tensor) -> tuple[Tensor, Trajectories]:
        """As `run`, with the trajectories of the hidden units, which take a gradient too."""
        self._check(inputs)
        layers = self.spec.num_layers
        if self.is_fast:
            logits, *seen = _Sequence.apply(inputs, self, True)
            return logits, Trajectories(tuple(seen[:layers]), tuple(seen[layers:]))
        state, states, outputs = self.zero_state(inputs.shape[-3], inputs), [], []
        for step_inputs in inputs.unbind(-2):
            logits, state = self.step(step_inputs.expand(self.models, *step_inputs.shape[-2:]), state)
            outputs.append(logits)
            states.append(state)
        # A cell without a second state variable shows its first one twice.
        hidden, inner = (torch.stack([state[place] for state in states], dim=-2) for place in (0, -1))
        return torch.stack(outputs, dim=-2), Trajectories(hidden.unbind(0), inner.tanh().unbind(0))

    def zero_state(self, sequences: int, like: Tensor) -> State:
        """The state to begin `step` with on B sequences."""
        if not self.is_fast:
            return zero_state(self.spec, self.models, sequences, like)
        shape = (self.models, sequences, self.spec.hidden_size)
        return tuple(like.new_zeros(shape) for _ in range(2 * self.spec.num_layers))

    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: inputs [N, B, D] -> logits [N, B, O] and the next state; differentiable in both."""
        if not self.is_fast:
            logits, state = rnn_forward(self.weights, inputs.unsqueeze(2), state)
            return logits.squeeze(2), state
        logits, *following = _Step.apply(self, inputs, *state)
        return logits, tuple(following)

    def _check(self, inputs: Tensor) -> None:
        shape = tuple(inputs.shape)
        known = len(shape) in (3, 4) and shape[-1] == self.spec.input_size
        if not known or (len(shape) == 4 and shape[0] != self.models):
            raise RnnzooError(
                f"inputs: found shape {list(shape)}, expected [B, T, {self.spec.input_size}] "
                f"or [{self.models}, B, T, {self.spec.input_size}]"
            )


def run_frozen(weights: Weights, inputs: Tensor) -> Tensor:
    """Logits [N, B, T, O] of N RNNs over inputs [N, B, T, D] or [B, T, D]; equal to `rnn_forward`'s.

    Differentiable in the inputs alone.
    """
    return FrozenRNNs(weights).run(inputs)


class _Sequence(torch.autograd.Function):
    """(inputs, rnns, observed) -> logits, and if observed every layer's hidden, then every layer's tanh(c)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, rnns: FrozenRNNs, observed: bool) -> tuple[Tensor, ...]:
        sequences, steps = inputs.shape[-3:-1]
        models = rnns.models
        driving = inputs.unsqueeze(0) if inputs.dim() == 3 else inputs
        driving = driving.transpose(1, 2).expand(models, -1, -1, -1).reshape(models, steps * sequences, -1)
        saved: list[Tensor] = []
        for layer in rnns.layers:
            driven = torch.baddbmm(layer.bias, driving, layer.input_weights.mT)
            gates = driven.view(models, steps, sequences, -1).transpose(0, 1).contiguous()
            ran = _run_layer(gates, layer)
            saved += ran.tensors()
            driving = ran.hidden.transpose(0, 1).reshape(models, steps * sequences, -1)
        logits = torch.baddbmm(rnns.head_bias, driving, rnns.head_weight.mT)
        logits = logits.view(models, steps, sequences, -1).transpose(1, 2)

        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*saved)
        ctx.rnns, ctx.shared = rnns, inputs.dim() == 3
        ctx.set_materialize_grads(False)
        if not observed:
            return (logits,)
        seen = [tensor.permute(1, 2, 0, 3).contiguous() for tensor in (*saved[3::4], *saved[2::4])]
        return (logits, *seen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        rnns: FrozenRNNs = ctx.rnns
        saved, count = ctx.saved_tensors, len(rnns.layers)
        d_logits, d_hiddens, d_squashed = gradients[0], gradients[1 : 1 + count], gradients[1 + count :]
        d_hidden = torch.zeros_like(saved[-1])
        if d_logits is not None:
            steps_first = d_logits.transpose(1, 2).reshape(rnns.models, -1, d_logits.shape[-1])
            d_hidden = _time_first(torch.bmm(steps_first, rnns.head_weight), d_hidden)
        for number in reversed(range(count)):
            layer, ran = rnns.layers[number], StepsBack(*saved[4 * number : 4 * number + 4])
            seen = d_hiddens[number] if d_hiddens else None
            if seen is not None:
                d_hidden += seen.permute(2, 0, 1, 3)
            seen = d_squashed[number] if d_squashed else None
            d_gates = _layer_backward(d_hidden, seen, ran, layer)
            if number == 0 and ctx.shared:
                return _shared_inputs_gradient(d_gates, layer), None, None
            d_below = torch.bmm(
                d_gates.transpose(0, 1).reshape(rnns.models, -1, d_gates.shape[-1]), layer.input_weights
            )
            if number:
                d_hidden = _time_first(d_below, d_hidden)
        steps, models, sequences, _ = d_gates.shape
        return d_below.view(models, steps, sequences, -1).transpose(1, 2), None, None


def _run_layer(gates: Tensor, layer: Layer) -> Steps:
    """From the inputs' share of the pre-activations [T, N, B, 4H], which become gates in place."""
    recurrent, steps = layer.recurrent_weights.mT, Steps(gates)
    for t in range(len(gates)):
        if t:
            gates[t].baddbmm_(steps.hidden[t - 1], recurrent)
        steps.activate(t)
    return steps


def _layer_backward(d_hidden: Tensor, d_squashed: Tensor | None, steps: StepsBack, layer: Layer) -> Tensor:
    """Gradient of the pre-activations [T, N, B, 4H] from that of h [T, N, B, H], which is used up."""
    if d_squashed is not None:
        directly = d_squashed.permute(2, 0, 1, 3) * (1 - steps.squashed * steps.squashed)
    for t in reversed(range(len(d_hidden))):
        if d_squashed is not None:
            steps.d_cell += directly[t]
        d_gates = steps.deactivate(t, d_hidden[t])
        if t:
            d_hidden[t - 1].baddbmm_(d_gates, layer.recurrent_weights)
    return steps.d_gates


def _time_first(values: Tensor, like: Tensor) -> Tensor:
    """[N, T * B, H] -> contiguous [T, N, B, H], the shape of `like`."""
    steps, models, sequences, _ = like.shape
    return values.view(models, steps, sequences, -1).transpose(0, 1).contiguous()


def _shared_inputs_gradient(d_gates: Tensor, layer: Layer) -> Tensor:
    """Gradient [B, T, D] of inputs that all models share: the sum over models is inside one matrix product."""
    steps, _, sequences, _ = d_gates.shape
    rows = d_gates.transpose(1, 2).reshape(steps * sequences, -1)
    return (rows @ layer.input_weights.flatten(0, 1)).view(steps, sequences, -1).transpose(0, 1)


class _Step(torch.autograd.Function):
    """(rnns, inputs, h of layer 0, c of layer 0, h of layer 1, ...) -> logits, and the same for the next step."""

    @staticmethod
    def forward(ctx: Any, rnns: FrozenRNNs, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        saved, following = [], []
        driving = inputs
        for number, layer in enumerate(rnns.layers):
            previous_hidden, previous_cell = state[2 * number : 2 * number + 2]
            gates = torch.baddbmm(layer.bias, driving, layer.input_weights.mT)
            gates.baddbmm_(previous_hidden, layer.recurrent_weights.mT)
            cell, squashed, driving = torch.empty(
                (3, *previous_cell.shape), dtype=gates.dtype, device=gates.device
            )
            activate(gates, previous_cell, cell, squashed, driving)
            saved += [gates, previous_cell, squashed]
            following += [driving, cell]
        ctx.rnns = rnns
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        return (torch.baddbmm(rnns.head_bias, driving, rnns.head_weight.mT), *following)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        rnns: FrozenRNNs = ctx.rnns
        saved = ctx.saved_tensors
        d_logits, *d_following = gradients
        d_state: list[Tensor | None] = [None] * len(d_following)
        d_above = torch.bmm(d_logits, rnns.head_weight) if d_logits is not None else torch.zeros_like(saved[-1])
        for number in reversed(range(len(rnns.layers))):
            layer, (gates, previous_cell, squashed) = rnns.layers[number], saved[3 * number : 3 * number + 3]
            d_hidden, d_cell = d_following[2 * number : 2 * number + 2]
            d_hidden = d_above if d_hidden is None else d_hidden + d_above
            d_cell = torch.zeros_like(squashed) if d_cell is None else d_cell.clone()
            d_gates = torch.empty_like(gates)
            deactivate(gates, previous_cell, squashed, d_hidden, d_cell, d_gates)
            d_state[2 * number] = torch.bmm(d_gates, layer.recurrent_weights)
            d_state[2 * number + 1] = d_cell
            d_above = torch.bmm(d_gates, layer.input_weights)
        return (None, d_above, *d_state)

"""N RNNs with constant weights over inputs that take a gradient: what every probing encoder is made of.

`rnn_forward` under autograd keeps a graph of some twenty nodes a step. Here the weights are constants, so a
sequence is one node: its forward keeps the gates, and its backward needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnzoo.loaders.encoders.probing.frozen_layer import FrozenHead, FrozenLayer, LSTMLayer
from rnnzoo.loaders.encoders.probing.recurrence import in_full_precision, traces_of
from rnnzoo.zoo_builder.compiled.frozen_layers import CompiledLayer, Trace, compiled_cell, in_whole_vectors
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, State, Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.functional import LAYER_PARAMETERS, stacked_spec

TORCH_LAYERS = {"lstm": LSTMLayer}
"""Cells that have a hand-written backward where nothing can be compiled; others go through `rnn_forward` there."""


@dataclass(frozen=True)
class Trajectories:
    """What every hidden unit did, one tensor a layer.

    Attributes:
        hidden: h of each layer, [N, B, T, H].
        squashed: tanh(c) of each layer, [N, B, T, H]; empty for cells that carry no c.
    """

    hidden: tuple[Tensor, ...]
    squashed: tuple[Tensor, ...]

    def by_layer(self) -> list[tuple[Tensor, ...]]:
        """A layer's h, and its tanh(c) where it carries one."""
        return list(zip(*filter(None, (self.hidden, self.squashed)), strict=True))


class FrozenRNNs:
    """N RNNs, prepared once a batch: no gradient reaches their weights.

    Args:
        weights: Name -> [N, *shape].
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: tensor.detach() for name, tensor in weights.items()}
        self.spec: RNNSpec = stacked_spec(self.weights)
        self.models = self.weights["head.weight"].shape[0]
        cell = compiled_cell(self.spec.cell, self.weights["head.weight"])
        make_layer = TORCH_LAYERS.get(self.spec.cell) if cell is None else partial(CompiledLayer, cell)
        self.is_fast = make_layer is not None
        laid_out = self.weights if cell is None else in_whole_vectors(self.spec, self.weights)
        self.layers: tuple[FrozenLayer, ...] = ()
        if make_layer is not None:
            self.layers = tuple(
                make_layer(*(laid_out[f"{self.spec.cell}.{part}_l{number}"] for part in LAYER_PARAMETERS))
                for number in range(self.spec.num_layers)
            )
        self.head = FrozenHead(cell, laid_out["head.weight"], laid_out["head.bias"])

    @in_full_precision
    def run(self, inputs: Tensor) -> Tensor:
        """Run the models from zero states, as `rnn_forward` does; differentiable in the inputs alone.

        Args:
            inputs: [N, B, T, D], or [B, T, D] shared by all models.

        Returns:
            Logits [N, B, T, O].
        """
        self._check(inputs)
        if not self.is_fast:
            return rnn_forward(self.weights, inputs)[0]
        return _Sequence.apply(inputs, self, False)[0]

    @in_full_precision
    def run_observed(self, inputs: Tensor) -> tuple[Tensor, Trajectories]:
        """As `run`, with the trajectories of the hidden units, which take a gradient too."""
        self._check(inputs)
        layers, units = self.spec.num_layers, self.spec.hidden_size
        if self.is_fast:
            logits, *states = _Sequence.apply(inputs, self, True)
            seen = [state[..., :units] for state in states]
            return logits, Trajectories(tuple(seen[:layers]), tuple(memory.tanh() for memory in seen[layers:]))
        state: State | None = None
        states, outputs = [], []
        for step_inputs in inputs.unbind(-2):
            logits, state = self.step(step_inputs.expand(self.models, *step_inputs.shape[-2:]), state)
            outputs.append(logits)
            states.append(state)
        hidden, *inner = (torch.stack(steps, dim=-2) for steps in zip(*states, strict=True))
        squashed = inner[0].tanh().unbind(0) if inner else ()
        return torch.stack(outputs, dim=-2), Trajectories(hidden.unbind(0), squashed)

    @in_full_precision
    def step(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One step of any cell, by `rnn_forward`.

        Args:
            inputs: [N, B, D].
            state: That of the step before; None at the first step.

        Returns:
            Logits [N, B, O] and the next state.
        """
        logits, state = rnn_forward(self.weights, inputs.unsqueeze(2), state)
        return logits.squeeze(2), state

    def _check(self, inputs: Tensor) -> None:
        shape = tuple(inputs.shape)
        known = len(shape) in (3, 4) and shape[-1] == self.spec.input_size
        if not known or (len(shape) == 4 and shape[0] != self.models):
            raise RnnzooError(
                f"inputs: found shape {list(shape)}, expected [B, T, {self.spec.input_size}] "
                f"or [{self.models}, B, T, {self.spec.input_size}]"
            )


class Walk:
    """N frozen RNNs on B sequences each, a step at a time; no gradients.

    Args:
        rnns: The models.
        steps: T, the most steps there can be.
        sequences: B.
    """

    def __init__(self, rnns: FrozenRNNs, steps: int, sequences: int) -> None:
        self.rnns = rnns
        self.ran = [layer.room(steps, sequences) for layer in rnns.layers]
        """What the steps of each layer left behind; nothing for cells without a fast path."""
        self._state: State | None = None

    def step(self, inputs: Tensor, t: int) -> Tensor:
        """Step t, after step t - 1: inputs [N, B, D] -> logits [N, B, O]."""
        if not self.rnns.is_fast:
            logits, self._state = self.rnns.step(inputs, self._state)
            return logits
        below = inputs.unsqueeze(0)
        for layer, ran in zip(self.rnns.layers, self.ran, strict=True):
            below = layer.forward(below, ran, t, t + 1)
        return self.rnns.head.forward(below)[0]


class _Sequence(torch.autograd.Function):
    """(inputs, rnns, observed) -> logits, and if observed every layer's h, then every memory if there are some."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, rnns: FrozenRNNs, observed: bool) -> tuple[Tensor, ...]:
        sequences, steps = inputs.shape[-3:-1]
        below = (inputs.unsqueeze(0) if inputs.dim() == 3 else inputs).permute(2, 0, 1, 3)
        traces: list[Trace] = []
        for layer in rnns.layers:
            traces.append(layer.room(steps, sequences))
            below = layer.forward(below, traces[-1], 0, steps)
        logits = rnns.head.forward(below).permute(1, 2, 0, 3)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*chain(*traces))
        ctx.rnns, ctx.shared = rnns, inputs.dim() == 3
        ctx.set_materialize_grads(False)
        if not observed:
            return (logits,)
        states = [trace.hidden for trace in traces] + [trace.memory for trace in traces if trace.has_memory]
        return (logits, *(state.permute(1, 2, 0, 3).contiguous() for state in states))

    @staticmethod
    @once_differentiable
    @in_full_precision
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        rnns: FrozenRNNs = ctx.rnns
        traces, count = traces_of(ctx.saved_tensors), len(rnns.layers)
        d_logits, *d_seen = (None if each is None else each.permute(2, 0, 1, 3) for each in gradients)
        d_hiddens, d_memories = (seen or [None] * count for seen in (d_seen[:count], d_seen[count:]))
        above = torch.zeros_like(traces[-1].hidden) if d_logits is None else rnns.head.backward(d_logits)
        for layer, trace, d_hidden, d_memory in reversed(
            list(zip(rnns.layers, traces, d_hiddens, d_memories, strict=True))
        ):
            above = layer.back(trace).backward(above if d_hidden is None else above + d_hidden, 0, d_memory)
        if ctx.shared:
            return above.sum(dim=1).transpose(0, 1), None, None
        return above.permute(1, 2, 0, 3), None, None

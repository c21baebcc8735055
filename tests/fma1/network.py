"""A whole RNN in `fma-1`: forward, losses and gradients of groups of rows.

Axis letters: R rows, G gates, H units, D inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fma1.batch import Group, Inputs
from fma1.cells import CELLS, GateGradients, Values
from fma1.functions import NAN, Doubles, Floats, exp, fma, log
from rnnzoo.zoo_builder.rnn import RNNSpec


@dataclass
class Layer:
    """The recurrent parameters of a layer, or their gradients: [G, H, D], [G, H, H], [G, H], [G, H]."""

    w_ih: Floats
    w_hh: Floats
    b_ih: Floats
    b_hh: Floats


@dataclass
class Model:
    """The parameters of one RNN, or their gradients, as views of a flat row [P]; the head is [O, H] and [O]."""

    spec: RNNSpec
    flat: Floats
    layers: list[Layer] = field(init=False)
    head: Floats = field(init=False)
    head_bias: Floats = field(init=False)

    def __post_init__(self) -> None:
        named = {p.name: self.flat[p.offset : p.offset + p.size].reshape(p.shape) for p in self.spec.parameters}
        hidden = self.spec.hidden_size
        self.layers = []
        for number in range(self.spec.num_layers):
            names = [
                f"{self.spec.cell}.{part}_l{number}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            by_gate = [named[name].reshape(-1, hidden, *named[name].shape[1:]) for name in names]
            self.layers.append(Layer(*by_gate))
        self.head, self.head_bias = named["head.weight"], named["head.bias"]

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.flat).all())


def pre_activations(
    model: Model, number: int, inputs: Inputs, h: Floats, first_step: bool
) -> tuple[Floats, Floats]:
    """The sums of all gates [R, G, H], and the state's share of a gate that is split [R, H]."""
    layer, split = model.layers[number], CELLS[model.spec.cell].split_gate
    start = layer.b_ih + layer.b_hh
    summed = [gate for gate in range(len(start)) if gate != split]
    m = np.repeat(layer.b_hh[-1][None], len(h), axis=0)
    if split is not None:
        start[split] = layer.b_ih[split]
    if inputs.tokens is not None:
        a = start + np.moveaxis(layer.w_ih[:, :, inputs.tokens], -1, 0)
    else:
        a = np.repeat(start[None], len(h), axis=0)
    if not model.is_finite:
        a, m = a + NAN, m + NAN
    if inputs.numbers is not None:
        for d in range(inputs.numbers.shape[1]):
            a = fma(inputs.numbers[:, d, None, None], layer.w_ih[:, :, d], a)
    if not first_step:
        for k in range(h.shape[1]):
            a[:, summed] = fma(h[:, k, None, None], layer.w_hh[summed, :, k], a[:, summed])
            if split is not None:
                m = fma(h[:, k, None], layer.w_hh[split, :, k], m)
    return a, m


def forward_step(
    model: Model, inputs: Inputs, before: Sequence[tuple[Floats, Floats]], first: bool
) -> list[Values]:
    """All layers at a step, from the (h, c) of the step before."""
    layers = []
    for number, (h, c) in enumerate(before):
        a, m = pre_activations(model, number, inputs, h, first)
        layers.append(CELLS[model.spec.cell].forward(a, m, h, c))
        inputs = Inputs(numbers=layers[-1].h)
    return layers


def zero_states(model: Model, rows: int) -> list[tuple[Floats, Floats]]:
    zeros = np.zeros((rows, model.spec.hidden_size), np.float32)
    return [(zeros, zeros) for _ in model.layers]


@dataclass(frozen=True)
class Answer:
    """The head at rows of a step: logits x and e [R, O], top and total [R]."""

    x: Floats
    top: Floats
    e: Floats
    total: Floats

    def losses(self) -> Doubles:
        """Of every target, [R, O]."""
        return log(self.total).astype(np.float64)[:, None] + (self.top[:, None] - self.x).astype(np.float64)


def answer(model: Model, h: Floats) -> Answer:
    x = np.repeat(model.head_bias[None], len(h), axis=0)
    for k in range(h.shape[1]):
        x = fma(h[:, k, None], model.head[:, k], x)
    top = x.max(axis=1)
    e = exp(x - top[:, None])
    total = np.zeros(len(h), np.float32)
    for o in range(x.shape[1]):
        total = total + e[:, o]
    return Answer(x, top, e, total)


@dataclass(frozen=True)
class Step:
    """All nodes of a group at a step: what came in, each layer's (h, c) before and values, and the head."""

    inputs: Inputs
    before: list[tuple[Floats, Floats]]
    layers: list[Values]
    head: Answer


def forward(model: Model, group: Group) -> list[Step]:
    steps: list[Step] = []
    for t, inputs in enumerate(group.inputs):
        there = group.there(t)
        if t == 0:
            before = zero_states(model, there)
        else:
            last = group.there(t - 1)
            sources = [row if row < last else int(group.parent[row]) for row in range(there)]
            before = [(at.h[sources], at.c[sources]) for at in steps[-1].layers]
        inputs = inputs.of(slice(0, there))
        layers = forward_step(model, inputs, before, t == 0)
        steps.append(Step(inputs, before, layers, answer(model, layers[-1].h)))
    return steps


def group_loss(group: Group, steps: list[Step], total: float) -> float:
    """Adds a group to the sum of a batch's losses."""
    for t in reversed(range(len(steps))):
        losses = steps[t].head.losses()
        for row in reversed(range(group.there(t))):
            for target in np.flatnonzero(group.counts[t, row]):
                total += float(group.counts[t, row, target]) * float(losses[row, target])
    return total


def backward(model: Model, group: Group, steps: list[Step], s: np.float32, gradient: Model) -> None:
    """Adds the nodes of a group to the sums of a gradient."""
    cell, layers = CELLS[model.spec.cell], range(model.spec.num_layers)
    nothing = np.zeros((group.there(len(steps) - 1), model.spec.hidden_size), np.float32)
    after = dict.fromkeys(layers, (nothing, nothing))  # from the step after: of h, and what is carried
    for t in reversed(range(len(steps))):
        step, there = steps[t], group.there(t)
        from_above = head_backward(model, step, group.counts[t, :there], s, gradient)
        for number in reversed(layers):
            from_after, carried = after[number]
            h, c = step.before[number]
            dh = from_above + from_after
            gates = cell.backward(step.layers[number], h, c, dh, carried)
            inputs = step.inputs if number == 0 else Inputs(numbers=step.layers[number - 1].h)
            add_layer(gradient.layers[number], inputs, h, gates)
            if number > 0:
                from_above = gate_sum(gates.of_input, model.layers[number].w_ih, cell.order_below)
            if t > 0:
                to_before = gate_sum(gates.of_state, model.layers[number].w_hh, cell.order_before)
                last = group.there(t - 1)
                after[number] = (to_parents(group, to_before, last), to_parents(group, gates.carried, last))


def head_backward(model: Model, step: Step, counts: NDArray[np.int64], s: np.float32, gradient: Model) -> Floats:
    """Adds to the head's sums; what the last layer's h gets, [R, H]."""
    h, head = step.layers[-1].h, step.head
    scale = (counts.sum(axis=1).astype(np.float32) * s) / head.total
    g = fma(head.e, scale[:, None], -(counts.astype(np.float32) * s))
    for row in reversed(range(len(h))):
        gradient.head[...] = fma(g[row, :, None], h[row], gradient.head)
        gradient.head_bias += g[row]
    given = np.zeros_like(h)
    for o in range(g.shape[1]):
        given = fma(g[:, o, None], model.head[o], given)
    return given


def gate_sum(gates: Floats, weights: Floats, order: tuple[int, ...]) -> Floats:
    """Gate gradients [R, G, H] times weights [G, H, K], summed in order: [R, K]."""
    total = np.zeros((len(gates), weights.shape[2]), np.float32)
    for gate in order:
        for unit in range(weights.shape[1]):
            total = fma(gates[:, gate, unit, None], weights[gate, unit], total)
    return total


def to_parents(group: Group, given: Floats, last: int) -> Floats:
    """What rows give to the step before, where only the first `last` of them are there."""
    total = given[:last].copy()
    for row in range(last, len(given)):
        total[group.parent[row]] += given[row]
    return total


def add_layer(gradient: Layer, inputs: Inputs, h: Floats, gates: GateGradients) -> None:
    """Adds rows at a step to a layer's sums."""
    for row in reversed(range(len(h))):
        if inputs.tokens is not None:
            gradient.w_ih[:, :, inputs.tokens[row]] += gates.of_input[row]
        elif inputs.numbers is not None:
            gradient.w_ih[...] = fma(gates.of_input[row][:, :, None], inputs.numbers[row], gradient.w_ih)
        gradient.w_hh[...] = fma(gates.of_state[row][:, :, None], h[row], gradient.w_hh)
        gradient.b_ih += gates.of_input[row]
        gradient.b_hh += gates.of_state[row]

"""The loop of interactive probing as one node of the autograd graph: N frozen RNNs, and the LSTM that asks them.

For why, see `recurrence`. R is the reader's hidden size; the rest as everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnzoo.loaders.encoders.probing.base import LEAST_LOG_PROBABILITY, read_logits
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs, Walk
from rnnzoo.loaders.encoders.probing.recurrence import (
    LSTMBack,
    activate,
    in_full_precision,
    lstm_trace,
    outer_products,
    traces_of,
)
from rnnzoo.zoo_builder.rnn import State
from rnnzoo.zoo_builder.rnn.cells import lstm_step_from_sum
from rnnzoo.zoo_builder.tasks.input_ranges import InputRange


def closed_loop_reference(
    rnns: FrozenRNNs, input_range: InputRange, open_scores: Tensor, correction: Tensor, *reader: Tensor
) -> tuple[Tensor, Tensor]:
    """What `ClosedLoop` computes, with autograd's own backward and for every cell."""
    state: State | None = None
    zero = open_scores.new_zeros(rnns.models, correction.shape[1])
    reading: list[State] = [(zero, zero) for _ in reader[::3]]
    shown, hidden = [], []
    for scores in open_scores:
        moved = (reading[-1][0] @ correction.T).unflatten(1, scores.shape)
        shown.append(input_range.forward(scores + moved))
        logits, state = rnns.step(shown[-1], state)
        below = read_logits(logits).flatten(1)
        for number, layer_state in enumerate(reading):
            weight, recurrent, bias = reader[3 * number : 3 * number + 3]
            reading[number] = lstm_step_from_sum(
                bias + below @ weight.T + layer_state[0] @ recurrent.T, layer_state
            )
            below = reading[number][0]
        hidden.append(below)
    return torch.stack(hidden), torch.stack(shown).detach()


class ClosedLoop(torch.autograd.Function):
    """(rnns, input range, open scores [T, K, D], correction [K D, R], the reader's weights) -> hidden, inputs.

    Step t shows the RNNs open[t] + correction h[t - 1], brought into the range of inputs, and gives `read_logits`
    of their answers to the reader, whose weights are [W, U, b] of each layer. hidden [T, N, R]: of the reader's
    last layer. inputs [T, N, K, D]: no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rnns: FrozenRNNs,
        input_range: InputRange,
        open_scores: Tensor,
        correction: Tensor,
        *reader: Tensor,
    ) -> tuple[Tensor, Tensor]:
        steps, probes, width = open_scores.shape
        models, spec = rnns.models, rnns.spec
        asked = Walk(rnns, steps, probes)
        reading = [lstm_trace(open_scores.new_empty(steps, models, len(u))) for u in reader[1::3]]
        inputs = open_scores.new_empty(steps, models, probes, width)
        scored = open_scores.new_empty(steps, models, probes, spec.output_size)
        for t in range(steps):
            scores = open_scores[t].expand(models, -1, -1)
            if t:
                scores = torch.addmm(scores.flatten(1), reading[-1].hidden[t - 1], correction.T).view_as(scores)
            inputs[t] = input_range.forward(scores)
            scored[t] = asked.step(inputs[t], t).log_softmax(dim=-1)
            below = scored[t].clamp_min(LEAST_LOG_PROBABILITY).flatten(1)
            for number, layer in enumerate(reading):
                weight, recurrent, bias = reader[3 * number : 3 * number + 3]
                torch.addmm(bias, below, weight.T, out=layer.sums[t])
                if t:
                    layer.sums[t].addmm_(layer.hidden[t - 1], recurrent.T)
                below = activate(layer, t)
        ctx.rnns, ctx.input_range = rnns, input_range
        kept = [tensor for trace in (*asked.ran, *reading) for tensor in trace]
        ctx.save_for_backward(inputs, scored, correction, *reader, *kept)
        ctx.readers = len(reading)
        ctx.mark_non_differentiable(inputs)
        return reading[-1].hidden.clone(), inputs

    @staticmethod
    @once_differentiable
    @in_full_precision
    def backward(ctx: Any, d_read: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        inputs, scored, correction, *rest = ctx.saved_tensors
        reader, ran = rest[: 3 * ctx.readers], traces_of(rest[3 * ctx.readers :])
        asked = [layer.back(trace) for layer, trace in zip(ctx.rnns.layers, ran[: -ctx.readers], strict=True)]
        reading = [LSTMBack(trace) for trace in ran[-ctx.readers :]]
        d_reading = [torch.zeros_like(layer.d_cell) for layer in reading]
        d_scores = torch.empty_like(inputs)
        for t in reversed(range(len(inputs))):
            d_below = d_read[t]
            for number in reversed(range(len(reading))):
                weight, recurrent, _ = reader[3 * number : 3 * number + 3]
                d_gates = reading[number].step(t, d_reading[number].add_(d_below))
                d_below = d_gates @ weight
                torch.mm(d_gates, recurrent, out=d_reading[number])
            # Of the log-softmax: g - p sum(g), where g has nothing of what was cut off.
            d_scored = d_below.view_as(scored[t]).masked_fill_(scored[t] < LEAST_LOG_PROBABILITY, 0)
            d_logits = d_scored.addcmul(scored[t].exp(), d_scored.sum(dim=-1, keepdim=True), value=-1)
            above = ctx.rnns.head.backward(d_logits[None])
            for asking in reversed(asked):
                above = asking.backward(above, t)
            d_scores[t] = ctx.input_range.backward(above[0], inputs[t])
            d_reading[-1].addmm_(d_scores[t].flatten(1), correction)
        d_correction = outer_products(d_scores.flatten(2)[1:], reading[-1].hidden[:-1])
        d_reader: list[Tensor] = []
        for number, layer in enumerate(reading):
            below = reading[number - 1].hidden if number else scored.clamp_min(LEAST_LOG_PROBABILITY).flatten(2)
            d_reader += layer.weight_gradients(below)
        return None, None, d_scores.sum(dim=1), d_correction, *d_reader

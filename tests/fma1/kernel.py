"""The four functions of a `Kernel`, and AdamW, in `fma-1`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fma1.batch import Inputs, Sequences, groups_of, sequences_of
from fma1.functions import ONE, Doubles, Floats, fma, power, stored
from fma1.network import Answer, Model, answer, backward, forward, forward_step, group_loss, zero_states
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.training.kernels.base import TrainState


def adamw(w: Floats, m: Floats, v: Floats, g: Floats, t: int, rate: float, decay: float) -> tuple[Floats, ...]:
    """w, m and v after update t."""
    keep = np.float32(1.0 - rate * decay)
    step = np.float32(rate / (1.0 - power(0.9, t)))
    correction = np.float32(1.0 / np.sqrt(1.0 - power(0.999, t)))
    new1, old2, new2 = np.float32(1.0 - 0.9), np.float32(0.999), np.float32(1.0 - 0.999)
    m = fma(g - m, new1, m)
    v = fma(g * g, new2, v * old2)
    w = fma(w, keep, -((m * step) / fma(np.sqrt(v), correction, np.float32(1e-8))))
    return w, m, v


class Fma1Kernel:
    """Implements `Kernel`, some ten thousand times slower than a compiled one."""

    name = "fma1"

    @np.errstate(all="ignore")
    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """See `Kernel.train_steps`."""
        losses = np.zeros(learning_rates.shape, np.float32)
        for n, ids in enumerate(item_ids.numpy()):
            w, m, v = (part[n].numpy() for part in (state.weights, state.first_moment, state.second_moment))
            for s, batch in enumerate(ids):
                losses[n, s], gradient = loss_and_gradient(Model(state.spec, w), data.of_runs(n, n + 1), batch)
                rate, decay = float(learning_rates[n, s]), float(weight_decays[n])
                w, m, v = adamw(w, m, v, gradient, state.step + s + 1, rate, decay)
            for part, values in ((state.weights, w), (state.first_moment, m), (state.second_moment, v)):
                part[n] = torch.from_numpy(stored(values))
        state.step += item_ids.shape[1]
        return torch.from_numpy(stored(losses))

    @np.errstate(all="ignore")
    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernel.score_items`."""
        losses, correct = np.zeros(item_ids.shape, np.float32), np.zeros(item_ids.shape, bool)
        for n, ids in enumerate(item_ids.numpy()):
            model, run = Model(spec, weights[n].numpy()), data.of_runs(n, n + 1)
            of_steps, correct[n] = score(model, sequences_of(run, ids), data.encoding.every_answer)
            total = np.zeros(len(ids))
            for t in range(data.steps):
                total = total + of_steps[:, t]
            losses[n] = (total / data.steps).astype(np.float32)
        return torch.from_numpy(stored(losses)), torch.from_numpy(correct)

    @np.errstate(all="ignore")
    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        """See `Kernel.step_losses`."""
        losses = np.zeros((*item_ids.shape, data.steps))
        for n, ids in enumerate(item_ids.numpy()):
            model, run = Model(spec, weights[n].numpy()), data.of_runs(n, n + 1)
            losses[n], _ = score(model, sequences_of(run, ids), data.encoding.every_answer)
        return torch.from_numpy(losses)

    @np.errstate(all="ignore")
    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        """See `Kernel.sample_strings`."""
        models, strings, steps = uniforms.shape
        written = np.full((models, strings, steps + 1), begin, np.uint8)
        for n, draws in enumerate(uniforms.numpy()):
            model = Model(spec, weights[n].numpy())
            states = zero_states(model, strings)
            for t in range(steps):
                layers = forward_step(model, Inputs(written[n, :, t].astype(np.int64)), states, t == 0)
                states = [(at.h, at.c) for at in layers]
                head = answer(model, layers[-1].h)
                for k in range(strings):
                    written[n, k, t + 1] = draw(head, k, draws[k, t], begin)
        return torch.from_numpy(written)


def loss_and_gradient(model: Model, data: Data, ids: NDArray[np.int32]) -> tuple[np.float32, Floats]:
    gradient = Model(model.spec, np.zeros_like(model.flat))
    sequences, steps = len(ids), data.steps
    s = ONE / (np.float32(sequences) * np.float32(steps))
    total = 0.0
    for group in groups_of(data, ids, model.spec.output_size):
        computed = forward(model, group)
        total = group_loss(group, computed, total)
        backward(model, group, computed, s, gradient)
    return np.float32(total / (sequences * steps)), gradient.flat


def score(model: Model, sequences: Sequences, every_answer: bool) -> tuple[Doubles, NDArray[np.bool_]]:
    """Losses [B, T] of sequences, and whether their (last) answers are right; no answer that is not finite is."""
    count, steps = sequences.targets.shape
    states, losses, right = zero_states(model, count), np.zeros((count, steps)), np.ones(count, bool)
    for t, inputs in enumerate(sequences.inputs):
        layers = forward_step(model, inputs, states, t == 0)
        states = [(at.h, at.c) for at in layers]
        head = answer(model, layers[-1].h)
        losses[:, t] = head.losses()[range(count), sequences.targets[:, t]]
        if t == steps - 1 or every_answer:
            right &= np.isfinite(head.x).all(axis=1) & (head.x.argmax(axis=1) == sequences.targets[:, t])
    return losses, right


def draw(head: Answer, row: int, u: np.float32, otherwise: int) -> int:
    """The token that u draws; `otherwise` where not all logits are finite."""
    if not np.isfinite(head.x[row]).all():
        return otherwise
    token, cumulated = 0, head.e[row, 0] / head.total[row]
    while cumulated <= u and token + 1 < len(head.e[row]):
        token += 1
        cumulated = cumulated + head.e[row, token] / head.total[row]
    return token

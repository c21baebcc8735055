"""The kernel in plain torch: `rnn_forward`, autograd and AdamW written out for N runs. CPU and CUDA.

It is the reference for the fused kernels, and the fall-back where no compiler is found.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from rnnzoo.zoo_builder.rnn import RNNModule, RNNSpec, State, Weights, rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.rnn.sampling import write_tokens
from rnnzoo.zoo_builder.tasks.data import Batch, Data
from rnnzoo.zoo_builder.training.kernels.base import BETA1, BETA2, EPSILON, TrainState, check_batches

CPU_MODELS_AT_ONCE = 16
"""Models whose data are prepared together on a CPU; the models themselves run one after the other."""
SCORED_AT_ONCE = 16_000
"""Sequences of all models that are scored at once, to bound memory (some 0.1 MB a sequence with 2 x 32 units)."""


class TorchKernel:
    """Implements `Kernel` on a torch device."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = self.arithmetic = f"torch-{self.device.type}"
        self._models_at_once = CPU_MODELS_AT_ONCE if self.device.type == "cpu" else 1 << 20

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """See `Kernel.train_steps`; state, ids and rates are on the CPU, the work is on `device`."""
        check_batches(item_ids)
        losses = torch.empty(learning_rates.shape)
        for first, last in self._chunks(len(state.weights)):
            part = TrainState(
                state.spec,
                state.weights[first:last].to(self.device),
                state.first_moment[first:last].to(self.device),
                state.second_moment[first:last].to(self.device),
                state.step,
            )
            part_data = data.of_runs(first, last).to(self.device)
            rates = learning_rates[first:last].to(self.device)
            decays = weight_decays[first:last].to(self.device)
            ids = item_ids[first:last].to(self.device)
            part_losses = [
                train_step(part, part_data.batch(ids[:, s]), rates[:, s], decays) for s in range(ids.shape[1])
            ]
            losses[first:last] = torch.stack(part_losses, dim=1).cpu()
            state.weights[first:last] = part.weights.cpu()
            state.first_moment[first:last] = part.first_moment.cpu()
            state.second_moment[first:last] = part.second_moment.cpu()
        state.step += item_ids.shape[1]
        return losses

    @torch.no_grad()
    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernel.score_items`."""
        losses, correct = torch.empty(item_ids.shape), torch.empty(item_ids.shape, dtype=torch.bool)
        for where, logits, targets in self._outputs(spec, weights, data, item_ids):
            losses[where] = step_losses(logits, targets).mean(dim=-1).cpu()
            right = (logits.argmax(dim=-1) == targets) & logits.isfinite().all(dim=-1)
            correct[where] = data.encoding.judge(right).cpu()
        return losses, correct

    @torch.no_grad()
    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        """See `Kernel.step_losses`."""
        losses = torch.empty(*item_ids.shape, data.steps, dtype=torch.float64)
        for where, logits, targets in self._outputs(spec, weights, data, item_ids):
            losses[where] = step_losses(logits, targets).double().cpu()
        return losses

    @torch.no_grad()
    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        """See `Kernel.sample_strings`."""
        models, strings, steps = uniforms.shape
        written = torch.full((models, strings, steps + 1), begin, dtype=torch.uint8)
        for first, last in self._chunks(models):
            part = unflatten_weights(spec, weights[first:last].to(self.device))

            def step(inputs: Tensor, state: State | None, part: Weights = part) -> tuple[Tensor, State]:
                logits, state = forward(spec, part, inputs.unsqueeze(2), state)
                return logits[:, :, 0], state

            tokens = write_tokens(step, begin, spec.input_size, uniforms[first:last].to(self.device))
            for t, (token, _) in enumerate(tokens, start=1):
                written[first:last, :, t] = token.cpu()
        return written

    def _outputs(
        self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor
    ) -> Iterator[tuple[tuple[slice, slice], Tensor, Tensor]]:
        """Some models and items at a time: which of them, logits [n, m, T, O] and targets [n, m, T]."""
        for first, last in self._chunks(len(weights)):
            models = unflatten_weights(spec, weights[first:last].to(self.device))
            part_data = data.of_runs(first, last).to(self.device)
            sequences = max(1, SCORED_AT_ONCE // (last - first))
            for start in range(0, item_ids.shape[1], sequences):
                where = slice(first, last), slice(start, start + sequences)
                batch = part_data.batch(item_ids[where].to(self.device))
                yield where, forward(spec, models, batch.inputs)[0], batch.targets

    def _chunks(self, models: int) -> Iterator[tuple[int, int]]:
        for first in range(0, models, self._models_at_once):
            yield first, min(first + self._models_at_once, models)


def forward(spec: RNNSpec, weights: Weights, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """`rnn_forward`; on a CPU through torch's own recurrent layers, a model at a time, which is some 3 times
    faster there, because one model stays in the cache and N models do not.
    """
    if inputs.device.type != "cpu":
        return rnn_forward(weights, inputs, state)
    module = RNNModule(spec)
    results = [
        functional_call(
            module,
            {name: tensor[n] for name, tensor in weights.items()},
            (inputs[n], None if state is None else tuple(variable[:, n] for variable in state)),
        )
        for n in range(len(inputs))
    ]
    logits, states = zip(*results, strict=True)
    stacked = tuple(torch.stack(variable, dim=1) for variable in zip(*states, strict=True))
    return torch.stack(logits), stacked


def step_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at each step of each sequence: [N, B, T, O], [N, B, T] -> [N, B, T]."""
    return cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view(targets.shape)


def train_step(state: TrainState, batch: Batch, learning_rates: Tensor, weight_decays: Tensor) -> Tensor:
    """One AdamW step for N runs, in place; returns the N losses before it.

    learning_rates and weight_decays: [N]. The models are independent, so the gradient of the sum of their
    losses is each model's own gradient.
    """
    weights = state.weights.detach().requires_grad_()
    logits, _ = forward(state.spec, unflatten_weights(state.spec, weights), batch.inputs)
    losses = step_losses(logits, batch.targets).mean(dim=-1).mean(dim=1)
    (gradient,) = torch.autograd.grad(losses.sum(), weights)
    state.step += 1
    adamw_update(state, gradient, learning_rates, weight_decays)
    return losses.detach()


@torch.no_grad()
def adamw_update(state: TrainState, gradient: Tensor, learning_rates: Tensor, weight_decays: Tensor) -> None:
    """The update numbered `state.step` (from 1), as `torch.optim.AdamW` computes it, rates [N] per run."""
    rates = learning_rates.unsqueeze(1)
    state.weights.mul_(1 - rates * weight_decays.unsqueeze(1))
    state.first_moment.lerp_(gradient, 1 - BETA1)
    state.second_moment.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    root = state.second_moment.sqrt().div_((1 - BETA2**state.step) ** 0.5).add_(EPSILON)
    state.weights.sub_(rates / (1 - BETA1**state.step) * state.first_moment / root)

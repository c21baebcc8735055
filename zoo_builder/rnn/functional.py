"""N recurrent networks at once, in plain torch: the reference that every faster path is held against.

Weights of N models are a dict from PyTorch's parameter names to tensors with a leading model axis, which
is also what `torch.func.functional_call` under `vmap` takes and what a shard of a zoo holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rnn.spec import RNNSpec

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]
"""Recurrent state of N models, one tensor [L, N, B, H] a state variable; LSTM: (h, c)."""


def init_parameters(spec: RNNSpec, seeds: Sequence[int]) -> Tensor:
    """Flat weights [N, P] of N fresh models, each a function of its own seed alone.

    PyTorch's default initialisation: every recurrent parameter and the head are uniform in
    (-1/sqrt(H), 1/sqrt(H)) (`torch.nn.LSTM`, and `torch.nn.Linear` with H inputs).
    """
    bound = 1 / math.sqrt(spec.hidden_size)
    rows = [uniform(seed, Stream.INIT, 0, spec.num_parameters) for seed in seeds]
    return torch.stack([torch.from_numpy(row) for row in rows]).mul_(2 * bound).sub_(bound)


def unflatten_weights(spec: RNNSpec, flat: Tensor) -> dict[str, Tensor]:
    """Named views of flat weights: [..., P] -> name -> [..., *shape]."""
    if flat.shape[-1] != spec.num_parameters:
        raise RnnzooError(f"flat weights: found {flat.shape[-1]} values a model, expected {spec.num_parameters}")
    return {p.name: flat[..., p.offset : p.offset + p.size].unflatten(-1, p.shape) for p in spec.parameters}


def flatten_weights(spec: RNNSpec, weights: Weights) -> Tensor:
    """The inverse of `unflatten_weights`: name -> [..., *shape] becomes [..., P]."""
    missing = [p.name for p in spec.parameters if p.name not in weights]
    if missing:
        raise RnnzooError(f"weights: found no {missing}, expected {[p.name for p in spec.parameters]}")
    return torch.cat([weights[p.name].flatten(-len(p.shape)) for p in spec.parameters], dim=-1)


def stacked_spec(weights: Weights) -> RNNSpec:
    """The spec of N stacked models."""
    return RNNSpec.of_weights({name: tuple(tensor.shape[1:]) for name, tensor in weights.items()})


def zero_state(spec: RNNSpec, models: int, sequences: int, like: Tensor) -> State:
    """The all-zero state of N models on B sequences, on the device and in the dtype of `like`."""
    shape = (spec.num_layers, models, sequences, spec.hidden_size)
    return tuple(like.new_zeros(shape) for _ in STATE_VARIABLES[spec.cell])


def lstm_cell(gates: Tensor, state: State) -> State:
    """One LSTM step from pre-activations [N, B, 4H] and state (h, c), each [N, B, H].

    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')   (Hochreiter & Schmidhuber 1997,
    with forget gates after Gers et al. 2000; gate order i, f, g, o as in `torch.nn.LSTM`).
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


CELL_STEPS = {"lstm": lstm_cell}
STATE_VARIABLES = {"lstm": ("h", "c")}


def rnn_forward(weights: Weights, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run N models over their inputs.

    weights: name -> [N, *shape]. inputs: [N, B, T, D], or [B, T, D] for the same sequences to every model.
    state: (h, c), each [L, N, B, H]; None starts from zero.
    Returns the head's outputs (logits) [N, B, T, O] and the state after the last step.
    Differentiable in weights, inputs and state.
    """
    spec = stacked_spec(weights)
    models = weights["head.weight"].shape[0]
    if inputs.dim() == 3:
        inputs = inputs.expand(models, *inputs.shape)
    if inputs.dim() != 4 or inputs.shape[0] != models or inputs.shape[-1] != spec.input_size:
        raise RnnzooError(
            f"inputs: found shape {list(inputs.shape)}, expected [B, T, {spec.input_size}] "
            f"or [{models}, B, T, {spec.input_size}]"
        )
    _, sequences, steps, _ = inputs.shape
    if state is None:
        state = zero_state(spec, models, sequences, inputs)
    step = CELL_STEPS[spec.cell]

    layer_inputs = inputs.transpose(1, 2)  # [N, T, B, D]: a step is one contiguous block
    final_states = []
    for layer in range(spec.num_layers):
        prefix = f"{spec.cell}.{{}}_l{layer}"
        to_gates = weights[prefix.format("weight_ih")].transpose(1, 2)
        recurrent = weights[prefix.format("weight_hh")].transpose(1, 2)
        bias = (weights[prefix.format("bias_ih")] + weights[prefix.format("bias_hh")]).unsqueeze(1)
        # The input's share of all steps is one matrix product; only the recurrent share waits its turn.
        driven = torch.baddbmm(bias, layer_inputs.flatten(1, 2), to_gates).unflatten(1, (steps, sequences))
        layer_state: State = tuple(variable[layer] for variable in state)
        hidden = []
        for t in range(steps):
            layer_state = step(torch.baddbmm(driven[:, t], layer_state[0], recurrent), layer_state)
            hidden.append(layer_state[0])
        layer_inputs = torch.stack(hidden, dim=1)
        final_states.append(layer_state)

    head = weights["head.weight"].transpose(1, 2)
    logits = torch.baddbmm(weights["head.bias"].unsqueeze(1), layer_inputs.flatten(1, 2), head)
    logits = logits.unflatten(1, (steps, sequences)).transpose(1, 2)
    return logits, tuple(torch.stack(variable) for variable in zip(*final_states, strict=True))

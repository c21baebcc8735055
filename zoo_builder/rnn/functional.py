"""N recurrent networks at once, in plain torch: the reference that every faster path is held against.

Weights of N models are a dict from PyTorch's parameter names to tensors with a leading model axis, which
is also what `torch.func.functional_call` under `vmap` takes and what a shard of a zoo holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rnn.cells import CELLS, Cell, State
from rnnzoo.zoo_builder.rnn.spec import RNNSpec

Weights = Mapping[str, Tensor]

LAYER_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The parameters of a layer, in PyTorch's order; in a spec, `<cell>.<parameter>_l<layer>`."""


def init_parameters(spec: RNNSpec, seeds: Sequence[int]) -> Tensor:
    """Flat weights of N fresh models, each a function of its own seed alone.

    This is PyTorch's default initialisation: every recurrent parameter and the head are uniform in
    (-1/sqrt(H), 1/sqrt(H)) (`torch.nn.LSTM` and its like, and `torch.nn.Linear` with H inputs).

    Args:
        spec: The architecture of the models.
        seeds: N seeds, one for each model.

    Returns:
        Flat weights, float32 [N, P], with P parameters for each model.
    """
    bound = 1 / math.sqrt(spec.hidden_size)
    rows = np.stack([uniform(seed, Stream.INIT, 0, spec.num_parameters) for seed in seeds])
    # In NumPy, which rounds after each operation: a compiler may have joined the two elsewhere.
    return torch.from_numpy(rows * np.float32(2 * bound) - np.float32(bound))


def unflatten_weights(spec: RNNSpec, flat: Tensor) -> dict[str, Tensor]:
    """Split flat weights into named parameters.

    Args:
        spec: The architecture of the models.
        flat: Flat weights [..., P].

    Returns:
        name -> [..., *shape]: views of `flat`, without a copy.

    Raises:
        RnnzooError: The last axis of `flat` does not have the number of parameters of `spec`.
    """
    if flat.shape[-1] != spec.num_parameters:
        raise RnnzooError(f"flat weights: found {flat.shape[-1]} values a model, expected {spec.num_parameters}")
    return {p.name: flat[..., p.offset : p.offset + p.size].unflatten(-1, p.shape) for p in spec.parameters}


def flatten_weights(spec: RNNSpec, weights: Weights) -> Tensor:
    """The inverse of `unflatten_weights`.

    Args:
        spec: The architecture of the models.
        weights: name -> [..., *shape]. Entries that are no parameters of `spec` are ignored.

    Returns:
        Flat weights [..., P], in the order of `spec.parameters`.

    Raises:
        RnnzooError: A parameter is missing.
    """
    missing = [p.name for p in spec.parameters if p.name not in weights]
    if missing:
        raise RnnzooError(f"weights: found no {missing}, expected {[p.name for p in spec.parameters]}")
    return torch.cat([weights[p.name].flatten(-len(p.shape)) for p in spec.parameters], dim=-1)


def stacked_spec(weights: Weights) -> RNNSpec:
    """The spec of N stacked models.

    Args:
        weights: name -> [N, *shape].

    Returns:
        The spec that all N models have.

    Raises:
        RnnzooError: No spec has exactly these parameters.
    """
    return RNNSpec.of_weights({name: tuple(tensor.shape[1:]) for name, tensor in weights.items()})


def count_models(spec: RNNSpec, weights: Weights, what: str = "weights") -> int:
    """How many models some weights are of.

    Args:
        spec: The architecture of the models.
        weights: name -> [N, *shape]. Entries that are no parameters of `spec` are ignored.
        what: What an error calls them.

    Returns:
        N.

    Raises:
        RnnzooError: A parameter is missing, is no tensor, or has another shape.
    """
    models: int | None = None
    for parameter in spec.parameters:
        tensor, shape = weights.get(parameter.name), list(parameter.shape)
        if not isinstance(tensor, Tensor):
            found = "nothing" if tensor is None else f"a value of type {type(tensor).__name__}"
            raise RnnzooError(
                f"{what}: {parameter.name}: found {found}, expected a tensor of shape {_stacked(shape)}"
            )
        found_shape = list(tensor.shape)
        if not tensor.numel() or found_shape[1:] != shape or models not in (None, found_shape[0]):
            of_all = ", one N of 1 or more for all parameters" if found_shape[1:] == shape else ""
            hint = ", for one model weights[name][None]" if found_shape == shape else ""
            expected = f"{_stacked(shape)}{of_all}{hint}"
            raise RnnzooError(f"{what}: {parameter.name}: found shape {found_shape}, expected {expected}")
        models = found_shape[0]
    return models or 0


def _stacked(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, ('N', *shape)))}]"


def zero_state(spec: RNNSpec, models: int, sequences: int, like: Tensor) -> State:
    """The all-zero state of N models on B sequences.

    Args:
        spec: The architecture of the models.
        models: N.
        sequences: B.
        like: A tensor that has the device and the dtype of the state.

    Returns:
        The state variables of the cell, each [L, N, B, H], with L layers.
    """
    shape = (spec.num_layers, models, sequences, spec.hidden_size)
    return tuple(like.new_zeros(shape) for _ in CELLS[spec.cell].state_variables)


def rnn_forward(weights: Weights, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run N models over their inputs. Differentiable in weights, inputs and state.

    Args:
        weights: name -> [N, *shape].
        inputs: [N, B, T, D], or [B, T, D] to show the same sequences to every model.
        state: The state variables of the cell before the first step, each [L, N, B, H]. None starts from zero.

    Returns:
        The outputs of the head (logits) [N, B, T, O], and the state after the last step, each [L, N, B, H].

    Raises:
        RnnzooError: The weights are those of no spec, or the shape of the inputs does not fit them.
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

    hidden = inputs.transpose(1, 2)  # [N, T, B, D]: a step is one contiguous block
    final_states = []
    for layer in range(spec.num_layers):
        parameters = [weights[f"{spec.cell}.{part}_l{layer}"] for part in LAYER_PARAMETERS]
        hidden, final = _run_layer(CELLS[spec.cell], parameters, hidden, tuple(v[layer] for v in state))
        final_states.append(final)

    head = weights["head.weight"].transpose(1, 2)
    logits = torch.baddbmm(weights["head.bias"].unsqueeze(1), hidden.flatten(1, 2), head)
    logits = logits.unflatten(1, (steps, sequences)).transpose(1, 2)
    return logits, tuple(torch.stack(variable) for variable in zip(*final_states, strict=True))


def _run_layer(cell: Cell, parameters: Sequence[Tensor], inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """One layer, `LAYER_PARAMETERS` [N, ...] and state [N, B, H]: [N, T, B, D] -> h [N, T, B, H], last state."""
    to_gates, recurrent, input_bias, recurrent_bias = parameters
    to_gates, recurrent = to_gates.transpose(1, 2), recurrent.transpose(1, 2)
    input_bias, recurrent_bias = input_bias.unsqueeze(1), recurrent_bias.unsqueeze(1)
    if cell.step_from_sum is not None:
        input_bias = input_bias + recurrent_bias
    # The input part of all steps is one matrix product; only the recurrent part waits its turn.
    input_parts = torch.baddbmm(input_bias, inputs.flatten(1, 2), to_gates).unflatten(1, inputs.shape[1:3])
    hidden = []
    for input_part in input_parts.unbind(1):
        if cell.step_from_sum is not None:
            state = cell.step_from_sum(torch.baddbmm(input_part, state[0], recurrent), state)
        else:
            state = cell.step(input_part, torch.baddbmm(recurrent_bias, state[0], recurrent), state)
        hidden.append(state[0])
    return torch.stack(hidden, dim=1), state

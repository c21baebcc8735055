"""Transforms of the weights that leave an RNN's function unchanged, derived from the axis labels.

Per layer the group is (Z_2^H semidirect S_H) x R^GH: permutations and sign flips of the hidden units, and what
may be moved from one bias vector to the other, G being how many gates see only their sum. Every function takes
N stacked models, name -> [N, *shape], and gives each model its own transform; weights come back as new tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn.cells import CELLS, State
from rnnzoo.zoo_builder.rnn.functional import Weights, count_models
from rnnzoo.zoo_builder.rnn.spec import Axis, RNNSpec


def permute_units(spec: RNNSpec, weights: Weights, layer: int, order: Tensor) -> dict[str, Tensor]:
    """Reorder the hidden units of a layer.

    Args:
        spec: The architecture of the models.
        weights: name -> [N, *shape].
        layer: Number of the layer, from 0.
        order: int64 [N, H], or [1, H] for all models. In model n, new unit j is old unit order[n, j].

    Returns:
        Weights of models with the same function, name -> [N, *shape].

    Raises:
        RnnzooError: There is no such layer, or a row of `order` is none of 0 to H - 1; weights have other shapes.
    """
    _check_order(order, count_models(spec, weights), spec.hidden_size)
    blocks = torch.arange(len(CELLS[spec.cell].gates), device=order.device) * spec.hidden_size

    def reorder(tensor: Tensor, dim: int, axis: Axis) -> Tensor:
        index = (order[:, None, :] + blocks[: axis.gates, None]).flatten(1)
        return torch.take_along_dim(tensor, _along(index, dim, tensor.dim()), dim)

    return _map_unit_axes(spec, weights, layer, reorder)


def flip_signs(spec: RNNSpec, weights: Weights, layer: int, signs: Tensor) -> dict[str, Tensor]:
    """Multiply the states of hidden units by +1 or -1.

    All state variables of a unit take the sign. The weights that read the unit take it too. On a gated axis only
    the rows of the odd gates take it: the other gates need no change, since they read the unit through columns
    that have the sign already.

    Args:
        spec: The architecture of the models.
        weights: name -> [N, *shape].
        layer: Number of the layer, from 0.
        signs: [N, H] of +1 and -1, or [1, H] for all models: that of unit j in model n is signs[n, j].

    Returns:
        Weights of models with the same function, name -> [N, *shape].

    Raises:
        RnnzooError: The cell admits no sign flip, there is no such layer, or `signs` or weights are others.
    """
    cell = CELLS[spec.cell]
    if not cell.odd_gates:
        raise RnnzooError(f"cell: {spec.cell!r} admits no sign flip of its units")
    _check_signs(signs, count_models(spec, weights), spec.hidden_size)
    gated = torch.cat([signs if gate in cell.odd_gates else torch.ones_like(signs) for gate in cell.gates], dim=1)

    def flip(tensor: Tensor, dim: int, axis: Axis) -> Tensor:
        factor = signs if axis.gates == 1 else gated
        return tensor * _along(factor.to(tensor), dim, tensor.dim())

    return _map_unit_axes(spec, weights, layer, flip)


def split_biases(spec: RNNSpec, weights: Weights, layer: int, shift: Tensor) -> dict[str, Tensor]:
    """Move a part of one bias vector to the other, in the gates that only see the sum of the two.

    Args:
        spec: The architecture of the models.
        weights: name -> [N, *shape].
        layer: Number of the layer, from 0.
        shift: [N, gates * H]: what is added to b_ih and taken from b_hh. Its values for other gates are ignored.

    Returns:
        Weights of models with the same function, name -> [N, *shape].

    Raises:
        RnnzooError: There is no such layer, or `shift` has another shape.
    """
    _check_layer(spec, layer)
    cell = CELLS[spec.cell]
    _check_shape("shift", shift, len(weights[f"{spec.cell}.bias_ih_l{layer}"]), len(cell.gates) * spec.hidden_size)
    shift = shift.clone()
    for gate in cell.gates:
        if gate not in cell.split_bias_gates:
            shift[:, spec.gate_rows(gate)] = 0
    moved = dict(weights)
    for name, sign in ((f"{spec.cell}.bias_ih_l{layer}", 1), (f"{spec.cell}.bias_hh_l{layer}", -1)):
        moved[name] = weights[name] + sign * shift.to(weights[name])
    return moved


def permute_state(state: State, layer: int, order: Tensor) -> State:
    """The state that goes with `permute_units`.

    Args:
        state: The state variables of the cell, each [L, N, B, H].
        layer: Number of the layer, from 0.
        order: int64 [N, H], as in `permute_units`.

    Returns:
        The state of the models with reordered units, each variable [L, N, B, H].

    Raises:
        RnnzooError: As for `permute_units`.
    """
    _check_order(order, state[0].shape[1], state[0].shape[3])
    return _map_state(state, layer, lambda t: torch.take_along_dim(t, order[:, None, :], dim=-1))


def flip_state(state: State, layer: int, signs: Tensor) -> State:
    """The state that goes with `flip_signs`.

    Args:
        state: The state variables of the cell, each [L, N, B, H].
        layer: Number of the layer, from 0.
        signs: [N, H] of +1 and -1, as in `flip_signs`.

    Returns:
        The state of the models with flipped units, each variable [L, N, B, H].

    Raises:
        RnnzooError: As for `flip_signs`.
    """
    _check_signs(signs, state[0].shape[1], state[0].shape[3])
    return _map_state(state, layer, lambda t: t * signs[:, None, :].to(t))


def _map_unit_axes(spec, weights, layer, transform):  # type: ignore[no-untyped-def]
    """Apply `transform(tensor, dim, axis)` along every axis that runs over the units of `layer`."""
    _check_layer(spec, layer)
    result = dict(weights)
    for parameter in spec.parameters:
        for dim, axis in enumerate(parameter.axes, start=1):
            if axis.kind == "hidden" and axis.layer == layer:
                result[parameter.name] = transform(result[parameter.name], dim, axis)
    return result


def _check_layer(spec: RNNSpec, layer: int) -> None:
    if not 0 <= layer < spec.num_layers:
        raise RnnzooError(f"layer: found {layer}, expected 0 to {spec.num_layers - 1}")


def _check_order(order: Tensor, models: int, units: int) -> None:
    _check_shape("order", order, models, units)
    if order.dtype != torch.int64:
        raise RnnzooError(f"order: found {order.dtype}, expected int64")
    in_order = torch.arange(units, device=order.device).expand(order.shape)
    if not torch.equal(order.sort(dim=1).values.to(in_order), in_order):
        raise RnnzooError(f"order: found {order.tolist()!r:.200}, expected each of 0 to {units - 1} once a model")


def _check_signs(signs: Tensor, models: int, units: int) -> None:
    _check_shape("signs", signs, models, units)
    if signs.dtype == torch.bool or not (signs.abs() == 1).all():
        raise RnnzooError(f"signs: found {signs.tolist()!r:.200}, expected +1 and -1")


def _check_shape(name: str, values: Tensor, models: int, units: int) -> None:
    if values.dim() != 2 or values.shape[0] not in (1, models) or values.shape[1] != units:
        raise RnnzooError(f"{name}: found shape {list(values.shape)}, expected [{models}, {units}]")


def _along(values: Tensor, dim: int, dims: int) -> Tensor:
    """Shape [N, K] values so that they broadcast along `dim` of a tensor with `dims` dimensions."""
    shape = [values.shape[0]] + [1] * (dims - 1)
    shape[dim] = values.shape[1]
    return values.reshape(shape)


def _map_state(state, layer, transform):  # type: ignore[no-untyped-def]
    return tuple(
        torch.stack([transform(v) if i == layer else v for i, v in enumerate(variable)]) for variable in state
    )

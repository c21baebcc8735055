"""What lies between two models, once the order of their hidden units no longer keeps them apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn.cells import CELLS
from rnnzoo.zoo_builder.rnn.functional import Weights, count_models
from rnnzoo.zoo_builder.rnn.spec import RNNSpec
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs, permute_units, split_biases

MOST_SWEEPS = 100


def interpolate(first: Weights, second: Weights, shares: Tensor | Sequence[float]) -> dict[str, Tensor]:
    """Models on the line between two others: first + share * (second - first).

    Args:
        first: Name -> [1, *shape], or [S, *shape] to begin S lines at models of their own.
        second: Likewise; where the lines end.
        shares: [S], 0 for the first and 1 for the second.

    Returns:
        Name -> [S, *shape].

    Raises:
        RnnzooError: The shapes of the parameters, or the numbers of models, do not fit.

    >>> ends = {"head.bias": torch.zeros(1, 2)}, {"head.bias": torch.ones(1, 2)}
    >>> interpolate(*ends, torch.tensor([0, 0.25, 1]))["head.bias"][:, 0]
    tensor([0.0000, 0.2500, 1.0000])
    """
    shares = torch.as_tensor(shares)
    if shares.dim() != 1:
        raise RnnzooError(f"shares: found shape {list(shares.shape)}, expected one axis")
    line: dict[str, Tensor] = {}
    for name in {**first, **second}:
        ends = [tuple(weights[name].shape) if name in weights else () for weights in (first, second)]
        if any(end[:1] not in ((1,), (len(shares),)) or end[1:] != ends[0][1:] for end in ends):
            raise RnnzooError(f"{name}: found shapes {ends}, expected the same of 1 or {len(shares)} models")
        begin, end = first[name], second[name].to(first[name])
        line[name] = torch.lerp(begin, end, _beside(shares.to(begin), begin))
    return line


def align(spec: RNNSpec, weights: Weights, reference: Weights) -> dict[str, Tensor]:
    """Copies of models with the same functions, near to others: their symmetries are made use of.

    Units are reordered by the weight matching of Ainsworth, Hayase & Srinivasa, *Git Re-Basin* (ICLR 2023,
    algorithm 1): layer by layer, units are assigned to those of the reference so that the sum of products of their
    weights is largest, until nothing changes. Where the cell has sign flips, units take the sign that fits better.
    Like every such descent it need not end at the nearest copy. Biases are split as in the reference.

    Args:
        spec: The architecture of all models.
        weights: Name -> [N, *shape].
        reference: Name -> [N, *shape], or [1, *shape] for one that all are aligned to.

    Returns:
        The aligned copies, name -> [N, *shape], without gradients.

    Raises:
        RnnzooError: Numbers of models or shapes do not fit, or a weight is not finite.
    """
    models, others = count_models(spec, weights), count_models(spec, reference, "reference")
    if others not in (1, models):
        expected = "1" if models == 1 else f"1 or {models}"
        raise RnnzooError(f"reference: found {others} models, expected {expected}")
    weights = {parameter.name: weights[parameter.name].detach() for parameter in spec.parameters}
    target = {name: reference[name].detach().to(one).expand(one.shape).double() for name, one in weights.items()}
    aligned: Weights = {name: tensor.double() for name, tensor in weights.items()}
    for whose, tensors in (("weights", aligned), ("reference", target)):
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise RnnzooError(f"{whose}: found values that are not finite")
    aligned = _matched(spec, _with_joined_biases(spec, aligned), _with_joined_biases(spec, target))
    for layer in range(spec.num_layers):
        (ours, _), (in_part, out_part) = (_biases(spec, one, layer) for one in (aligned, target))
        aligned = split_biases(spec, aligned, layer, (in_part - out_part - ours) / 2)
    return {name: tensor.to(weights[name]) for name, tensor in aligned.items()}


def _matched(spec: RNNSpec, weights: Weights, target: Weights) -> Weights:
    """The models with the units of each layer in the order, and with the signs, of those of the target."""
    layers = range(spec.num_layers)
    for layer in layers:  # at first by what does not depend on units that have no order yet
        weights = _match_layer(spec, weights, target, layer, range(layer))
    distances = _distances(weights, target)
    for _ in range(MOST_SWEEPS):
        before = distances
        for layer in layers:
            found = _match_layer(spec, weights, target, layer, layers)
            is_nearer = _distances(found, target) < distances
            weights = {
                name: torch.where(_beside(is_nearer, old), found[name], old) for name, old in weights.items()
            }
            distances = _distances(weights, target)
        if torch.equal(before, distances):
            break
    return weights


def _match_layer(spec: RNNSpec, weights: Weights, target: Weights, layer: int, ordered: range) -> Weights:
    """Reorder the units of one layer. ordered: the layers whose units have an order that counts."""
    from scipy.optimize import linear_sum_assignment

    even, odd = _similarities(spec, weights, target, layer, ordered)
    gains = (even + odd.abs()).cpu().numpy()
    orders = [torch.from_numpy(linear_sum_assignment(gain, maximize=True)[1]) for gain in gains]
    order = torch.stack(orders).to(even.device)
    matched = permute_units(spec, weights, layer, order)
    if not CELLS[spec.cell].odd_gates:
        return matched
    signs = torch.where(odd.gather(2, order.unsqueeze(2)).squeeze(2) < 0, -1.0, 1.0)
    return flip_signs(spec, matched, layer, signs)


def _similarities(
    spec: RNNSpec, weights: Weights, target: Weights, layer: int, ordered: range
) -> tuple[Tensor, Tensor]:
    """How alike unit i of the target and unit j of the models are, [N, H, H]: sums of products of their weights.

    First of the weights that keep their sign when a unit is flipped, second of those that change it.
    """
    cell, units, models = CELLS[spec.cell], spec.hidden_size, len(weights["head.bias"])
    even = weights["head.bias"].new_zeros(models, units, units)
    odd = torch.zeros_like(even)
    for parameter in spec.parameters:
        for dim, axis in enumerate(parameter.axes, start=1):
            beside = [other for place, other in enumerate(parameter.axes, start=1) if place != dim]
            if axis.layer != layer or any(
                other.kind == "hidden" and other.layer not in ordered for other in beside
            ):
                continue
            theirs, ours = (
                each[parameter.name].movedim(dim, 1).reshape(models, axis.gates, units, -1)
                for each in (target, weights)
            )
            products = theirs @ ours.transpose(2, 3)  # [N, gates, H, H]
            # What reads the units has no gates: it changes its sign with them, as an odd gate does.
            gates = cell.gates if axis.gates > 1 else cell.odd_gates[:1] or cell.gates[:1]
            for gate, of_gate in zip(gates, products.unbind(1), strict=True):
                (odd if gate in cell.odd_gates else even).add_(of_gate)
    return even, odd


def _with_joined_biases(spec: RNNSpec, weights: Weights) -> Weights:
    """The models with all of two biases in b_ih, in the gates that only see their sum."""
    for layer in range(spec.num_layers):
        weights = split_biases(spec, weights, layer, _biases(spec, weights, layer)[1])
    return weights


def _biases(spec: RNNSpec, weights: Weights, layer: int) -> tuple[Tensor, Tensor]:
    return weights[f"{spec.cell}.bias_ih_l{layer}"], weights[f"{spec.cell}.bias_hh_l{layer}"]


def _distances(weights: Weights, target: Weights) -> Tensor:
    """Squared Euclidean distances of N models, [N]."""
    return torch.stack([(weights[name] - target[name]).flatten(1).square().sum(1) for name in weights]).sum(0)


def _beside(values: Tensor, tensor: Tensor) -> Tensor:
    """Values [N] as a tensor that broadcasts with one of N models."""
    return values.reshape(-1, *[1] * (tensor.dim() - 1))

"""Random symmetry transforms of the weights: augmentation for encoders that do not have the symmetry."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, Weights
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs, permute_units

Augmentation = Literal["permutation", "permutation_and_sign"]


def check_augmentation(spec: RNNSpec, augmentation: Augmentation | None) -> None:
    """Check that an augmentation exists and that the cell has its symmetry.

    Args:
        spec: The RNNs'.
        augmentation: Its name; None for no augmentation.

    Raises:
        RnnzooError: There is no such augmentation, or the units of this cell have no sign flip.
    """
    if augmentation is not None and augmentation not in get_args(Augmentation):
        expected = ", ".join(repr(name) for name in get_args(Augmentation))
        raise RnnzooError(f"augment: found {augmentation!r}, expected {expected} or None")
    if augmentation == "permutation_and_sign" and not CELLS[spec.cell].odd_gates:
        raise RnnzooError(f"augment: found {augmentation!r}, but {spec.cell!r} admits no sign flip of its units")


def augment_units(
    spec: RNNSpec, weights: Weights, augmentation: Augmentation | None, shared: bool = False
) -> Weights:
    """Reorder (and flip) the hidden units of every layer at random, drawn anew for each of the N models.

    Draws come from torch's global generator, as in dropout. The RNNs' function stays the same.

    Args:
        spec: The RNNs'.
        weights: Name -> [N, *shape].
        augmentation: "permutation", or "permutation_and_sign" to flip units too; None leaves the weights as they
            are.
        shared: Whether all N models get the same draw.

    Returns:
        Name -> [N, *shape].
    """
    if augmentation is None:
        return weights
    bias = weights["head.bias"]
    for layer in range(spec.num_layers):
        draws = torch.rand(1 if shared else len(bias), spec.hidden_size, device=bias.device)
        draws = draws.expand(len(bias), -1)
        weights = permute_units(spec, weights, layer, draws.argsort(dim=1))
        if augmentation == "permutation_and_sign":
            signs = torch.randint_like(draws[:1] if shared else draws, 2) * 2 - 1
            weights = flip_signs(spec, weights, layer, signs.expand_as(draws).to(bias))
    return weights

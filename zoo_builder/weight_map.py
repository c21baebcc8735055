"""A map of weights: a point a checkpoint, by the two main components of its layers' statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def weight_map(
    shards: Iterable[Mapping[str, NDArray[np.float32]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The place of every checkpoint of some shards.

    Args:
        shards: The tensors of each, name -> [R, ...].

    Returns:
        Places [N, 2], nan for weights that are not finite; and the share of the variance of each component, [2].
    """
    features = np.concatenate([_statistics(tensors) for tensors in shards])
    finite = np.isfinite(features).all(axis=1)
    places = np.full((len(features), 2), np.nan)
    places[finite], shares = principal_components(features[finite])
    return places, shares


def principal_components(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardised features [N, F] to their two main components [N, 2], and the share of variance of each."""
    if not len(features):
        return np.zeros((0, 2)), np.zeros(2)
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    # Two rows of zeros change no component, and let even a single checkpoint have two.
    values, singular, _ = np.linalg.svd(np.pad(standard, ((0, 2), (0, 0))), full_matrices=False)
    values = values[: len(features)]
    shares = singular**2 / max((singular**2).sum(), np.finfo(float).tiny)
    return values[:, :2] * singular[:2], shares[:2]


def _statistics(tensors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean, standard deviation and quantiles of every tensor: [R, 7 * tensors], whatever the units' order."""
    found = []
    for tensor in tensors.values():
        values = tensor.reshape(len(tensor), -1)
        found += [values.mean(axis=1)[:, None], values.std(axis=1)[:, None]]
        found.append(np.quantile(values, QUANTILES, axis=1).T)
    return np.concatenate(found, axis=1).astype(np.float64)

"""How predictions are scored, by the kind of target.

Every score takes rows (truth [M] or [M, K], prediction, steps [M]) and, for resampling, weights [R, M]: how
often each row occurs in each of R replicates. A weighted score is the score of the repeated rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.tasks.target import Target, TargetKind

Array = NDArray[np.float64]
Weighted = dict[str, Array]
"""Name -> score in each of R replicates; the main score first. nan where a score has no value."""

_TAU_BLOCK = 1024
"""Rows of the concordance matrix held at once."""
LOWER_IS_BETTER = frozenset({"mean error (deg)", "beyond 90 deg"})

BOUNDS = {
    "mean error (deg)": (0.0, 180.0),
    "tau within a step": (-1.0, 1.0),
    "tau": (-1.0, 1.0),
    "R2": (-math.inf, 1.0),
}


def score(
    target: Target,
    truth: Array,
    prediction: Array,
    steps: Array,
    weights: Array | None = None,
    measured: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Scores of a target's predictions, the main one first; nan where one has no value.

    Args:
        target: Decides by its kind how they are scored.
        truth: [M], or [M, K] for "classes".
        prediction: Of the same shape.
        steps: Training steps of the rows, [M].
        weights: [R, M], how often each row occurs in each replicate; None for once each.
        measured: Rows of steps at which the target is measurable, [M]: "tau within a step" leaves out the others.
            None for all.

    Returns:
        Name -> float without weights, array [R] with them.
    """
    once = np.ones((1, len(truth))) if weights is None else weights
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _SCORES[target.kind](target, truth, prediction, steps, once)
        if target.kind == "number":
            used = np.ones(len(truth), bool) if measured is None else measured
            within = _tau_within_steps(truth[used], prediction[used], np.asarray(steps)[used], once[:, used])
            found = {"tau within a step": within, **found}
    return found if weights is not None else {name: float(values[0]) for name, values in found.items()}


def better(name: str) -> Literal["higher", "lower"]:
    """Whether higher or lower values of the score called `name` are better."""
    return "lower" if name in LOWER_IS_BETTER else "higher"


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the greatest value of the score called `name`: a share, unless it is one of `BOUNDS`."""
    return BOUNDS.get(name, (0.0, 1.0))


def _score_classes(target: Target, truth: Array, prediction: Array, steps: Array, weights: Array) -> Weighted:
    """Entries [M, K]: share of rows with all of them right; share of right entries; R2."""
    right = truth == prediction
    return {
        "exact task": _mean(right.all(axis=-1), weights),
        f"{target.entry} accuracy": _mean(right.mean(axis=-1), weights),
        "R2": r2(truth, prediction, weights),
    }


def _score_number(target: Target, truth: Array, prediction: Array, steps: Array, weights: Array) -> Weighted:
    """Kendall's tau; R2. `score` puts tau within a step first."""
    return {"tau": kendall_tau(truth, prediction, weights), "R2": r2(truth, prediction, weights)}


def _tau_within_steps(truth: Array, prediction: Array, steps: Array, weights: Array) -> Array:
    """Mean of Kendall's tau over steps whose truth varies: training time alone scores nothing.

    Where a prediction does not vary, tau is 0: whoever tells nothing apart at a step is not excused from it.
    """
    total, known = np.zeros(len(weights)), np.zeros(len(weights))
    for step in np.unique(steps):
        here = steps == step
        total += np.nan_to_num(kendall_tau(truth[here], prediction[here], weights[:, here]))
        known += _differing_pairs(truth[here], weights[:, here]) > 0
    return total / known


def _score_class(target: Target, truth: Array, prediction: Array, steps: Array, weights: Array) -> Weighted:
    """Share of right answers; Kendall's tau of the values."""
    return {"accuracy": _mean(truth == prediction, weights), "tau": kendall_tau(truth, prediction, weights)}


def _score_angle(target: Target, truth: Array, prediction: Array, steps: Array, weights: Array) -> Weighted:
    """Mean distance on the circle in degrees; share within 15 degrees; share beyond 90."""
    error = np.abs((prediction - truth + 180) % 360 - 180)
    return {
        "mean error (deg)": _mean(error, weights),
        "within 15 deg": _mean(error <= 15, weights),
        "beyond 90 deg": _mean(error > 90, weights),
    }


_SCORES: dict[TargetKind, Callable[[Target, Array, Array, Array, Array], Weighted]] = {
    "number": _score_number,
    "class": _score_class,
    "classes": _score_classes,
    "angle": _score_angle,
}


def kendall_tau(truth: Array, prediction: Array, weights: Array) -> Array:
    """Kendall's tau-b, the rank correlation of truth and prediction.

    tau = w'Cw / sqrt(w'|St|w  w'|Sp|w), where S_ij is the sign of the difference of rows i and j in truth (St) and
    prediction (Sp), and C is the product of St and Sp, entry by entry. Rows that agree in both are one row, which
    makes classes cheap.

    Args:
        truth: [M].
        prediction: [M].
        weights: [R, M], how often each row occurs in each replicate.

    Returns:
        tau from -1 to 1, [R]; nan where truth or prediction is constant.
    """
    if not len(truth):
        return np.full(len(weights), np.nan)
    pairs, where = np.unique(np.stack([truth, prediction], axis=1), axis=0, return_inverse=True)
    weights = _sum_groups(weights, where)
    first, second = pairs.T
    # Sums of products of small integers: float32 holds them exactly, and multiplies twice as fast.
    narrow = weights.astype(np.float32)
    concordance = np.zeros(len(weights))
    for start in range(0, len(pairs), _TAU_BLOCK):
        block = slice(start, start + _TAU_BLOCK)
        signs = np.sign(first[block, None] - first) * np.sign(second[block, None] - second)
        concordance += np.einsum("rm,rm->r", weights[:, block], narrow @ signs.T.astype(np.float32))
    differing = _differing_pairs(first, weights) * _differing_pairs(second, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(differing > 0, concordance / np.sqrt(differing), np.nan)


def r2(truth: Array, prediction: Array, weights: Array) -> Array:
    """Coefficient of determination.

    Args:
        truth: [M] or [M, K].
        prediction: Of the same shape.
        weights: [R, M], how often each row occurs in each replicate.

    Returns:
        The mean over the columns whose truth varies, [R]; nan where none does.
    """
    if not len(truth):
        return np.full(len(weights), np.nan)
    truth, prediction = truth.reshape(len(truth), -1), prediction.reshape(len(truth), -1)
    centred = truth - truth[0]
    squares = weights @ centred**2
    spread = squares - (weights @ centred) ** 2 / weights.sum(axis=1, keepdims=True)
    error = weights @ (truth - prediction) ** 2
    varying = spread > 1e-10 * squares  # the difference of two sums leaves rounding where a column is constant
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(varying, 1 - error / spread, 0).sum(axis=1) / varying.sum(axis=1)


def _mean(values: NDArray[Any], weights: Array) -> Array:
    """Mean [R] of values [M] over the rows of each replicate."""
    return (weights @ values.astype(np.float64)) / weights.sum(axis=1)


def _sum_groups(weights: Array, group: NDArray[np.integer[Any]]) -> Array:
    """Weights [R, M] summed over the rows of each group [M], groups numbered from 0: [R, G]."""
    order = np.argsort(group.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(group.reshape(-1)[order], prepend=-1))
    ordered = weights[:, order]
    return ordered if len(starts) == len(order) else np.add.reduceat(ordered, starts, axis=1)


def _differing_pairs(values: Array, weights: Array) -> Array:
    """Ordered pairs of rows with different values, w'|S|w: all pairs less those of one value."""
    groups = _sum_groups(weights, np.unique(values, return_inverse=True)[1])
    return weights.sum(axis=1) ** 2 - (groups**2).sum(axis=1)

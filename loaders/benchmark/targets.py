"""What the benchmark predicts from an embedding, and how a prediction is scored.

Every score takes rows (truth [M] or [M, K], prediction, steps [M]) and, for a bootstrap, weights [R, M]: how
often each row occurs in each of R replicates. A weighted score is the score of the repeated rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scores = dict[str, Any]
"""Name -> float without weights, Array [R] with; the main score first. nan where a score has no value."""

_TAU_BLOCK = 1024
"""Rows of the concordance matrix held at once."""


class Score(Protocol):
    def __call__(self, truth: Array, prediction: Array, steps: Array, weights: Array | None = None) -> Scores: ...


@dataclass(frozen=True)
class Target:
    """One thing to predict.

    column: of the metadata. kind: "number" (regression), "class" (classification; a column of lists is one
    class an entry) or "angle" (degrees; regression of sine and cosine).
    score: (truth, prediction, steps, weights) -> scores, the main one first. better: which way the main one goes.
    trained_only: leave out checkpoints at step 0, at which there is nothing to know of the task.
    """

    name: str
    column: str
    kind: Literal["number", "class", "angle"]
    score: Score
    better: Literal["higher", "lower"] = "higher"
    trained_only: bool = False


def _weighted(scores: Callable[[Array, Array, Array, Array], dict[str, Array]]) -> Score:
    """A score of weighted rows as one that also takes no weights, and then gives floats."""

    def score(truth: Array, prediction: Array, steps: Array, weights: Array | None = None) -> Scores:
        with np.errstate(invalid="ignore", divide="ignore"):
            if weights is not None:
                return scores(truth, prediction, steps, weights)
            found = scores(truth, prediction, steps, np.ones((1, len(truth))))
            return {name: float(values[0]) for name, values in found.items()}

    score.__doc__ = scores.__doc__
    return score


@_weighted
def score_offsets(truth: Array, prediction: Array, steps: Array, weights: Array) -> dict[str, Array]:
    """[M, 3] offsets: share of languages named exactly; share of single offsets; R2."""
    right = truth == prediction
    return {
        "exact task": _mean(right.all(axis=-1), weights),
        "offset accuracy": _mean(right.mean(axis=-1), weights),
        "R2": r2(truth, prediction, weights),
    }


@_weighted
def score_number(truth: Array, prediction: Array, steps: Array, weights: Array) -> dict[str, Array]:
    """Kendall's tau within a step (mean over steps), so that training time alone scores nothing; over all; R2."""
    total, known = np.zeros(len(weights)), np.zeros(len(weights))
    for step in np.unique(steps):
        here = steps == step
        tau = kendall_tau(truth[here], prediction[here], weights[:, here])
        total += np.nan_to_num(tau)
        known += np.isfinite(tau)
    return {
        "tau within a step": total / known,
        "tau": kendall_tau(truth, prediction, weights),
        "R2": r2(truth, prediction, weights),
    }


@_weighted
def score_class(truth: Array, prediction: Array, steps: Array, weights: Array) -> dict[str, Array]:
    """Share of right answers; Kendall's tau of the values."""
    return {"accuracy": _mean(truth == prediction, weights), "tau": kendall_tau(truth, prediction, weights)}


@_weighted
def score_angle(truth: Array, prediction: Array, steps: Array, weights: Array) -> dict[str, Array]:
    """Mean distance on the circle in degrees (90 by chance); share within 15 degrees; share beyond 90."""
    error = np.abs((prediction - truth + 180) % 360 - 180)
    return {
        "mean error (deg)": _mean(error, weights),
        "within 15 deg": _mean(error <= 15, weights),
        "beyond 90 deg": _mean(error > 90, weights),
    }


def kendall_tau(truth: Array, prediction: Array, weights: Array) -> Array:
    """Kendall's tau-b [R] of rows [M] that occur weights [R, M] times; nan where one side is constant.

    tau = w'Cw / sqrt(w'|St|w  w'|Sp|w), where S_ij is the sign of the difference of rows i and j in truth (St)
    and prediction (Sp), and C = St Sp. Rows that agree in both are one row, which makes classes cheap.
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
    """Coefficient of determination [R], mean over columns that vary; nan where none does."""
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


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("offsets", "offsets", "class", score_offsets, trained_only=True),
        Target("rotation", "rotation_degrees", "angle", score_angle, better="lower", trained_only=True),
        Target("accuracy", "accuracy", "number", score_number),
        Target("generalization_gap", "generalization_gap", "number", score_number),
        Target("step", "step", "class", score_class),
        Target("weight_decay", "weight_decay", "class", score_class, trained_only=True),
    )
}

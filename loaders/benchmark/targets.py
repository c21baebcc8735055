"""What the benchmark predicts from an embedding, and how a prediction is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Array = NDArray[np.float64]
Scores = dict[str, float]


@dataclass(frozen=True)
class Target:
    """One thing to predict.

    column: of the metadata. kind: "number" (ridge regression), "class" (logistic regression; a column of
    lists is one class an entry) or "angle" (degrees; ridge regression of sine and cosine).
    score: (truth, prediction, steps) -> scores, the main one first. better: which way the main score goes.
    trained_only: leave out checkpoints at step 0, at which there is nothing to know of the task.
    """

    name: str
    column: str
    kind: Literal["number", "class", "angle"]
    score: Callable[[Array, Array, Array], Scores]
    better: Literal["higher", "lower"] = "higher"
    trained_only: bool = False


def score_offsets(truth: Array, prediction: Array, steps: Array) -> Scores:
    """[M, 3] offsets: share of languages named exactly; share of single offsets; R2."""
    right = truth == prediction
    exact, single = float(right.all(axis=1).mean()), float(right.mean())
    return {"exact task": exact, "offset accuracy": single, "R2": r2(truth, prediction)}


def score_number(truth: Array, prediction: Array, steps: Array) -> Scores:
    """Kendall's tau within a step (mean over steps), so that training time alone scores nothing; over all; R2."""
    within = [kendall_tau(truth[steps == step], prediction[steps == step]) for step in np.unique(steps)]
    known = [value for value in within if np.isfinite(value)]
    return {
        "tau within a step": float(np.mean(known)) if known else float("nan"),
        "tau": kendall_tau(truth, prediction),
        "R2": r2(truth, prediction),
    }


def score_class(truth: Array, prediction: Array, steps: Array) -> Scores:
    """Share of right answers; Kendall's tau of the values."""
    return {"accuracy": float((truth == prediction).mean()), "tau": kendall_tau(truth, prediction)}


def score_angle(truth: Array, prediction: Array, steps: Array) -> Scores:
    """Mean distance on the circle in degrees (90 by chance); share within 15 degrees; share beyond 90."""
    error = np.abs((prediction - truth + 180) % 360 - 180)
    return {
        "mean error (deg)": float(error.mean()),
        "within 15 deg": float((error <= 15).mean()),
        "beyond 90 deg": float((error > 90).mean()),
    }


def kendall_tau(truth: Array, prediction: Array) -> float:
    """Kendall's tau-b; nan where one side is constant."""
    if len(np.unique(truth)) < 2 or len(np.unique(prediction)) < 2:
        return float("nan")
    return float(kendalltau(truth, prediction).statistic)


def r2(truth: Array, prediction: Array) -> float:
    """Coefficient of determination, mean over columns that vary; nan where none does."""
    truth, prediction = truth.reshape(len(truth), -1), prediction.reshape(len(truth), -1)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    error = ((truth - prediction) ** 2).sum(axis=0)
    varying = spread > 0
    return float((1 - error[varying] / spread[varying]).mean()) if varying.any() else float("nan")


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

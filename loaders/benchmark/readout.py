"""Linear readouts on a frozen embedding, with their one setting chosen on the validation split."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from loaders.benchmark.targets import Target

Array = NDArray[np.float64]
RIDGE_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LOGISTIC_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


class Predictor(Protocol):
    def predict(self, features: Array) -> Array: ...


def fit_readout(target: Target, train: tuple[Array, Array], validation: tuple[Array, Array]) -> Predictor:
    """Fit on train (features [M, E], truth [M] or [M, K]), choose on validation by the target's main score.

    Features are standardised by the training split's mean and deviation.
    """
    makers: dict[str, Callable[[], list[Predictor]]] = {
        "number": lambda: [_fit_ridge(*train, penalty) for penalty in RIDGE_PENALTIES],
        "angle": lambda: [_AngleReadout(*train, penalty) for penalty in RIDGE_PENALTIES],
        "class": lambda: [_ClassReadout(*train, strength) for strength in LOGISTIC_STRENGTHS],
    }
    candidates = makers[target.kind]()
    features, truth = validation
    if not len(truth):
        return candidates[len(candidates) // 2]
    # Chosen by squared error or misses, not by the main score: a rank correlation of a small split is too
    # coarse to choose by.
    return min(candidates, key=lambda readout: _distance(target, truth, readout.predict(features)))


def _distance(target: Target, truth: Array, prediction: Array) -> float:
    if target.kind == "class":
        return float((truth != prediction).mean())
    if target.kind == "angle":
        return float(np.mean(1 - np.cos(np.radians(truth - prediction))))
    return float(np.mean((truth - prediction) ** 2))


def _fit_ridge(features: Array, truth: Array, penalty: float) -> Any:
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(features, truth)


class _AngleReadout:
    """Ridge regression of (sine, cosine); predicts degrees in [0, 360)."""

    def __init__(self, features: Array, degrees: Array, penalty: float) -> None:
        angle = np.radians(degrees)
        self._ridge = _fit_ridge(features, np.stack([np.sin(angle), np.cos(angle)], axis=1), penalty)

    def predict(self, features: Array) -> Array:
        sine, cosine = self._ridge.predict(features).T
        return np.degrees(np.arctan2(sine, cosine)) % 360


class _ClassReadout:
    """Logistic regression, one for each column of the truth [M] or [M, K]."""

    def __init__(self, features: Array, truth: Array, strength: float) -> None:
        self._flat = truth.ndim == 1
        columns = truth.reshape(len(truth), -1).T
        self._models = [_LogisticReadout(features, column, strength) for column in columns]

    def predict(self, features: Array) -> Array:
        columns = [model.predict(features) for model in self._models]
        return columns[0] if self._flat else np.stack(columns, axis=1)


class _LogisticReadout:
    """Logistic regression of numbers that are names of classes; with one class, that class."""

    def __init__(self, features: Array, truth: Array, strength: float) -> None:
        self._classes, numbered = np.unique(truth, return_inverse=True)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
        with warnings.catch_warnings():
            # An early stop of the solver is one more regulariser here; the choice on validation judges it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model = model.fit(features, numbered) if len(self._classes) > 1 else None

    def predict(self, features: Array) -> Array:
        if self._model is None:
            return np.full(len(features), self._classes[0])
        return self._classes[self._model.predict(features)]

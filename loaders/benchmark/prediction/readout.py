"""Readouts on a frozen embedding: linear, a small MLP, boosted trees, the same for every encoder."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from rnnzoo.loaders.benchmark.prediction.heads import TargetHead
from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]
Fold = tuple[Array, Array]
"""Features [M, E] and truth [M] or [M, K]."""
RIDGE_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LOGISTIC_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1)
SMALL_TREES: dict[str, Any] = {"max_leaf_nodes": 8, "min_samples_leaf": 5}
"""A thousand rows feed no large trees; small ones fit in half the time."""
TREES_OF_NUMBERS, TREES_OF_CLASSES = 200, 100
MLP_DECAYS = (1e-3, 1e-1)
MLP_STEPS, MLP_WIDTH, MLP_BATCH = 600, 128, 256


class Predictor(Protocol):
    """A fitted readout."""

    def predict(self, features: Array) -> Array:
        """Features [M, E] to predictions [M] or [M, K], in the units of the truth."""
        ...


def fit_readout(
    name: str, target: Target, train: Fold, validation: Fold, seed: int = 0
) -> tuple[Predictor, float]:
    """Fit a readout on the training part, with its one setting chosen on the validation part.

    The setting is chosen by `distance` and not by the target's main score: a rank correlation of a small split is
    too coarse for that. Without validation rows the middle setting is taken.

    Args:
        name: A key of `READOUTS`.
        target: What is predicted.
        train: Features [M, E] and truth [M] or [M, K].
        validation: Likewise; it may have no rows.
        seed: For readouts that draw random numbers.

    Returns:
        The readout, and its distance on the validation part, or on the training part if there are no validation
        rows.
    """
    candidates = list(READOUTS[name](target, train, validation, seed))
    features, truth = validation if len(validation[1]) else train
    found = [distance(target, truth, candidate.predict(features)) for candidate in candidates]
    best = int(np.argmin(np.nan_to_num(found, nan=np.inf))) if len(validation[1]) else len(candidates) // 2
    return candidates[best], found[best]


def distance(target: Target, truth: Array, prediction: Array) -> float:
    """How far predictions are from the truth; what readouts and training steps are chosen by.

    Args:
        target: Decides by its kind how the distance is measured.
        truth: [M] or [M, K].
        prediction: Of the same shape.

    Returns:
        Share of wrong entries for classes, mean 1 - cos of the error for an angle, mean squared error for a
        number.
    """
    if target.kind in ("class", "classes"):
        return float((truth != prediction).mean())
    if target.kind == "angle":
        return float(np.mean(1 - np.cos(np.radians(truth - prediction))))
    return float(np.mean((truth - prediction) ** 2))


def _linear(target: Target, train: Fold, validation: Fold, seed: int) -> Iterator[Predictor]:
    """Ridge regression (an angle: of its sine and cosine), or logistic regression for each column."""
    features, truth = train
    if target.kind in ("class", "classes"):
        for strength in LOGISTIC_STRENGTHS:
            yield _PerColumn(truth, partial(_logistic, features, strength))
        return
    for penalty in RIDGE_PENALTIES:
        fit = partial(_ridge, features, penalty)
        yield _Angle(fit, truth) if target.kind == "angle" else fit(truth)


def _trees(target: Target, train: Fold, validation: Fold, seed: int) -> Iterator[Predictor]:
    """Histogram gradient-boosted trees for each column; of numbers that classes stand for, rounded to a class."""
    features, truth = train

    def regressor(column: Array) -> Any:
        return HistGradientBoostingRegressor(max_iter=TREES_OF_NUMBERS, random_state=seed, **SMALL_TREES).fit(
            features, column
        )

    if target.kind == "angle":
        yield _Angle(lambda values: _PerColumn(values, regressor), truth)
    elif target.kind == "classes":
        yield _Rounded(truth, regressor)
    elif target.kind == "class":
        yield _PerColumn(truth, partial(_boosted_classes, features, seed))
    else:
        yield _PerColumn(truth, regressor)


def _mlp(target: Target, train: Fold, validation: Fold, seed: int) -> Iterator[Predictor]:
    """Two ReLU layers of 128, at the step of its best validation, for two weight decays."""
    for decay in MLP_DECAYS:
        yield _MLP(target, train, validation, decay, seed)


def _identity(target: Target, train: Fold, validation: Fold, seed: int) -> Iterator[Predictor]:
    """The embedding is the prediction."""
    yield _Identity(train[1].ndim == 1)


FITTED = ("linear", "mlp", "trees")
"""The readouts of every encoder that does not give the answer itself."""
READOUTS: dict[str, Callable[[Target, Fold, Fold, int], Iterator[Predictor]]] = {
    "linear": _linear,
    "mlp": _mlp,
    "trees": _trees,
    "identity": _identity,
}


class _Identity:
    def __init__(self, flat: bool) -> None:
        self._flat = flat

    def predict(self, features: Array) -> Array:
        return features[:, 0] if self._flat else features


class _PerColumn:
    """One model for each column of the truth [M] or [M, K]; a column with one value needs none."""

    def __init__(self, truth: Array, fit: Callable[[Array], Any]) -> None:
        self._flat = truth.ndim == 1
        columns = truth.reshape(len(truth), -1).T
        self._models = [_Constant(column[0]) if (column == column[0]).all() else fit(column) for column in columns]

    def predict(self, features: Array) -> Array:
        columns = [model.predict(features) for model in self._models]
        return columns[0] if self._flat else np.stack(columns, axis=1)


class _Constant:
    def __init__(self, value: float) -> None:
        self._value = value

    def predict(self, features: Array) -> Array:
        return np.full(len(features), self._value)


class _Rounded(_PerColumn):
    """Regressions of classes that are numbers, brought to the nearest class of training."""

    def __init__(self, truth: Array, fit: Callable[[Array], Any]) -> None:
        super().__init__(truth, fit)
        self._classes = [np.unique(column) for column in truth.T]

    def predict(self, features: Array) -> Array:
        found = super().predict(features).T
        distances = (
            np.abs(column - classes[:, None]) for column, classes in zip(found, self._classes, strict=True)
        )
        nearest = (each.argmin(axis=0) for each in distances)
        return np.stack([classes[at] for classes, at in zip(self._classes, nearest, strict=True)], axis=1)


class _Angle:
    """A regression of (sine, cosine); predicts degrees in [0, 360)."""

    def __init__(self, fit: Callable[[Array], Any], degrees: Array) -> None:
        angle = np.radians(degrees)
        self._model = fit(np.stack([np.sin(angle), np.cos(angle)], axis=1))

    def predict(self, features: Array) -> Array:
        sine, cosine = self._model.predict(features).T
        return np.degrees(np.arctan2(sine, cosine)) % 360


def _ridge(features: Array, penalty: float, truth: Array) -> Any:
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty)).fit(features, truth)


def _boosted_classes(features: Array, seed: int, column: Array) -> Any:
    classes, numbered = np.unique(column, return_inverse=True)
    model = HistGradientBoostingClassifier(max_iter=TREES_OF_CLASSES, random_state=seed, **SMALL_TREES)
    return _Named(classes, model.fit(features, numbered))


def _logistic(features: Array, strength: float, column: Array) -> Any:
    classes, numbered = np.unique(column, return_inverse=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
    with warnings.catch_warnings():
        # An early stop of the solver is one more regulariser here; the choice on validation judges it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _Named(classes, model.fit(features, numbered))


class _Named:
    """A classifier of class numbers that predicts the classes themselves."""

    def __init__(self, classes: Array, model: Any) -> None:
        self._classes, self._model = classes, model

    def predict(self, features: Array) -> Array:
        return self._classes[self._model.predict(features)]


class _MLP:
    def __init__(self, target: Target, train: Fold, validation: Fold, decay: float, seed: int) -> None:
        self._scaler = StandardScaler().fit(train[0])
        self._head = TargetHead(target, train[1])
        self._target = target
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._fit(train, validation, decay)

    def _fit(self, train: Fold, validation: Fold, decay: float) -> None:
        features, encoded = self._inputs(train[0]), self._head.encode(train[1])
        self._network = nn.Sequential(
            nn.Linear(features.shape[1], MLP_WIDTH),
            nn.ReLU(),
            nn.Linear(MLP_WIDTH, MLP_WIDTH),
            nn.ReLU(),
            nn.Linear(MLP_WIDTH, self._head.width),
        )
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=3e-3, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, MLP_STEPS)
        best = (np.inf, self._network.state_dict())
        for step in range(1, MLP_STEPS + 1):
            drawn = torch.randint(len(features), (min(MLP_BATCH, len(features)),))
            optimizer.zero_grad(set_to_none=True)
            self._head.loss(self._network(features[drawn]), encoded[drawn]).backward()
            optimizer.step()
            schedule.step()
            if len(validation[1]) and step % 50 == 0:
                found = distance(self._target, validation[1], self.predict(validation[0]))
                if found < best[0]:
                    best = (found, copy.deepcopy(self._network.state_dict()))
        if len(validation[1]):
            self._network.load_state_dict(best[1])

    def _inputs(self, features: Array) -> torch.Tensor:
        return torch.from_numpy(self._scaler.transform(features)).float()

    def predict(self, features: Array) -> Array:
        with torch.no_grad():
            return self._head.predict(self._network(self._inputs(features)))

"""What scores can be at all: chance, ceiling, and the steps at which labels differ by more than their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.benchmark.prediction.scores import better, score
from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]
SIMULATIONS = 20
"""Sets of noisy labels that a ceiling is the mean of."""
ANGLES = np.arange(0.0, 360.0, 5.0)


def measurable(truth: Array, error: Array | None, steps: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows of steps at which a target can be measured: its true variance is at least that of its labels' errors.

    Args:
        truth: Labels, [M] or [M, K].
        error: Their standard errors, [M], nan where one is unknown; None for exact labels.
        steps: Training steps of the rows, [M].

    Returns:
        bool [M], the same within a step. The true variance is the observed one less the mean squared error.
    """
    found = np.ones(len(truth), bool)
    if error is not None:
        for step in np.unique(steps):
            here = steps == step
            variance = _mean_square(error[here])
            found[here] = truth[here].var() - variance >= variance
    return found


def ceiling(
    target: Target, truth: Array, error: Array | None, steps: NDArray[Any], seed: int = 0
) -> dict[str, float]:
    """What a perfect encoder scores, which knows the true values behind the labels.

    Args:
        target: What is predicted.
        truth: Labels, [M] or [M, K].
        error: Their standard errors, [M], nan where one is unknown; None for exact labels.
        steps: Training steps of the rows, [M].
        seed: For the simulated labels.

    Returns:
        Score -> value: the best there is for exact labels. Else the mean over labels that are simulated from true
        values by their errors. Labels of a step, drawn together until their variance is the true one, stand for
        true values.
    """
    if error is None:
        return score(target, truth, truth, steps)
    random = np.random.default_rng(seed)
    true, noise = truth.copy(), np.nan_to_num(error)
    for step in np.unique(steps):
        here = steps == step
        variance = truth[here].var()
        share = max(0.0, 1 - _mean_square(error[here]) / variance) if variance > 0 else 0.0
        true[here] = truth[here].mean() + np.sqrt(share) * (truth[here] - truth[here].mean())
    use = measurable(truth, error, steps)
    simulated = [
        score(target, true + noise * random.normal(size=len(true)), true, steps, measured=use)
        for _ in range(SIMULATIONS)
    ]
    return {name: float(np.mean([scores[name] for scores in simulated])) for name in simulated[0]}


def chance(
    target: Target, training: Array, truth: Array, steps: NDArray[Any], measured: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """What the same answer for all RNNs scores.

    Args:
        target: What is predicted.
        training: Labels of training rows, from which the answer is chosen, for each score the one that is best
        there.
        truth: Labels of the rows that are reported on, [M] or [M, K].
        steps: Their training steps, [M].
        measured: Rows at whose steps the target is measurable, [M]; None for all.

    Returns:
        Score -> value; Kendall's tau of one answer is 0.
    """
    answers = _answers(target, training)
    after = [score(target, truth, _constant(answer, truth), steps, measured=measured) for answer in answers]
    if len(answers) == 1:
        chosen = dict.fromkeys(after[0], 0)
    else:
        once = np.zeros(len(training))
        before = [score(target, training, _constant(answer, training), once) for answer in answers]
        chosen = {name: _best([scores[name] for scores in before], name) for name in before[0]}
    return {name: 0.0 if name.startswith("tau") else after[place][name] for name, place in chosen.items()}


def _best(values: list[float], name: str) -> int:
    """The place of the best value of a score; those that are nan come last."""
    found = np.array(values) if better(name) == "lower" else -np.array(values)
    return int(np.argmin(np.where(np.isnan(found), np.inf, found)))


def _answers(target: Target, training: Array) -> list[Any]:
    """Answers among which one is the best that does not look at an RNN."""
    if target.kind == "angle":
        return list(ANGLES)
    if target.kind == "number":
        return [training.mean()]
    values, counts = np.unique(training, axis=0, return_counts=True)
    answers = [values[counts.argmax()]]
    if target.kind == "classes":
        usual = []
        for column in training.T:
            entries, times = np.unique(column, return_counts=True)
            usual.append(entries[times.argmax()])
        answers += [np.array(usual), training.mean(axis=0)]
    return answers


def _constant(answer: Any, like: Array) -> Array:
    return np.broadcast_to(np.asarray(answer, dtype=np.float64), like.shape).copy()


def _mean_square(error: Array) -> float:
    """Mean of the squared errors that are known; 0 where none is."""
    known = error[np.isfinite(error)]
    return float((known**2).mean()) if len(known) else 0.0

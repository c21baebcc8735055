"""Scores of weighted rows are the scores of repeated rows, and Kendall's tau is scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from rnnzoo.loaders.benchmark.prediction.scores import better, kendall_tau, score
from rnnzoo.loaders.benchmark.results.content import as_stored
from rnnzoo.zoo_builder.tasks.target import Target

ROWS, REPLICATES = 40, 25
TARGETS = {kind: Target("mine", "mine", kind) for kind in ("number", "class", "classes", "angle")}


def rows(kind: str, seed: int = 0):
    """Truth and prediction of a kind of target with ties, steps, and multiplicities of rows in replicates."""
    random = np.random.default_rng(seed)
    steps = np.repeat([0, 100, 200, 500], ROWS // 4)
    truth = {
        "classes": random.integers(-3, 3, size=(ROWS, 3)).astype(float),
        "angle": random.uniform(0, 360, size=ROWS),
        "class": random.integers(0, 4, size=ROWS) * 0.01,
        "number": np.round(random.normal(size=ROWS), 1) + steps / 100,
    }[kind]
    wrong = random.permutation(truth)
    keep = random.random(ROWS) < 0.6
    prediction = np.where(keep[:, None] if truth.ndim == 2 else keep, truth, wrong)
    weights = random.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=REPLICATES).astype(float)
    return truth, prediction, steps, weights


@pytest.mark.parametrize("kind", TARGETS)
def test_weights_are_repetitions(kind):
    target = TARGETS[kind]
    truth, prediction, steps, weights = rows(kind)
    weighted = score(target, truth, prediction, steps, weights)
    for replicate, counts in enumerate(weights.astype(int)):
        repeated = np.repeat(np.arange(ROWS), counts)
        plain = score(target, truth[repeated], prediction[repeated], steps[repeated])
        assert list(plain) == list(weighted)
        for name, value in plain.items():
            assert isinstance(value, float)
            assert weighted[name][replicate] == pytest.approx(value, nan_ok=True), name


@pytest.mark.parametrize("kind", ["class", "number"])
def test_tau_is_that_of_scipy(kind):
    truth, prediction, _, weights = rows(kind, seed=1)
    found = kendall_tau(truth, prediction, weights)
    for tau, counts in zip(found, weights.astype(int), strict=True):
        expected = kendalltau(np.repeat(truth, counts), np.repeat(prediction, counts)).statistic
        assert tau == pytest.approx(expected)


def test_tau_of_many_rows_is_summed_in_blocks():
    random = np.random.default_rng(2)
    truth, prediction = random.normal(size=(2, 2500))
    tau = kendall_tau(truth, truth + prediction, np.ones((1, 2500)))
    assert tau[0] == pytest.approx(kendalltau(truth, truth + prediction).statistic)


@pytest.mark.parametrize("side", ["truth", "prediction"])
def test_tau_of_a_constant_has_no_value(side):
    values = {"truth": np.arange(4.0), "prediction": np.arange(4.0)}
    values[side] = np.full(4, 0.1)
    scores = score(TARGETS["number"], steps=np.zeros(4), **values)
    assert np.isnan(scores["tau"])
    # A constant prediction tells nothing apart, worth 0; where truth is constant, there is nothing to tell.
    assert scores["tau within a step"] == 0 if side == "prediction" else np.isnan(scores["tau within a step"])
    assert np.isnan(scores["R2"]) == (side == "truth")


def test_a_replicate_of_one_value_has_no_r2_and_no_tau():
    truth, prediction = np.array([0.1, 0.3, 0.3]), np.array([0.2, 0.3, 0.4])
    scores = score(TARGETS["number"], truth, prediction, np.zeros(3), np.array([[0.0, 2, 1], [1, 1, 1]]))
    for values in scores.values():
        assert np.isnan(values).tolist() == [True, False]


def test_a_score_of_no_rows_has_no_value():
    for target in TARGETS.values():
        empty = np.empty((0, 3)) if target.kind == "classes" else np.empty(0)
        assert all(np.isnan(value) for value in score(target, empty, empty, np.empty(0)).values())


@pytest.mark.parametrize("kind", TARGETS)
def test_the_truth_scores_better_than_a_guess(kind):
    truth, prediction, steps, _ = rows(kind)
    (name, right), *_ = score(TARGETS[kind], truth, truth, steps).items()
    wrong = score(TARGETS[kind], truth, prediction, steps)[name]
    assert (right > wrong) == (better(name) == "higher")


def test_the_scores_of_lists_are_called_as_their_entries():
    truth, prediction, steps, _ = rows("classes")
    target = Target("mine", "mine", "classes", entry="offset")
    assert list(score(target, truth, prediction, steps)) == ["exact task", "offset accuracy", "R2"]


def test_tau_within_a_step_is_the_mean_over_steps_that_have_one():
    steps = np.array([0, 0, 0, 1, 1, 1])
    truth = np.array([5.0, 5, 5, 1, 2, 3])
    scores = score(TARGETS["number"], truth, np.array([1.0, 2, 3, 1, 3, 2]), steps)
    assert scores["tau within a step"] == pytest.approx(1 / 3)


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-9, 0.1, 1.0, 250.0, 1e6]), tuples=st.booleans())
def test_predictions_that_only_differ_by_rounding_are_one(seed, scale, tuples):
    """Also where a rounded number would have another last digit."""
    random = np.random.default_rng(seed)
    kinds = random.choice(np.arange(1, 200), size=random.integers(1, 9), replace=False) / 200 * scale
    which = random.integers(len(kinds), size=(60, 3) if tuples else 60)
    exact = kinds[which]
    noisy = exact.astype(np.float32) * (1 + random.integers(-2, 3, exact.shape) * np.finfo(np.float32).eps)
    found = as_stored(noisy.astype(np.float64))
    assert found == pytest.approx(exact, rel=1e-5)
    for column, truth in zip(found.reshape(60, -1).T, which.reshape(60, -1).T, strict=True):
        assert len(np.unique(column)) == len(np.unique(truth))


@pytest.mark.parametrize("values", [np.arange(10**6, 10**6 + 50.0), np.linspace(0.5, 1, 5000), np.empty((0, 3))])
def test_predictions_that_differ_by_more_are_not(values):
    assert len(np.unique(as_stored(values))) == values.size
    assert as_stored(values).shape == values.shape


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_who_tells_nothing_apart_within_a_step_scores_nothing(noise):
    truth, _, steps, _ = rows("number")
    constant = 0.84953785 + steps / 1000 + noise * np.random.default_rng(0).choice([-1, 1], len(steps))
    assert score(TARGETS["number"], truth, as_stored(constant), steps)["tau within a step"] == 0

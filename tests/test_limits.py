"""Chance, ceiling, and what cannot be measured: against plain cases, and against simulations of whole zoos."""

import numpy as np
import pytest

from rnnzoo.loaders.benchmark.prediction.limits import ceiling, chance, measurable
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.zoo_builder.tasks.target import Target

NUMBER, ANGLE, CLASS, LISTS = (Target("mine", "mine", kind) for kind in ("number", "angle", "class", "classes"))
STEPS = np.repeat([0, 100, 2000], 400)


def noisy(spread, error, seed=0):
    """True values that differ by `spread` at the last step, and by 1 before, with labels that err by `error`."""
    random = np.random.default_rng(seed)
    true = random.normal(size=len(STEPS)) * np.where(STEPS == 2000, spread, 1.0)
    return true, true + random.normal(0, error, size=len(STEPS)), np.full(len(STEPS), error)


@pytest.mark.parametrize(("spread", "error", "found"), [(1, 0.3, True), (0.2, 0.1, True), (0.1, 0.2, False)])
def test_a_step_is_measurable_where_labels_differ_by_more_than_their_errors(spread, error, found):
    _, label, errors = noisy(spread, error)
    rows = measurable(label, errors, STEPS)
    assert rows[STEPS < 2000].all()
    assert (rows[STEPS == 2000] == found).all()
    assert measurable(label, None, STEPS).all()
    assert measurable(label, np.full(len(label), np.nan), STEPS).all()


def test_steps_that_are_not_measurable_do_not_count():
    true, label, errors = noisy(0.02, 0.2)
    within = score(NUMBER, label, true, STEPS, measured=measurable(label, errors, STEPS))["tau within a step"]
    early = STEPS < 2000
    assert within == score(NUMBER, label[early], true[early], STEPS[early])["tau within a step"]
    nowhere = score(NUMBER, label, true, STEPS, measured=np.zeros(len(label), bool))
    assert np.isnan(nowhere["tau within a step"])


@pytest.mark.parametrize("error", [0.1, 0.5, 0.9])
def test_the_ceiling_is_what_the_true_values_score(error):
    drawn = [noisy(1, error, seed) for seed in range(4)]
    expected = [score(NUMBER, label, true, STEPS) for true, label, _ in drawn]
    found = [ceiling(NUMBER, label, errors, STEPS) for _, label, errors in drawn]
    for name in ("tau within a step", "R2"):
        means = [np.mean([scores[name] for scores in sets]) for sets in (found, expected)]
        assert means[0] == pytest.approx(means[1], abs=0.04)
    assert found[0]["tau within a step"] < 0.97


def test_the_ceiling_of_exact_labels_is_perfect():
    angles = np.random.default_rng(0).uniform(0, 360, size=50)
    assert ceiling(ANGLE, angles, None, np.zeros(50))["mean error (deg)"] == 0
    assert ceiling(NUMBER, angles, None, np.zeros(50))["tau within a step"] == pytest.approx(1)


def test_a_constant_angle_errs_by_more_than_90_on_an_arc_left_out():
    training, arc, circle = np.linspace(-90, 90, 50) % 360, np.linspace(150, 210, 20), np.linspace(0, 359, 360)
    assert chance(ANGLE, training, arc, np.zeros(20))["mean error (deg)"] == pytest.approx(165, abs=3)
    assert chance(ANGLE, training, circle, np.zeros(360))["mean error (deg)"] == pytest.approx(90, abs=1)


def test_chance_is_the_usual_answer_of_training_and_tells_nothing_apart():
    training, truth = np.array([1.0, 1, 1, 2, 3]), np.array([1.0, 2, 2, 2])
    assert chance(CLASS, training, truth, np.zeros(4)) == {"accuracy": 0.25, "tau": 0}
    numbers = chance(NUMBER, training, truth, np.zeros(4))
    assert (numbers["tau within a step"], numbers["tau"]) == (0, 0)
    assert numbers["R2"] <= 0
    lists = np.array([[0.0, 1], [0, 2], [0, 2], [1, 3], [1, 3], [1, 3], [0, 2]])
    found = chance(LISTS, lists, lists, np.zeros(7))
    assert found["exact task"] == pytest.approx(3 / 7)
    assert found["entry accuracy"] == pytest.approx(1 / 2)
    assert found["R2"] == pytest.approx(0)

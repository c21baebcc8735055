"""The intervals of reports hold the truth as often as they say, lie within bounds and around the mean."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic_results import make_result, make_rows

from benchmarks.coverage import ICCS, SEED_SPREADS, SIZES, coverage
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.report.statistics import (
    UNBOUNDED,
    estimate,
    estimate_loss,
    estimate_mean,
    estimate_scores,
    leave_out,
    paired_difference,
)

BOUNDS = {"share": (0.0, 1.0), "tau": (-1.0, 1.0), "degrees": (0.0, 180.0), "R2": (-math.inf, 1.0)}


def of_tasks(values, bounds=(0.0, 1.0)):
    """The estimate of the mean of values [T, S], one run a task."""
    weights = leave_out(np.arange(len(values)))
    return estimate(weights @ values / weights.sum(axis=1, keepdims=True), bounds)


@pytest.mark.parametrize("icc", ICCS)
def test_intervals_hold_the_truth_as_often_as_they_say(icc):
    """Few runs a task or several, seeds that differ little or much, 150 benchmarks each; means and differences."""
    names = ("mean", "share .3", "difference of means", "difference of shares")
    sizes = [SIZES[name] for name in ("languages, small, test", "languages, paper")]
    kinds = list(itertools.product(sizes, SEED_SPREADS.values()))
    found = np.array([[coverage(name, size, icc, spread, 150)[0] for size, spread in kinds] for name in names])
    assert 0.93 <= found.mean() <= 0.97
    assert (np.abs(found.mean(axis=1) - 0.95) < 0.03).all(), found
    assert found.min() >= 0.88  # of 150, the share has a standard error of .02


@pytest.mark.parametrize("name", ["share .03", "share .1"])
def test_intervals_of_rare_successes_hold_the_truth(name):
    """Also where a few of few tasks make the score."""
    sizes = [SIZES["languages, paper, half of ood"], SIZES["languages, small, ood"]]
    found = [coverage(name, size, icc, 0.05, 150)[0] for size in sizes for icc in (0.3, 0.8)]
    assert min(found) >= 0.93


def test_one_success_more_tells_little_of_the_tasks():
    """One checkpoint of one task of 16 leaves the upper end near that of none."""
    values = np.zeros((16, 37))
    none = of_tasks(values.mean(axis=1, keepdims=True))
    values[3, 5] = 1
    one = of_tasks(values.mean(axis=1, keepdims=True))
    assert none.high / 2 < one.high < none.high
    assert 1 - of_tasks(1 - values.mean(axis=1, keepdims=True)).low == pytest.approx(one.high)
    assert paired_difference(one, none).low == pytest.approx(-none.high, rel=0.6)


def test_intervals_of_scores_that_are_no_means_hold_the_truth():
    for name in ("tau", "R2"):
        found = [coverage(name, SIZES["images, small, test"], icc, 0.5, 60)[0] for icc in (0, 0.8)]
        assert 0.91 <= np.mean(found) <= 0.98


@pytest.mark.parametrize("kind", BOUNDS)
@given(data=st.data())
def test_a_mean_lies_in_its_interval_and_the_interval_within_bounds(kind, data):
    low, high = BOUNDS[kind]
    shape = data.draw(st.tuples(st.integers(2, 12), st.integers(1, 5)))
    ends = (low if math.isfinite(low) else -1e6, high)
    values = st.floats(*ends) | st.sampled_from(ends)
    found = of_tasks(data.draw(arrays(float, shape, elements=values)), BOUNDS[kind])
    assert low <= found.low <= found.mean <= found.high <= high


@given(arrays(float, st.tuples(st.integers(2, 12), st.just(3)), elements=st.floats(0, 1)), st.data())
def test_a_difference_lies_in_its_interval_and_the_interval_within_bounds(ours, data):
    theirs = data.draw(arrays(float, (len(ours), 2), elements=st.floats(0, 1)))
    found = paired_difference(of_tasks(ours), of_tasks(theirs))
    assert -1 <= found.low <= found.mean <= found.high <= 1


def test_each_task_is_left_out_whole():
    rows = make_rows("formal_languages")
    target, split = rows.target("offsets"), rows.splits["ood"]
    result = make_result(rows, "probe_generator", "offsets", 0)
    found = estimate_scores([result], rows, target)["ood"]["R2"]
    used = split.covered(target)
    truth, tasks, steps = split.truth(target), np.array(split.task)[used], np.array(split.step)[used]
    prediction = np.array(result.predictions["ood"])
    plain = {}
    for task in np.unique(tasks):
        kept = tasks != task
        plain[task] = score(target, truth[kept], prediction[kept], steps[kept])["R2"]
    count = len(plain)
    expected = [count * result.scores["ood"]["R2"] - (count - 1) * value for value in plain.values()]
    np.testing.assert_allclose(found.table[:, 0], expected, atol=1e-5)
    assert found.mean == pytest.approx(result.scores["ood"]["R2"])


def test_runs_of_a_task_are_no_tasks_of_their_own():
    """Five runs of each task that all do the same tell no more than one."""
    values = np.random.default_rng(0).random((20, 1))
    weights = leave_out(np.repeat(np.arange(20), 5))
    repeated = estimate(weights @ np.repeat(values, 5, axis=0) / weights.sum(axis=1, keepdims=True), (0, 1))
    once = of_tasks(values)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))


def test_an_interval_of_means_without_bounds_is_that_of_student():
    values = np.random.default_rng(1).integers(0, 2, size=(40, 1)) + np.tile([0.0, 0.5], 20)[:, None]
    found = of_tasks(values, UNBOUNDED)
    assert found.table[:, 0] == pytest.approx(values[:, 0])
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    assert (found.high - found.low) / 2 == pytest.approx(2.02 * values.std(ddof=1) / np.sqrt(40), rel=0.02)


@pytest.mark.parametrize("tasks", [2, 3, 5, 8])
def test_intervals_of_few_tasks_hold_the_truth(tasks):
    drawn = np.random.default_rng(0).normal(size=(3000, tasks, 1))
    assert np.mean([found.low <= 0 <= found.high for found in (of_tasks(one, UNBOUNDED) for one in drawn)]) > 0.933


def test_seeds_that_differ_widen_an_interval():
    tasks = np.random.default_rng(2).normal(0.5, 0.05, size=(30, 1))
    even, spread = (of_tasks(tasks + shifts) for shifts in ([0, 0, 0], [-0.2, 0, 0.2]))
    assert even.mean == pytest.approx(spread.mean)
    assert even.high - even.low < 0.05
    assert spread.high - spread.low > 0.4


def test_a_seed_without_a_score_is_left_out():
    values = np.random.default_rng(3).random((10, 2))
    weights = leave_out(np.arange(10))
    scores = weights @ values / weights.sum(axis=1, keepdims=True)
    holed = np.insert(scores, 1, np.nan, axis=1)
    assert estimate(holed) == estimate(scores)
    assert estimate(np.full((11, 2), np.nan)) is None


def test_what_no_task_does_may_be_done_by_a_few():
    """None of 30 tasks: by the rule of three, up to some 10 % of all tasks may."""
    none, every = of_tasks(np.zeros((30, 5))), of_tasks(np.ones((30, 5)))
    assert (none.low, none.mean) == (0, 0)
    assert 0.05 < none.high < 0.15
    assert every.low == pytest.approx(1 - none.high)
    assert paired_difference(none, of_tasks(np.zeros((30, 1)))).high == pytest.approx(none.high)


def test_one_task_and_one_seed_have_no_interval():
    one = estimate(np.array([[0.3, 0.4], [np.nan, np.nan]]))
    assert one.mean == pytest.approx(0.35)
    assert np.isnan([one.low, one.high]).all()
    lonely = estimate_mean([None, 0.4])
    assert lonely.mean == 0.4
    assert np.isnan([lonely.low, lonely.high]).all()
    assert estimate_mean([None]) is None


def test_the_mean_of_seeds_has_the_interval_of_few():
    found = estimate_mean([0.04, 0.05, 0.06, 0.05, 0.05])
    assert found.mean == pytest.approx(0.05)
    ratio = math.exp(2.776 * np.std([0.04, 0.05, 0.06, 0.05, 0.05], ddof=1) / np.sqrt(5) / 0.05)
    assert (found.low, found.high) == pytest.approx((0.05 / ratio, 0.05 * ratio), rel=1e-3)
    assert estimate_mean([0.5, 0.5, 0.5]).low == 0.5


@pytest.mark.parametrize("losses", [[0.237, 0.333], [0.01, 0.05], [0.9, 1.0]])
def test_no_interval_of_losses_reaches_beyond_one(losses):
    found, unbounded = estimate_loss(losses), estimate_mean(losses)
    assert unbounded.high > 1 == found.high
    assert (found.mean, found.low) == (unbounded.mean, unbounded.low)
    assert estimate_loss([0.04, 0.05]) is not None
    assert estimate_loss([None]) is None


def test_differences_are_paired():
    random = np.random.default_rng(4)
    hardness = random.normal(0.5, 0.1, size=(30, 1))
    ours, theirs = (of_tasks(hardness + shift + random.normal(0, 0.01, size=(30, 3))) for shift in (0.03, 0))
    difference = paired_difference(ours, theirs)
    assert difference.mean == pytest.approx(ours.mean - theirs.mean)
    assert difference.low > 0
    assert ours.low < theirs.high
    assert (paired_difference(ours, ours).mean, paired_difference(ours, theirs).high < 0.06) == (0, True)

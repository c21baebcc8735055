"""Progress: positions add up to the same totals whatever is repeated, lost or done again."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_builds import tiny_config

from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.pipeline import ProgressTracker, ShardProgress, ZooPlan, build_zoo
from rnnzoo.zoo_builder.training.kernels import TorchKernel

STEPS = 100


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def at(step, resumed_from=0, shard="a", runs=2, **more):
    return ShardProgress(shard, runs, step, resumed_from, **more)


def stored(shard="a", runs=2, diverged=0, resumed_from=0):
    return at(STEPS, resumed_from, shard, runs, is_stored=True, diverged=diverged)


def tracked(*reports):
    tracker = ProgressTracker(4, STEPS)
    for report in reports:
        tracker.report(report)
    return tracker


@pytest.mark.parametrize(
    ("reports", "model_steps", "resumed", "runs"),
    [
        ([], 0, 0, 0),
        ([at(0)], 0, 0, 0),
        ([at(30, 30)], 60, 60, 0),
        ([at(30, 30), at(50, 30), at(50, 30)], 100, 60, 0),
        ([at(10), at(90), at(0)], 0, 0, 0),  # a worker died with nothing saved
        ([at(40, 40), at(90, 40), at(60, 60)], 120, 80, 0),  # another one goes on from what was saved
        ([at(40, 40), at(0, 0)], 0, 0, 0),  # the saved state was broken
        ([at(90), stored(), stored(), at(10)], 200, 0, 2),  # nothing more counts
        ([at(90), stored(), stored(resumed_from=STEPS)], 200, 0, 2),
        ([stored(resumed_from=STEPS), stored("b", 1, diverged=1)], 300, 200, 3),
    ],
)
def test_positions_add_up(reports, model_steps, resumed, runs):
    tracker = tracked(*reports)
    assert (tracker.model_steps, tracker.resumed, tracker.runs) == (model_steps, resumed, runs)
    assert tracker.trained == model_steps - resumed


positions = st.tuples(st.sampled_from("abc"), st.integers(0, STEPS), st.integers(0, STEPS), st.booleans())


@settings(deadline=None)
@given(st.lists(positions, max_size=30))
def test_no_count_is_negative_or_more_than_all(found):
    tracker = ProgressTracker(6, STEPS)
    for shard, one, other, is_last in found:
        low, high = sorted((one, other))
        tracker.report(stored(shard, resumed_from=low) if is_last else at(high, low, shard))
        assert 0 <= tracker.resumed <= tracker.model_steps <= tracker.total
        assert 0 <= tracker.runs <= 6
        assert tracker.rate is None or tracker.rate > 0
        assert tracker.seconds_left is None or tracker.seconds_left >= 0


def test_the_rate_is_that_of_this_build_and_of_the_last_minute():
    clock = Clock()
    tracker = ProgressTracker(2, 1000, clock)
    tracker.report(at(400, 400))
    assert tracker.rate is None
    assert tracker.seconds_left is None
    for second in range(1, 11):
        clock.now = 90 + second  # the first step came late, with a checkpoint to score
        tracker.report(at(400 + second, 400))
    assert tracker.rate == pytest.approx(2.0)  # of two runs
    assert tracker.seconds_left == pytest.approx((1000 - 410) * 2 / 2.0)
    for second in range(11, 111):
        clock.now = 90 + second
        tracker.report(at(410 + 5 * (second - 10), 400))
    assert tracker.rate == pytest.approx(10.0)


def test_the_rate_leaves_out_the_time_of_scoring():
    """Scoring images takes a minute and more: an early checkpoint would make days of an hour."""
    clock = Clock()
    tracker = ProgressTracker(2, 1000, clock)
    tracker.report(at(0))
    rates = []
    for step in range(1, 41):
        scored = step % 10 == 0
        clock.now += 90 if scored else 1
        tracker.report(at(step, accuracy=step / 1000 if step >= 10 else None))
        rates.append(tracker.rate)
    assert rates[0] is None
    assert rates[1:] == pytest.approx([2.0] * 39)


def test_what_diverged_and_the_last_accuracy():
    tracker = tracked(at(10, accuracy=0.25), at(50), stored(diverged=1), at(5, 0, "b"))
    assert tracker.diverged == 1
    assert (tracker.last.accuracy, tracker.last.step) == (0.25, 10)


def test_every_shard_is_reported_from_its_start_to_its_end(tmp_path):
    """The first report comes before anything is trained, the second after one step."""
    reports = []

    class Log(ProgressTracker):
        def report(self, progress):
            reports.append(progress)
            super().report(progress)

        def stop_requested(self):
            return False

    config = tiny_config(runs=3, runs_per_shard=3, steps=20, checkpoints=(0, 20))
    log = Log(3, 20)
    build_zoo(config, tmp_path / "zoo", TorchKernel(), log)
    for shard in ZooPlan(config, config.make_family()).shards:
        mine = [report for report in reports if report.shard == shard.name]
        assert {report.runs for report in mine} == {len(shard.runs)}
        steps = [report.step for report in mine]
        assert steps == sorted(steps)
        assert list(dict.fromkeys(steps)) == [0, 1, 11, 20]
        done = next(report for report in mine if report.is_stored)
        assert done.accuracy is not None
        assert done.resumed_from == 0
    assert (log.model_steps, log.runs, log.resumed) == (60, 3, 0)


def test_the_bar_shows_the_first_step_at_once(capsys):
    """Also in a file, where lines are rare."""
    with ProgressBar(2, STEPS) as bar:
        bar.report(at(0))
        bar.report(at(1))
        lines = re.split(r"[\r\n]+", capsys.readouterr().err)
        assert re.search(r"1%.*2\.00/200 model-steps \[00:00, runs 0/2\]", lines[-1])
        bar.report(at(2, accuracy=0.5))
        bar.report(stored(diverged=1))
        assert not bar.stop_requested()
        assert capsys.readouterr().err == ""
    assert "runs 2/2, 1 diverged, step 2, accuracy 0.500" in capsys.readouterr().err

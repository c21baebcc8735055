"""How builds are stopped: a signal is heeded within seconds, whatever the build is at."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tiny_builds import Watcher, build_command, start, tiny_config

from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan, locks
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.locks import FINISH, PLAN, locked
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.training import loop
from rnnzoo.zoo_builder.training.kernels import TorchKernel

PROGRAM = """
import hashlib, sys, time
from rnnzoo.zoo_builder.cli import stopping
stopping.PATIENCE_SECONDS = stopping.SECOND_SECONDS = 0.3
with stopping.StopRequests(lambda line: print(line, file=sys.stderr)) as stop:
    print("begun", flush=True)
    {work}
print("left")
"""
DEAF = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
SAVES = "\n    while not stop.requested(): time.sleep(0.01)\n    time.sleep(1)"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("work", "code", "said"), [(DEAF, 130, "goes on from the last saved state"), (SAVES, 0, "")]
)
def test_compiled_code_is_given_up_and_saving_is_waited_for(number, work, code, said):
    words = [sys.executable, "-c", PROGRAM.format(work=work)]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "begun\n"
    running.send_signal(number)
    began = time.monotonic()
    out, err = running.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert running.returncode == code
    assert "stopping at the next block of steps" in err
    assert said in err
    assert out == ("" if code else "left\n")


def test_slow_steps_are_taken_one_by_one_and_give_the_same_weights(monkeypatch):
    """A training can be stopped after any of them."""
    config = tiny_config(steps=15, checkpoints=(0, 15), runs=2)
    plan = ZooPlan(config, config.make_family())

    def train(seconds):
        monkeypatch.setattr(loop, "CALL_SECONDS", seconds)
        steps = []
        *_, last = loop.train_runs(
            TorchKernel(),
            plan.spec,
            plan.family,
            plan.runs,
            config.schedule,
            on_progress=lambda state: steps.append(state.step),
        )
        return steps, last.weights

    (quick, weights), (slow, same) = train(1e9), train(0.0)
    assert quick == [1, 11, 15]
    assert slow == list(range(1, 16))
    assert weights.equal(same)


SETTINGS = {"steps": 15, "checkpoints": (0, 15), "runs": 2, "runs_per_shard": 1}
SMALL = tiny_config(**SETTINGS)
HELD = r"waiting for the lock '{name}', held by process {process} on \S+ since \d{{4}}-\d\d-\d\d "


def build(folder, part, watcher=None):
    plan = ZooPlan(SMALL, SMALL.make_family())
    return build_plan(plan, folder, InProcess(TorchKernel(), save_every=60), watcher or Watcher(), Part(part, 2))


@pytest.fixture
def half_built(tmp_path):
    """The folder of a build whose first of two shards is built."""
    assert build(tmp_path / "zoo", 1) is None
    return tmp_path / "zoo"


LAST_SHARD = ZooPlan(SMALL, SMALL.make_family()).shards[1].name


@pytest.mark.parametrize("name", [PLAN, FINISH, LAST_SHARD])
def test_who_waits_for_a_lock_says_who_holds_it_and_is_stopped_at_once(name, half_built, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_command", lambda: "another command")

    class StopsWhenToldSo(Watcher):
        def stop_requested(self):
            return "waiting" in caplog.text

    with locked(half_built, name):
        monkeypatch.undo()
        with pytest.raises(Interrupted):
            build(half_built, 2, StopsWhenToldSo())
    assert re.search(HELD.format(name=name, process=os.getpid()), caplog.text)
    assert caplog.text.count("waiting") == 1
    assert build(half_built, 2).splits


@pytest.mark.parametrize(
    ("words", "work", "said"),
    [
        (["merge", "x", "--out", "y"], "cli.running.merge_and_finish", "; the same command goes on from"),
        (["push", "x", "org/zoo"], "release.push_release", "; the same command goes on from"),
        (["info", "x", "--json"], "overview.facts_of", ""),
        (["export", "x", "--out", "y"], "published.export_zoo", ""),
    ],
)
def test_only_what_goes_on_says_so(words, work, said, builder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"rnnzoo.zoo_builder.{work}", interrupted)
    code, _, err = builder(*words)
    assert code == 130
    last = err.splitlines()[-1]
    assert last.startswith(f"zoo-builder: stopped{said}")
    assert said or last == "zoo-builder: stopped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("build", signal.SIGINT, 130),
        ("build", signal.SIGTERM, 130),
        ("merge", signal.SIGINT, 130),
        ("merge", signal.SIGTERM, -signal.SIGTERM),
    ],
)
def test_a_command_that_waits_ends_at_once(command, number, code, half_built, tmp_path):
    words = build_command(half_built, **SETTINGS)
    if command == "merge":
        for part in (1, 2):
            build(tmp_path / f"{part}", part)
        words = [*words[:3], "merge", tmp_path / "1", tmp_path / "2", "--out", half_built]
    with locked(half_built, FINISH):
        waiting = start(words)
        assert any("waiting for the lock 'finish'" in line for line in waiting.stderr)
        began = time.monotonic()
        waiting.send_signal(number)
        _, said = waiting.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert waiting.returncode == code
    assert code < 0 or "goes on from" in said
    assert "from the last saved state" not in said or command == "merge"  # else its time to save ran out

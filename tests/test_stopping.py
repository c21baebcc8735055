"""How builds are stopped: a signal is heeded within seconds, whatever the build is at."""

import signal
import subprocess
import sys
import time

import pytest
from tiny_builds import tiny_config

from rnnzoo.zoo_builder.pipeline import ZooPlan
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

"""Builds by several processes: the bytes of a plain build, and a clear word when a worker fails."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_builds import Watcher, contents, tiny_config

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan, build_zoo
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.local.workers import Workers, _kernel_for
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel

CONFIG = tiny_config(runs=4, runs_per_shard=1)


@dataclass
class Trap(TorchKernel):
    """A kernel that does something bad: in the block that begins at `step`, if no file `once` is there yet."""

    what: str
    step: int
    once: Path | None = None

    def __post_init__(self):
        super().__init__()

    def train_steps(self, state, *arguments):
        if state.step == self.step and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            self.snap()
        return super().train_steps(state, *arguments)

    def snap(self):
        if self.what == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "request":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.what == "bug":
            raise ZeroDivisionError("nobody expected this")
        if self.what == "bad input":
            raise RnnzooError("images: found none, expected some")


def build(folder, watcher, kernel=None, count=2, config=CONFIG):
    plan = ZooPlan(config, config.make_family())
    return build_plan(plan, folder, Workers(count, kernel or TorchKernel(), save_every=0), watcher)


@pytest.fixture
def plain(undisturbed):
    return undisturbed(CONFIG)


def test_workers_give_the_bytes_of_a_plain_build_also_after_a_stop(plain, tmp_path, caplog):
    class StopsWhenSaved(Watcher):
        def stop_requested(self):
            return any((tmp_path / "zoo/.build").glob("*.state.safetensors"))

    with pytest.raises(Interrupted):
        build(tmp_path / "zoo", StopsWhenSaved())
    states = sorted((tmp_path / "zoo/.build").glob("*.state.safetensors"))
    states[0].write_bytes(b"nothing")
    watcher = Watcher()
    build(tmp_path / "zoo", watcher)
    assert "begins anew" in caplog.text  # the workers' warnings are heard
    assert (watcher.model_steps, watcher.runs) == (4 * CONFIG.steps, 4)
    assert contents(tmp_path / "zoo") == contents(plain)


@pytest.mark.slow
def test_images_reach_the_workers(tmp_path):
    config = tiny_config("sequential_digits", runs=3, runs_per_shard=1, steps=20, checkpoints=(0, 20))
    build_zoo(config, tmp_path / "plain", TorchKernel(), Watcher())
    build(tmp_path / "zoo", Watcher(), config=config)
    assert contents(tmp_path / "zoo") == contents(tmp_path / "plain")


@pytest.mark.parametrize(
    ("what", "words"),
    [("death", "killed by SIGKILL"), pytest.param("request", None, marks=pytest.mark.slow)],
)
def test_a_worker_that_ends_early_is_replaced_and_nothing_counts_twice(what, words, plain, tmp_path, caplog):
    watcher = Watcher()
    kernel = Trap(what, step=100, once=tmp_path / "snapped")
    build(tmp_path / "zoo", watcher, kernel)
    assert (tmp_path / "snapped").exists()
    assert (watcher.model_steps, watcher.runs) == (4 * CONFIG.steps, 4)
    assert words is None or words in caplog.text
    assert contents(tmp_path / "zoo") == contents(plain)


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_is_named_and_the_rest_is_saved(plain, tmp_path):
    with pytest.raises(RnnzooError, match=r"workers died 3 times at train-00000-of-0000\d, .*step 100, .*SIGKILL"):
        build(tmp_path / "zoo", Watcher(), Trap("death", step=100), count=1)
    watcher = Watcher()
    build_zoo(CONFIG, tmp_path / "zoo", TorchKernel(), watcher)
    assert watcher.resumed > 0
    assert contents(tmp_path / "zoo") == contents(plain)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("bad input", RnnzooError, "^images: found none, expected some$"),
        ("bug", RuntimeError, "ZeroDivisionError: nobody expected this"),
    ],
)
@pytest.mark.slow
def test_an_error_of_a_worker_is_that_of_the_build(what, error, words, tmp_path):
    with pytest.raises(error, match=words):
        build(tmp_path / "zoo", Watcher(), Trap(what, step=100), count=1)


def test_workers_share_cores_and_gpus():
    plan = ZooPlan(CONFIG, CONFIG.make_family())
    jobs = Workers(2, FusedCpuKernel(8), 0, threads=3)._jobs(plan, Path(), plan.shards)
    assert [job.kernel.threads for job in jobs] == [job.threads for job in jobs] == [3, 3]
    assert len(Workers(50, TorchKernel(), 0)._jobs(plan, Path(), plan.shards)) == len(plan.shards)
    assert str(_kernel_for(TorchKernel("cuda"), gpu=1, threads=1).device) == "cuda:1"

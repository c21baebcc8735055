"""What the tests of builds share: a zoo of seconds, observers, and the bytes of a folder."""

import subprocess
import sys

from rnnzoo.settings import setting_text
from rnnzoo.zoo_builder.pipeline import ProgressTracker
from rnnzoo.zoo_builder.zoos import resolve_config

TINY = {
    "runs": 7,
    "steps": 120,
    "checkpoints": (0, 50, 120),
    "batch_size": 2,
    "hidden_size": 4,
    "evaluation_items": 10,
    "sampled_strings": 20,
    "rollouts": 5,
    "runs_per_shard": 2,
}


class Watcher(ProgressTracker):
    """Checks and adds up what a build reports, and asks to stop after so many model-steps of its own, if any."""

    def __init__(self, stop_after=None):
        super().__init__(TINY["runs"], TINY["steps"])
        self.stop_after = stop_after

    def report(self, progress):
        assert 0 <= progress.resumed_from <= progress.step
        assert progress.accuracy is None or 0 <= progress.accuracy <= 1
        super().report(progress)

    def stop_requested(self):
        return self.stop_after is not None and self.trained >= self.stop_after


def tiny_config(zoo="formal_languages", **overrides):
    return resolve_config(zoo, "smoke", TINY | overrides)


def one_shard_at_a_time(monkeypatch):
    """Keep builds in this process from training shards side by side."""
    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.local.in_process.runs_that_fit", lambda *_: 1)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def build_command(out, *more, kernel="torch", **settings):
    """The command line that builds the tiny zoo."""
    command = [sys.executable, "-m", "rnnzoo.zoo_builder", "build", "formal_languages", "--out", str(out)]
    for name, value in (TINY | settings).items():
        text = setting_text(value)
        command += ["--set", f"{name}={text}"]
    return [*command, "--kernel", kernel, *more]


def start(command):
    """Start a build in the background, its words to be read from `stdout` and `stderr`."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

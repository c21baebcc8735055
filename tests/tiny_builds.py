"""What the tests of builds share: a zoo of seconds, observers, and the bytes of a folder."""

import subprocess
import sys

from rnnzoo.zoo_builder.zoos import resolve_config

TINY = {
    "runs": 7,
    "steps": 220,
    "checkpoints": (0, 50, 220),
    "batch_size": 2,
    "hidden_size": 4,
    "evaluation_items": 10,
    "sampled_strings": 20,
    "rollouts": 5,
    "runs_per_shard": 2,
}


class Watcher:
    """Counts what a build reports, and asks it to stop after some calls."""

    def __init__(self, stop_after=None):
        self.steps, self.before, self.runs, self.diverged = 0, 0, 0, 0
        self.calls, self.stop_after = 0, stop_after

    def steps_done(self, model_steps, before=False):
        self.steps += model_steps
        self.before += model_steps if before else 0

    def scored(self, step, accuracy):
        assert 0 <= accuracy <= 1

    def runs_done(self, runs, diverged):
        self.runs += runs
        self.diverged += diverged

    def stop_requested(self):
        self.calls += 1
        return self.calls == self.stop_after


def tiny_config(zoo="formal_languages", **overrides):
    return resolve_config(zoo, "smoke", TINY | overrides)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def build_command(out, *more, kernel="torch", **settings):
    """The command line that builds the tiny zoo."""
    command = [sys.executable, "-m", "rnnzoo.zoo_builder", "build", "formal_languages", "--out", str(out)]
    for name, value in (TINY | settings).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        command += [f"--{name.replace('_', '-')}", text]
    return [*command, "--kernel", kernel, *more]


def start(command):
    """Start a build in the background, its words to be read from `stdout` and `stderr`."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

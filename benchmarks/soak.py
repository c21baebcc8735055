"""Builds small zoos with several workers while it kills them at random, and checks what comes out.

    python -m benchmarks.soak --kills 100

Again and again a build is started, a random one of its processes, driver or worker, is killed by SIGKILL at a
random moment, and a build whose driver died is started again. Every zoo that gets finished must be sound, hold
each run once, and have the bytes of one that was built undisturbed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import is_alive, kill, workers_of
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.manifest import read_manifest, read_metadata
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

COMMAND = [sys.executable, "-m", "rnnzoo.zoo_builder"]
ZOO, PRESET = "formal_languages", "smoke"
FIELDS = {
    "runs": 24,
    "steps": 600,
    "batch_size": 8,
    "hidden_size": 16,
    "runs_per_shard": 2,
    "sampled_strings": 50,
    "rollouts": 10,
}
GAVE_UP = "times at"
"""In the words of a driver that ends because its workers died of one shard again and again."""
MOSTLY = 0.8
"""The share of kills that come when shards are under way; the others come at any moment, also in the start."""
LOOK_SECONDS = 0.1


@dataclass
class Tally:
    """What happened. lost, twice: runs that a finished zoo has too few, or too many; wrong: zoos that differ."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    replaced: int = 0
    gave_up: int = 0
    zoos: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    unsound: int = 0
    orphans: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.wrong or self.unsound or self.orphans)


class Soak:
    """kills: in all. longest: seconds to each of them, at most."""

    def __init__(self, kills: int, workers: int, longest: float, seed: int, home: Path) -> None:
        self._kills, self._longest, self._home = kills, longest, home
        self._chance = random.Random(seed)
        self._config = resolve_config(ZOO, PRESET, FIELDS)
        self._kernel = choose_kernel(self._config.spec, self._config.encoding, "cpu", threads=1)
        self._workers = workers
        self._seen: set[int] = set()
        self.tally = Tally()

    def run(self) -> Tally:
        """Build and kill until there were enough kills, and the last zoo is finished."""
        undisturbed = self._home / "undisturbed"
        build_zoo(self._config, undisturbed, self._kernel, Unwatched())
        expected = _bytes_of(undisturbed)
        while self.tally.kills.total() < self._kills:
            folder = self._home / f"zoo-{self.tally.zoos}"
            self._build(folder)
            self._check(folder, expected)
            shutil.rmtree(folder)
        self.tally.orphans = sum(map(_outlives, self._seen))
        return self.tally

    def _build(self, folder: Path) -> None:
        """Start builds in a folder, and kill, until one of them finishes the zoo."""
        errors = self._home / "errors"
        while not (folder / schema.MANIFEST).exists():
            with open(errors, "w", encoding="utf-8") as words:
                driver = subprocess.Popen(self._command(folder), stdout=subprocess.DEVNULL, stderr=words)
                self.tally.starts += 1
                self._disturb(driver, folder)
            said = errors.read_text()
            self.tally.replaced += said.count("another takes its place")
            if driver.returncode == 2 and GAVE_UP in said:
                self.tally.gave_up += 1
            elif driver.returncode not in (0, -signal.SIGKILL):
                raise RuntimeError(f"the build ended with exit code {driver.returncode}:\n{said}")

    def _disturb(self, driver: subprocess.Popen[bytes], folder: Path) -> None:
        """Kill at random moments, until the driver ends or is killed itself."""
        while driver.poll() is None:
            if self._chance.random() < MOSTLY:
                _wait_for_work(driver, folder)
            try:
                driver.wait(self._chance.uniform(0, self._longest))
            except subprocess.TimeoutExpired:
                if self.tally.kills.total() < self._kills:
                    self._kill(driver)

    def _kill(self, driver: subprocess.Popen[bytes]) -> None:
        workers = workers_of(driver.pid)
        self._seen |= set(workers)
        victim = self._chance.choice([driver.pid, *workers])
        if not kill(victim):
            return
        self.tally.kills["driver" if victim == driver.pid else "worker"] += 1
        if victim == driver.pid:
            driver.wait()

    def _command(self, folder: Path) -> list[str]:
        options = {
            "--preset": PRESET,
            "--out": folder,
            "--workers": self._workers,
            "--threads": 1,
            "--device": "cpu",
            "--save-every": 0.2,
        }
        pairs = [*options.items(), *(("--set", f"{name}={value}") for name, value in FIELDS.items())]
        return [*COMMAND, "build", ZOO, *(str(word) for pair in pairs for word in pair)]

    def _check(self, folder: Path, expected: dict[str, bytes]) -> None:
        tally = self.tally
        tally.zoos += 1
        lost, twice = _count_runs(folder, self._config)
        tally.lost += lost
        tally.twice += twice
        tally.unsound += not _is_sound(folder)
        tally.wrong += _bytes_of(folder) != expected


def _wait_for_work(driver: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until a worker saves something, or the driver ends."""
    before = _states(folder)
    while driver.poll() is None and _states(folder) == before:
        time.sleep(LOOK_SECONDS)


def _states(folder: Path) -> set[tuple[str, int]]:
    """The saved states of shards, each with what becomes another number when it is saved anew."""
    found = set()
    for path in (folder / schema.BUILD_FOLDER).glob("*.state.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # its shard was finished just now
            found.add((path.name, path.stat().st_ino))
    return found


def _outlives(pid: int) -> bool:
    """Whether a worker stays. One whose driver was killed may take a moment to save and end."""
    for _ in range(100):
        if not is_alive(pid):
            return False
        time.sleep(0.1)
    return True


def _count_runs(folder: Path, config: ZooConfig) -> tuple[int, int]:
    """Runs that are missing from a zoo, and runs that are in it too often."""
    counts = Counter(read_metadata(folder, read_manifest(folder))["run_id"].to_pylist())
    too_often = sum(count > len(config.checkpoints) for count in counts.values())
    whole = sum(count >= len(config.checkpoints) for count in counts.values())
    return config.runs - whole, too_often


def _is_sound(folder: Path) -> bool:
    command = [*COMMAND, "verify", str(folder), "--sample", "8", "--device", "cpu", "--threads", "1"]
    return subprocess.run(command, capture_output=True).returncode == 0


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def report(tally: Tally, workers: int, seconds: float) -> str:
    kills = tally.kills
    return (
        f"kills: {kills.total()} (of workers {kills['worker']}, of drivers {kills['driver']}), "
        f"{workers} workers at a time\n"
        f"starts of the command: {tally.starts}; workers replaced by their driver: {tally.replaced}; "
        f"drivers that gave up on a shard: {tally.gave_up}\n"
        f"zoos finished: {tally.zoos}; not sound: {tally.unsound}; with other bytes: {tally.wrong}\n"
        f"runs lost: {tally.lost}; runs counted twice: {tally.twice}; workers that outlived: {tally.orphans}\n"
        f"seconds: {seconds:.0f}"
    )


def main() -> None:
    """Soak, and print what happened; exits with 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest", type=float, default=3, help="seconds to a kill, at most (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    arguments = parser.parse_args()
    logging.getLogger("rnnzoo").setLevel(logging.ERROR)  # a small zoo has empty splits
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rnnzoo-soak-") as home:
        soak = Soak(arguments.kills, arguments.workers, arguments.longest, arguments.seed, Path(home))
        tally = soak.run()
    print(report(tally, arguments.workers, time.monotonic() - began))
    sys.exit(0 if tally.is_good else 1)


if __name__ == "__main__":
    main()

"""What a build of a million runs asks of those who join and read it, tried without training anything.

    python -m benchmarks.scale --runs 10000 100000 1000000 --out DIR

For every size the parts of a zoo are made, in several folders as by `build --part`, with the real writer, random
weights of a tiny network and metadata as real ones. Then the real `merge`, `info`, `load_zoo` and `Zoo` go over
them, each in a process of its own. A table tells the time and the most memory of each, and how they grow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.finish import finish_folder
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import is_built
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import RECORD_SUFFIX
from rnnzoo.zoo_builder.pipeline.shard.store import store_shard
from rnnzoo.zoo_builder.rollouts import Evaluation
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

PARTS = 4
COMMAND = [sys.executable, "-m", "rnnzoo.zoo_builder"]
OPENINGS = (
    "map-style",
    "map-style, all splits",
    "map-style, filtered",
    "map-style, with rollouts",
    "streaming",
    "streaming, filtered",
    "Zoo",
)
"""Of `benchmarks.opening`."""


@dataclass(frozen=True)
class Simulation:
    """One size of a zoo: its config, and the folder in which its folders are."""

    config: ZooConfig
    home: Path

    @property
    def zoo(self) -> Path:
        return self.home / "zoo"

    @property
    def parts(self) -> list[Path]:
        return [self.home / f"part-{number}" for number in range(1, PARTS + 1)]

    def plan(self) -> ZooPlan:
        return ZooPlan(self.config, self.config.make_family())


@dataclass(frozen=True)
class Measurement:
    """What a step took: seconds as it tells of itself, or else of its process; peak_bytes of its process."""

    step: str
    runs: int
    checkpoints: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def tiny_config(zoo: str, runs: int, checkpoints: int, runs_per_shard: int) -> ZooConfig:
    """A zoo of tiny networks with this many checkpoints a run."""
    steps = tuple(100 * number for number in range(checkpoints))
    overrides = {
        "runs": runs,
        "steps": max(steps[-1], 1),
        "checkpoints": (*steps[:-1], max(steps[-1], 1)),
        "hidden_size": 1,
        "rollouts": 1,
        "runs_per_shard": runs_per_shard,
    }
    return resolve_config(zoo, "smoke", overrides)


# --- what runs in a process of its own


def plan(simulation: Simulation) -> None:
    """Work out runs, splits and shards: what every process of a build does first."""
    config = simulation.config
    family = config.make_family()
    with _timed():
        ZooPlan(config, family).shards  # noqa: B018


def generate(simulation: Simulation) -> None:
    """Write every shard as a build would, only without training."""
    plan = simulation.plan()
    for number, folder in enumerate(simulation.parts, start=1):
        open_folder(simulation.config, folder)
        shards = Part(number, PARTS).choose(plan.shards)
        with patch("os.fsync"):  # these files need not outlive a power cut
            for shard in tqdm(shards, desc=folder.name, mininterval=10):
                if not is_built(folder, shard):
                    store_untrained(plan, folder, shard)


def finish(simulation: Simulation) -> None:
    """Join the metadata of all shards, in a folder that has nothing else."""
    folder = simulation.home / "finish"
    open_folder(simulation.config, folder)
    for part in simulation.parts:
        for pattern in ("*.parquet", f"*{RECORD_SUFFIX}"):
            for file in (part / schema.BUILD_FOLDER).glob(pattern):
                os.link(file, folder / schema.BUILD_FOLDER / file.name)
    plan = simulation.plan()
    plan.shards  # noqa: B018
    with _timed():
        manifest = finish_folder(plan, folder)
    if manifest is None:
        raise RnnzooError(f"{folder}: shards are missing")
    shutil.rmtree(folder)


STEPS: dict[str, Callable[[Simulation], None]] = {"plan": plan, "generate": generate, "finish": finish}


def store_untrained(plan: ZooPlan, folder: Path, shard: ShardPlan) -> None:
    """Store a shard with random weights and scores."""
    shard = replace(shard, runs=tuple(shard.runs))
    rng = np.random.default_rng(shard.runs[0].seed)
    count = len(shard.runs)
    kept, evaluations = {}, {}
    for step in plan.config.checkpoints:
        kept[step] = torch.from_numpy(rng.standard_normal((count, plan.spec.num_parameters), np.float32))
        evaluations[step] = _random_scores(plan, rng, count)
    store_shard(plan, folder, shard, TorchKernel(), kept, evaluations, slice(0, count))


def _random_scores(plan: ZooPlan, rng: np.random.Generator, count: int) -> Evaluation:
    names = ["accuracy", "train_loss", "eval_loss"]
    scores = {name: rng.random(count) for name in [*names, *(f"{name}_error" for name in names), "rollout_loss"]}
    for field in plan.family.score_columns:
        is_list = pa.types.is_fixed_size_list(field.type)
        scores[field.name] = rng.random((count, field.type.list_size) if is_list else count)
    strings = rng.integers(0, 6, (count, plan.config.rollouts, plan.family.items.shape[1]), np.uint8)
    return Evaluation(scores, strings if plan.family.generates else None)


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    """Tell `measured` what the block takes."""
    began, cpu_began = time.perf_counter(), time.process_time()
    yield
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}))


# --- the processes


def simulate(simulation: Simulation, zoo: str) -> Iterator[Measurement]:
    """Every step of a size, one after the other."""
    shutil.rmtree(simulation.home, ignore_errors=True)
    config = simulation.config
    me = [sys.executable, "-m", "benchmarks.scale", "--zoo", zoo, "--out", str(simulation.home.parent)]
    me += ["--runs", str(config.runs), "--checkpoints", str(len(config.checkpoints))]
    me += ["--runs-per-shard", str(config.runs_per_shard), "--step"]
    merge = [*COMMAND, "merge", *map(str, simulation.parts), "--out", str(simulation.zoo)]
    commands = {name: [*me, name] for name in STEPS} | {"merge": merge}
    commands["info"] = [*COMMAND, "info", str(simulation.zoo)]
    for way in OPENINGS:
        commands[way] = [sys.executable, "-m", "benchmarks.opening", str(simulation.zoo), "--way", way]
    for name, command in commands.items():
        yield Measurement(name, config.runs, config.runs * len(config.checkpoints), *measured(command))


def measured(command: list[str]) -> tuple[float, float, int]:
    """Seconds, those of the CPU, and most memory of a command.

    Seconds are those that it tells of in JSON on its last line, or else all of them.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        last = output.read().strip().rpartition("\n")[2]
    if process.returncode:
        raise RnnzooError(f"{' '.join(command)}: ended with exit code {process.returncode}")
    told = {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    if last.startswith("{"):
        told = json.loads(last)
    return told["seconds"], told["cpu_seconds"], usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table_of(measurements: list[Measurement]) -> str:
    """Steps below one another, sizes side by side: seconds, those of the CPU, and how often they grew; memory."""
    sizes = sorted({found.runs for found in measurements})
    lines = [f"{'':26}" + "".join(f"{f'{runs} runs':>42}" for runs in sizes)]
    for step in dict.fromkeys(found.step for found in measurements):
        line, before = f"{step:26}", None
        for found in sorted((each for each in measurements if each.step == step), key=lambda each: each.runs):
            grown = "" if before is None else f"x{found.cpu_seconds / max(before, 1e-3):.1f}"
            line += f"{found.seconds:10.2f} s ({found.cpu_seconds:8.2f} CPU {grown:>6})"
            line += f" {found.peak_bytes / 1e6:6.0f} MB"
            before = found.cpu_seconds
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Simulate some sizes, or one step of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", default="formal_languages", help="one of the named zoos")
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--checkpoints", type=int, default=1, help="of every run")
    parser.add_argument("--runs-per-shard", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True, help="folder for the zoos, which are left there")
    parser.add_argument("--step", choices=STEPS, help="this step alone, in this process")
    parser.add_argument("--json", type=Path, help="where the measurements go")
    arguments = parser.parse_args()
    found: list[Measurement] = []
    for runs in arguments.runs:
        config = tiny_config(arguments.zoo, runs, arguments.checkpoints, arguments.runs_per_shard)
        simulation = Simulation(config, arguments.out / f"{runs}-runs-{arguments.checkpoints}")
        if arguments.step:
            STEPS[arguments.step](simulation)
            return
        for measurement in simulate(simulation, arguments.zoo):
            found.append(measurement)
            print(json.dumps(asdict(measurement)), flush=True)
    print(table_of(found))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")


if __name__ == "__main__":
    main()

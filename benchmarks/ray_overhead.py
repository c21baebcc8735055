"""What Ray costs: the same builds with `--workers` and with `--ray` on this machine, in turns.

    python -m benchmarks.ray_overhead --shard-seconds 60 --rounds 3

Whole commands are timed, from start to exit. Each shard trains for about `--shard-seconds` in one thread, and
there are as many processes, or tasks at a time, as cores. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import available_cores
from rnnzoo.zoo_builder.training.loop import STEPS_PER_BLOCK, train_runs
from rnnzoo.zoo_builder.zoos import resolve_config

ZOO, RUNS_PER_SHARD = "formal_languages", 32
TRIAL_STEPS = 300


def steps_for(seconds: float) -> int:
    """Training steps that a shard takes about so long for, in one thread."""
    config = resolve_config(ZOO, "smoke", {"steps": TRIAL_STEPS, "checkpoints": (TRIAL_STEPS,)})
    plan = ZooPlan(config, config.make_family())
    kernel = choose_kernel(config.spec, config.encoding, "cpu", threads=1)
    began = time.perf_counter()
    for _ in train_runs(kernel, plan.spec, plan.family, plan.runs[:RUNS_PER_SHARD], config.schedule):
        pass
    blocks = seconds / (time.perf_counter() - began) * TRIAL_STEPS / STEPS_PER_BLOCK
    return max(1, round(blocks)) * STEPS_PER_BLOCK


def time_build(folder: Path, runs: int, steps: int, *options: str) -> float:
    """Seconds that the command takes."""
    command = [sys.executable, "-m", "rnnzoo.zoo_builder", "build", ZOO, "--out", str(folder), "--runs", str(runs)]
    command += ["--steps", str(steps), "--set", f"runs_per_shard={RUNS_PER_SHARD}", "--threads", "1", *options]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Build with both executors in turns, and print times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard-seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=256, help="32 make a shard")
    arguments = parser.parse_args()
    cores, steps = available_cores(), steps_for(arguments.shard_seconds)
    config = resolve_config(ZOO, "smoke", {"runs": arguments.runs, "runs_per_shard": RUNS_PER_SHARD})
    sizes = [len(shard.runs) for shard in ZooPlan(config, config.make_family()).shards]
    print(f"{len(sizes)} shards of {min(sizes)} to {max(sizes)} runs, {steps} steps; {cores} cores", flush=True)

    executors = {"--workers": ("--workers", str(cores)), "--ray": ("--ray", "local")}
    seconds: dict[str, list[float]] = {name: [] for name in executors}
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in sorted(executors, reverse=number % 2 == 1):
                seconds[name].append(time_build(Path(folder) / name, arguments.runs, steps, *executors[name]))
                print(f"  {name:10} {seconds[name][-1]:8.1f} s", flush=True)
            if len({str(read_manifest(Path(folder) / name).files) for name in executors}) > 1:
                sys.exit("the two builds differ, which they must not")
    ratios = np.array(seconds["--ray"]) / np.array(seconds["--workers"])
    print(f"--ray takes {np.median(ratios):.3f} times as long (median; {', '.join(f'{r:.3f}' for r in ratios)})")


if __name__ == "__main__":
    main()

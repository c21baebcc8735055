"""Builds of one zoo by one process and by several, in turns: how many times as fast.

    python -m benchmarks.workers formal_languages --preset small --workers 2 --turns 3

Each process has one thread. Times are those of whole builds, with the start of the workers, the scoring, and the
finish of the zoo, so a build should take a minute at least. All builds must give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.pipeline.build import Executor, build_plan
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.local.workers import Workers
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.schema import MANIFEST
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import resolve_config

SAVE_EVERY = 120


def time_build(plan: ZooPlan, executor: Executor, label: str) -> tuple[float, str]:
    """Build once; returns the seconds, and a hash of the manifest, which has those of all files."""
    with tempfile.TemporaryDirectory(prefix="rnnzoo-") as name:
        began = time.perf_counter()
        with ProgressBar(plan.config.runs, plan.config.steps, label) as bar:
            build_plan(plan, Path(name) / "zoo", executor, bar)
        seconds = time.perf_counter() - began
        return seconds, hashlib.sha256((Path(name) / "zoo" / MANIFEST).read_bytes()).hexdigest()


def main() -> None:
    """Build in turns, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--runs", type=int, help="default: the preset's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's IDX files")
    arguments = parser.parse_args()
    overrides = {} if arguments.runs is None else {"runs": arguments.runs}
    config = resolve_config(arguments.zoo, arguments.preset, overrides)
    plan = ZooPlan(config, config.make_family(arguments.mnist))
    kernel = choose_kernel(config.spec, config.encoding, "cpu", threads=1)
    torch.set_num_threads(1)

    several = Workers(arguments.workers, kernel, SAVE_EVERY, threads=1)
    executors: dict[int, Executor] = {1: InProcess(kernel, SAVE_EVERY), arguments.workers: several}
    print(f"{config.zoo}: {config.runs} runs of {config.steps} steps with kernel {kernel.name}, one thread each")
    ratios, hashes = [], set()
    for turn in range(arguments.turns):
        seconds = {}
        for count, executor in executors.items():
            seconds[count], found = time_build(plan, executor, f"turn {turn + 1}, {count} workers")
            hashes.add(found)
        ratios.append(seconds[1] / seconds[arguments.workers])
        shown = ", ".join(f"{count} workers {value:.1f} s" for count, value in seconds.items())
        print(f"  turn {turn + 1}: {shown}: {ratios[-1]:.3f} times", flush=True)
    print(f"  {arguments.workers} workers are {median(ratios):.3f} times as fast as one (median)")
    print(f"  all builds have the same bytes: {'yes' if len(hashes) == 1 else 'NO'}")


if __name__ == "__main__":
    main()

"""Whole builds, the published way of training against the fused kernel: time, where it goes, and accuracy.

    python -m benchmarks.build formal_languages --preset small
    python -m benchmarks.build sequential_mnist --preset small --runs 32 --mnist DIR
    python -m benchmarks.build formal_languages --fused-only      # where a build's time goes

Both builds train the same runs on the same data, score them and store them; only the kernel differs. (The
published way is `benchmarks.training.PublishedLoop`: one `nn.LSTM` at a time.)
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from benchmarks.training import PublishedLoop
from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.pipeline import build_zoo
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.manifest import read_metadata
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.training.kernels import Kernel, TrainState
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

Result = TypeVar("Result")


class TimedKernel:
    """A kernel that notes the seconds spent in training and in scoring."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.name, self.arithmetic = kernel.name, kernel.arithmetic
        self.seconds = {"training": 0.0, "scoring": 0.0}

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        arguments = (state, data, item_ids, learning_rates, weight_decays)
        return self._timed("training", lambda: self._kernel.train_steps(*arguments))

    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        return self._timed("scoring", lambda: self._kernel.score_items(spec, weights, data, item_ids))

    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        return self._timed("scoring", lambda: self._kernel.step_losses(spec, weights, data, item_ids))

    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        return self._timed("scoring", lambda: self._kernel.sample_strings(spec, weights, begin, uniforms))

    def _timed(self, what: str, work: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = work()
        self.seconds[what] += time.perf_counter() - began
        return result


def time_build(config: ZooConfig, kernel: Kernel, folder: Path, mnist: Path | None) -> dict[str, Any]:
    """Build once; returns seconds by what they went to, and the accuracies at the last step."""
    timed = TimedKernel(kernel)
    began = time.perf_counter()
    with ProgressBar(config.runs, config.steps, kernel.name) as bar:
        manifest = build_zoo(config, folder, timed, bar, mnist)
    total = time.perf_counter() - began
    table = read_metadata(folder, manifest)
    accuracies = table.filter(pc.equal(table["step"], config.steps))["accuracy"].to_pylist()
    rest = total - sum(timed.seconds.values())
    return {"seconds": {"total": total, **timed.seconds, "everything else": rest}, "accuracies": accuracies}


def main() -> None:
    """Build both ways, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--runs", type=int, help="default: the preset's")
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's IDX files")
    parser.add_argument("--published-threads", type=int, default=1, help="of the published way (default 1)")
    parser.add_argument("--fused-only", action="store_true", help="leave the published way out")
    parser.add_argument("--json", type=Path, help="where the times and accuracies go")
    arguments = parser.parse_args()
    overrides = {} if arguments.runs is None else {"runs": arguments.runs}
    config = resolve_config(arguments.zoo, arguments.preset, overrides)

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.fused_only:
            torch.set_num_threads(arguments.published_threads)
            results["published"] = time_build(config, PublishedLoop(), Path(folder) / "published", arguments.mnist)
        fused = FusedCpuKernel()
        fused.prepare(config.spec, config.encoding)
        results["fused"] = time_build(config, fused, Path(folder) / "fused", arguments.mnist)

    print(f"\n{config.zoo}, preset {config.preset}: {config.runs} runs of {config.steps} steps")
    for name, result in results.items():
        seconds, accuracies = result["seconds"], result["accuracies"]
        shares = ", ".join(f"{key} {value / seconds['total']:.1%}" for key, value in list(seconds.items())[1:])
        print(f"  {name:10} {seconds['total']:9.1f} s   {shares};  median accuracy {np.median(accuracies):.4f}")
    if not arguments.fused_only:
        ratio = results["published"]["seconds"]["total"] / results["fused"]["seconds"]["total"]
        test = ks_2samp(results["fused"]["accuracies"], results["published"]["accuracies"])
        print(f"  the fused build is {ratio:.1f} times as fast")
        print(f"  accuracies at the end, Kolmogorov-Smirnov: D = {test.statistic:.3f}, p = {test.pvalue:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

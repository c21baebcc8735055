"""How fast kernels train and score models of the paper's sizes on this machine, and whether their bits agree.

    python -m benchmarks.kernels                             # the fused kernels of this machine
    python -m benchmarks.kernels --models 264 1000 --steps 40 --items 60000

A line a kernel, zoo and number of models side by side; "zoo" is that speed for the 1000 runs, 20 000 steps and
9 times 60 000 images of the preset `paper`. Digests of weights and losses are equal where bits are.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.training.kernels import Kernel, TrainState
from rnnzoo.zoo_builder.training.kernels.cuda.kernel import FusedCudaKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.training.loop import run_data
from rnnzoo.zoo_builder.zoos import resolve_config

BATCH, RUNS, STEPS, SCORED = 32, 1000, 20_000, 9 * 60_000


class Problem:
    """N models of a named zoo at step 0, and items for each."""

    def __init__(self, zoo: str, models: int, mnist: Path | None) -> None:
        family, named = ZOOS[zoo]
        self.family = family.load(named.source, mnist)
        self.spec = resolve_config(zoo, "paper").spec
        self.tasks = self.family.tasks(models, 0)
        self.data = run_data(self.family, self.tasks)
        self.models = models

    def items(self, *shape: int) -> Tensor:
        """Of each model's training items, int32 [N, *shape]."""
        random = np.random.default_rng(0)
        drawn = [random.choice(self.family.training_items(task), shape) for task in self.tasks]
        return torch.from_numpy(np.stack(drawn).astype(np.int32))

    def train(self, kernel: Kernel, steps: int) -> tuple[float, str]:
        """Seconds, and a digest of the weights."""
        state = TrainState.initial(self.spec, list(range(self.models)))
        rates, decays = torch.full((self.models, steps), 0.01), torch.full((self.models,), 1e-4)
        ids = self.items(steps, BATCH)
        began = time.perf_counter()
        kernel.train_steps(state, self.data, ids, rates, decays)
        return time.perf_counter() - began, digest(state.weights)

    def score(self, kernel: Kernel, count: int) -> tuple[float, str]:
        """Seconds, and a digest of the losses."""
        weights, ids = TrainState.initial(self.spec, list(range(self.models))).weights, self.items(count)
        began = time.perf_counter()
        losses, _ = kernel.score_items(self.spec, weights, self.data, ids)
        return time.perf_counter() - began, digest(losses)


def digest(tensor: Tensor) -> str:
    """Some digits for the bits of a tensor."""
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:10]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[64])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--zoo", choices=ZOOS, nargs="+", default=["formal_languages", "sequential_mnist"])
    parser.add_argument("--mnist", type=Path, help="folder of the IDX files")
    chosen = parser.parse_args(arguments)
    kernels: list[Kernel] = [FusedCpuKernel()]
    if torch.cuda.is_available():
        kernels.append(FusedCudaKernel())
    for zoo in chosen.zoo:
        for models in chosen.models:
            problem = Problem(zoo, models, chosen.mnist)
            for kernel in kernels:
                problem.train(kernel, 1)  # compiles
                seconds, bits = problem.train(kernel, chosen.steps)
                share = seconds / chosen.steps
                print(
                    f"{zoo:18} {kernel.name:10} {models:5} models train {1000 * share:9.2f} ms a step, "
                    f"zoo {share / models * RUNS * STEPS:7.0f} s  {bits}"
                )
                seconds, bits = problem.score(kernel, chosen.items)
                share = seconds / models / chosen.items
                print(
                    f"{zoo:18} {kernel.name:10} {models:5} models score {1e6 * share:9.3f} us an item, "
                    f"zoo {share * RUNS * SCORED:7.0f} s  {bits}"
                )


if __name__ == "__main__":
    main()

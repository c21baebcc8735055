"""How fast this machine trains: the published way, our torch path, our fused kernels, and the machine's peaks; and
how fast the fused kernels score.

    python -m benchmarks.training                      # train steps, both kinds of task
    python -m benchmarks.training --json speed.json --repeats 9

Everything is timed in one run, the contestants in turn, and compared within a turn; medians are printed.
A model-step is one training step of one RNN. Images are MNIST where $RNNZOO_MNIST_DIR names its folder, else the
bundled digits: how many steps the fused kernel saves depends on what they show.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import machine
from rnnzoo.zoo_builder.rnn import CELLS, RNNModule, RNNSpec, unflatten_weights
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import find_mnist_folder
from rnnzoo.zoo_builder.training.kernels import Kernel, TorchKernel, TrainState
from rnnzoo.zoo_builder.training.kernels.base import BETA1, BETA2, EPSILON
from rnnzoo.zoo_builder.training.kernels.cuda.kernel import FusedCudaKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel, available_cores
from rnnzoo.zoo_builder.training.loop import draw_items, run_data

BATCH_SIZE = 32
PAPER_MODEL_STEPS = 1000 * 20_000
SCORED_MODELS, SCORED_ITEMS = 32, 2000
GEMM_SIZE = 2048
COPY_BYTES = 1 << 28
TURNS_OF_TWO_PROCESSES = 3
"""Starting two processes takes seconds, so only the first few turns do."""


class PublishedLoop(TorchKernel):
    """Trains as the published scripts do: one `nn.LSTM` after the other, autograd, `torch.optim.AdamW`.

    Written anew for comparison; it draws the same data as every other kernel.
    """

    def __init__(self) -> None:
        super().__init__("cpu")
        self.name = "published-loop"

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """See `Kernel.train_steps`."""
        losses = torch.empty(learning_rates.shape)
        for n in range(len(state.weights)):
            module = RNNModule.of_weights(unflatten_weights(state.spec, state.weights[n]))
            optimiser = self._optimiser(module, state, n, float(weight_decays[n]))
            one_run = data.of_runs(n, n + 1)
            for step in range(item_ids.shape[1]):
                batch = one_run.batch(item_ids[n : n + 1, step])
                logits, _ = module(batch.inputs[0])
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets[0].flatten())
                optimiser.param_groups[0]["lr"] = float(learning_rates[n, step])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses[n, step] = loss.detach()
            state.weights[n] = torch.cat([p.detach().flatten() for p in module.parameters()])
            for name, moment in (("exp_avg", state.first_moment), ("exp_avg_sq", state.second_moment)):
                moment[n] = torch.cat([optimiser.state[p][name].flatten() for p in module.parameters()])
        state.step += item_ids.shape[1]
        return losses

    @staticmethod
    def _optimiser(module: RNNModule, state: TrainState, n: int, weight_decay: float) -> torch.optim.AdamW:
        optimiser = torch.optim.AdamW(
            module.parameters(), lr=1.0, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=weight_decay
        )
        first, second = (unflatten_weights(state.spec, m[n]) for m in (state.first_moment, state.second_moment))
        for name, parameter in module.named_parameters():
            optimiser.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": first[name].clone(),
                "exp_avg_sq": second[name].clone(),
            }
        return optimiser


class Bench:
    """A family's RNNs of the paper's size, ready to be trained by any kernel."""

    def __init__(self, family: TaskFamily[Any], cell: str = "lstm") -> None:
        self.family = family
        self.spec = RNNSpec(family.encoding.input_size, 32, family.output_size, cell=cell)
        self.steps = run_data(family, []).steps

    @property
    def flops(self) -> float:
        """Matrix work of a model-step: forward, and twice that backward."""
        hidden, inputs = self.spec.hidden_size, self.spec.input_size
        widths = [inputs + hidden] + [2 * hidden] * (self.spec.num_layers - 1)
        per_position = len(CELLS[self.spec.cell].gates) * hidden * sum(widths) + hidden * self.spec.output_size
        return 3 * 2 * BATCH_SIZE * self.steps * per_position

    def batches(self, models: int, steps: int) -> tuple[Data, Tensor]:
        """What `models` runs read: their data, and item ids int32 [N, S, B]."""
        tasks = self.family.tasks(models, 0)
        pools = [self.family.training_items(task) for task in tasks]
        ids = np.stack([draw_items(seed, pool, 0, BATCH_SIZE)[:steps] for seed, pool in enumerate(pools)])
        return run_data(self.family, tasks), torch.from_numpy(ids)

    def share_of_nodes(self) -> float:
        """Which share of the B * T steps the fused kernel computes: see docs/arithmetic.md."""
        data, ids = self.batches(models=16, steps=4)
        nodes = [
            count_nodes(batch.numpy(), self.steps, self.spec.input_size, next_token=data.labels is None)
            for step in range(ids.shape[1])
            for batch in data.raw(ids[:, step])
        ]
        return float(np.mean(nodes)) / (BATCH_SIZE * self.steps)

    def milliseconds(self, kernel: Kernel, models: int, steps: int) -> float:
        """Time of one model-step."""
        data, ids = self.batches(models, steps)
        state = TrainState.initial(self.spec, list(range(models)))
        rates, decays = torch.full((models, steps), 0.003), torch.full((models,), 1e-4)
        began = time.perf_counter()
        kernel.train_steps(state, data, ids, rates, decays)
        return (time.perf_counter() - began) * 1e3 / (models * steps)

    def score_microseconds(self, kernel: Kernel) -> float:
        """Time in which an item is scored."""
        weights = TrainState.initial(self.spec, list(range(SCORED_MODELS))).weights
        data, _ = self.batches(SCORED_MODELS, 1)
        ids = torch.arange(SCORED_ITEMS, dtype=torch.int32).remainder(len(data.items)).repeat(SCORED_MODELS, 1)
        began = time.perf_counter()
        kernel.score_items(self.spec, weights, data, ids)
        return (time.perf_counter() - began) * 1e6 / ids.numel()


def count_nodes(items: NDArray[np.uint8], steps: int, inputs: int, next_token: bool) -> int:
    """Nodes of one batch: its distinct rows, sorted, in groups of 16, each from where it splits off."""
    read = items[:, :steps] if next_token else np.pad(items, ((0, 0), (inputs, 0)))
    rows = np.unique(read, axis=0).reshape(-1, steps, read.shape[1] // steps)
    groups = [rows[first : first + 16] for first in range(0, len(rows), 16)]
    shared = [(group[1:] != group[:-1]).any(axis=2).argmax(axis=1).sum() for group in groups]
    return len(rows) * steps - int(sum(shared))


def families() -> dict[str, TaskFamily[Any]]:
    """Both kinds of task."""
    source = "digits" if find_mnist_folder() is None else "mnist"
    return {
        "formal_languages": FormalLanguages.load(None),
        "sequential_images": SequentialImages.load(source),
    }


def gemm_gflops(threads: int) -> float:
    """float32 matrix product, the most this machine computes, in GFLOP/s."""
    torch.set_num_threads(threads)
    a, b = torch.rand(GEMM_SIZE, GEMM_SIZE), torch.rand(GEMM_SIZE, GEMM_SIZE)
    return 2 * GEMM_SIZE**3 / _best_seconds(lambda: a @ b) / 1e9


def copy_gigabytes(threads: int) -> float:
    """Memory copied, read and write counted, in GB/s."""
    torch.set_num_threads(threads)
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / _best_seconds(lambda: target.copy_(source)) / 1e9


def _best_seconds(work: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def published_milliseconds(bench: Bench, threads: int, steps: int) -> float:
    """The published way in one process with this many threads."""
    torch.set_num_threads(threads)
    return bench.milliseconds(PublishedLoop(), 1, steps)


def _side_by_side(name: str, cell: str, steps: int, start: Any, results: Any) -> None:
    torch.set_num_threads(1)
    bench = Bench(families()[name], cell)
    bench.milliseconds(PublishedLoop(), 1, 5)
    start.wait()
    results.put(bench.milliseconds(PublishedLoop(), 1, steps))


def two_processes_milliseconds(name: str, cell: str, steps: int) -> float:
    """The published way in two processes side by side: time of a model-step between them."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_side_by_side, args=(name, cell, steps, start, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    times = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return sum(times) / 4


def run_family(name: str, bench: Bench, repeats: int, steps: int, cores: int) -> dict[str, Any]:
    """Time all contestants on one kind of task; every value is a list with one entry a turn."""
    turns: dict[str, list[float]] = {}
    scoring: dict[str, list[float]] = {}

    def note(contestant: str, milliseconds: float) -> None:
        turns.setdefault(contestant, []).append(milliseconds)

    def note_scoring(kernel: Kernel) -> None:
        scoring.setdefault(kernel.name, []).append(bench.score_microseconds(kernel))

    for turn in range(repeats + 1):  # the first turn warms up and is dropped
        for threads in sorted({1, cores}):
            note(f"published, {threads} threads", published_milliseconds(bench, threads, steps))
            note(f"torch, {threads} threads", bench.milliseconds(TorchKernel(), 2, steps))
            note(f"fused, {threads} threads", bench.milliseconds(FusedCpuKernel(threads), 8 * cores, steps))
            note(f"sgemm GFLOP/s, {threads} threads", gemm_gflops(threads))
        if cores > 1 and turn <= TURNS_OF_TWO_PROCESSES:
            note("published, 2 processes", two_processes_milliseconds(name, bench.spec.cell, steps))
        if torch.cuda.is_available():
            note("cuda, 1000 models", bench.milliseconds(TorchKernel("cuda"), 1000, min(steps, 20)))
            fused = FusedCudaKernel()
            fused.prepare(bench.spec, bench.family.encoding)
            note("cuda fused, 1000 models", bench.milliseconds(fused, 1000, steps))
            note_scoring(fused)
        note_scoring(FusedCpuKernel(cores))
    turns, scoring = ({key: values[1:] for key, values in each.items()} for each in (turns, scoring))
    return {"flops": bench.flops, "share": bench.share_of_nodes(), "turns": turns, "scoring": scoring}


def print_family(name: str, result: dict[str, Any], cores: int) -> None:
    """A table of medians, with ratios to the published way at its best thread setting."""
    turns, flops = result["turns"], result["flops"]
    middle = {key: median(values) for key, values in turns.items()}
    single_processes = [key for key in middle if key.startswith("published") and "threads" in key]
    published = min(single_processes, key=middle.__getitem__)
    print(f"\n{name}: {flops / 1e6:.0f} MFLOP a model-step, {result['share']:.0%} of them for the fused kernel")
    header = f"  {'':24}{'ms':>9}{'steps/s':>10}{'ratio':>8}{'of sgemm':>10}{'paper preset':>15}"
    print(header)
    for key, milliseconds in middle.items():
        if key.startswith("sgemm"):
            continue
        ratio = median(a / b for a, b in zip(turns[published], turns[key], strict=False))
        used = 1 if key.endswith(", 1 threads") else cores
        peak = middle[f"sgemm GFLOP/s, {used} threads"]
        computed = flops * (result["share"] if key.startswith("fused") else 1)
        share = "" if key.startswith("cuda") else f"{computed / (milliseconds * 1e6) / peak:.0%}"
        hours = f"{PAPER_MODEL_STEPS * milliseconds / 3.6e6:.1f} h"
        print(f"  {key:24}{milliseconds:>9.3f}{1e3 / milliseconds:>10.0f}{ratio:>7.1f}x{share:>10}{hours:>15}")
    print(f"  ratio: to '{published}', turn by turn")
    for kernel, microseconds in result["scoring"].items():
        print(f"  {kernel} scores an item in {median(microseconds):.3f} us")


def main() -> None:
    """Time, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["formal_languages", "sequential_images"], help="default: both")
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm", help="default: lstm")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--steps", type=int, default=100, help="training steps a turn, at most 100 (default)")
    parser.add_argument("--json", type=Path, help="where the times go")
    arguments = parser.parse_args()
    if not 1 <= arguments.steps <= 100 or arguments.repeats < 1:
        parser.error("--steps: expected 1 to 100; --repeats: expected at least 1")

    cores = available_cores()
    used = machine() | {"copy GB/s": round(copy_gigabytes(cores), 1)}
    print(", ".join(f"{key} {value}" for key, value in used.items()))
    results = {}
    for name, family in families().items():
        if arguments.family in (None, name):
            bench = Bench(family, arguments.cell)
            results[name] = run_family(name, bench, arguments.repeats, arguments.steps, cores)
            print_family(name, results[name], cores)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": used, "results": results}, indent=1) + "\n")
        print(f"\ntimes: {arguments.json}")


if __name__ == "__main__":
    main()

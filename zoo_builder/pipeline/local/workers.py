"""Builds with several processes on one machine: a driver, and workers that take shard after shard.

Workers are apart from each other by claims alone, as builds started by hand would be, so any of them may die at
any moment: the driver puts another in its place, which goes on from the last saved state. When the driver dies,
its workers notice, save and end.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.local.worker import STOP, Listener, Order, work
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted, Observer
from rnnzoo.zoo_builder.training.kernels import Kernel, TorchKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel, available_cores

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""How often workers may die of the same shards, without saving progress in between."""
LOOK_SECONDS = 0.2
START = "start"


@dataclass(frozen=True)
class Workers:
    """The way to build with `count` processes.

    kernel: that of a plain build; workers get their like, on GPUs in turn where it runs on one. threads: of a
    worker; None shares the cores among them. save_every: seconds between two saves.
    """

    count: int
    kernel: Kernel
    save_every: float
    threads: int | None = None

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Way`. Raises RnnzooError when a worker does, or when workers die of one shard again and again."""
        if shards:
            orders = self._orders(ZooPlan(plan.config, plan.family), folder, shards)
            _Crew(orders, observer).run()

    def _orders(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan]) -> list[Order]:
        count = min(self.count, len(shards))
        threads = self.threads or max(1, available_cores() // count)
        names = frozenset(shard.name for shard in shards)
        gpus = torch.cuda.device_count() if _on_gpu(self.kernel) else count
        return [
            Order(
                plan,
                folder,
                names,
                _kernel_for(self.kernel, number % gpus, threads),
                threads,
                self.save_every,
                pieces=count if _on_gpu(self.kernel) else 4 * count,  # a GPU trains many runs as fast as few
                on_device=-(-count // gpus),
            )
            for number in range(count)
        ]


def _on_gpu(kernel: Kernel) -> bool:
    return isinstance(kernel, TorchKernel) and kernel.device.type == "cuda"


def _kernel_for(kernel: Kernel, gpu: int, threads: int) -> Kernel:
    if isinstance(kernel, FusedCpuKernel):
        return FusedCpuKernel(threads)
    return TorchKernel(f"cuda:{gpu}") if _on_gpu(kernel) else kernel


class _Worker:
    """A worker as the driver sees it. Its methods are called by what it says: see `Listener`."""

    def __init__(self, order: Order, observer: Observer, deaths: _Deaths) -> None:
        self.order = order
        self.shards: Sequence[str] = ()
        self.step = 0
        self.outcome = "died"
        self.message = ""
        self._observer, self._deaths = observer, deaths
        self._unstored = {True: 0, False: 0}  # model-steps told of, of shards that are not stored: before or now
        context = multiprocessing.get_context("spawn")  # a forked process can use neither CUDA nor torch's threads
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs,), daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Only now that it listens: a pipe does not hold an order with images, and others are to start too."""
        with contextlib.suppress(OSError):
            self.pipe.send(self.order)

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        self._unstored[before] += model_steps
        self._observer.steps_done(model_steps, before)

    def scored(self, step: int, accuracy: float) -> None:
        self._observer.scored(step, accuracy)

    def runs_done(self, runs: int, diverged: int) -> None:
        stored = runs * self.order.plan.config.steps
        earlier = min(stored, self._unstored[True])
        self._unstored[True] -= earlier
        self._unstored[False] -= stored - earlier
        self._observer.runs_done(runs, diverged)

    def begins(self, shards: Sequence[str], step: int) -> None:
        self.shards, self.step = shards, step
        self._deaths.began()

    def warns(self, logger: str, level: int, message: str) -> None:
        logging.getLogger(logger).log(level, "%s", message)

    def ended(self) -> None:
        self.outcome = "ended"

    def stopped(self) -> None:
        self.outcome = "stopped"

    def failed(self, message: str) -> None:
        self.outcome, self.message = "failed", message

    def crashed(self, trace: str) -> None:
        self.outcome, self.message = "crashed", trace

    def hear(self) -> bool:
        """Take one thing that it says; False when it will say no more."""
        try:
            what, arguments = self.pipe.recv()
        except (EOFError, OSError):
            return False
        listener: Listener = self
        getattr(listener, what)(*arguments)
        return True

    def ask_to_stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(STOP)

    def part_with(self) -> str:
        """See it end, and count what it left unstored as not done; returns how it ended."""
        self._process.join()
        self.pipe.close()
        for before, model_steps in self._unstored.items():
            if model_steps:
                self._observer.steps_done(-model_steps, before)
        code = self._process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class _Deaths:
    """How often workers have died where they did with nothing saved in between: see `MOST_DEATHS`."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # shard -> the step it stood at, and how often that was

    def began(self) -> None:
        """A worker has got beyond its start."""
        self._seen.pop(START, None)

    def count(self, shards: Sequence[str], step: int) -> int:
        """Count a death at these shards, begun at this step."""
        for shard in shards:
            seen, times = self._seen.get(shard, (step, 0))
            self._seen[shard] = (step, times + 1 if seen == step else 1)
        return max(self._seen[shard][1] for shard in shards)


class _Crew:
    """The workers of a build, kept at their number until the work is done."""

    def __init__(self, orders: Sequence[Order], observer: Observer) -> None:
        self._observer = observer
        self._stopping = self._interrupted = False
        self._error: Exception | None = None
        self._deaths = _Deaths()
        self._workers: list[_Worker] = []
        self._orders = orders

    def run(self) -> None:
        try:
            for order in self._orders:
                self._start(order)
            while self._workers:
                self._listen()
        finally:
            for worker in self._workers:
                worker.kill()
        if self._error is not None:
            raise self._error
        if self._interrupted:
            raise Interrupted

    def _start(self, order: Order) -> None:
        self._workers.append(_Worker(order, self._observer, self._deaths))

    def _listen(self) -> None:
        talking = wait([worker.pipe for worker in self._workers], LOOK_SECONDS)
        for worker in [worker for worker in self._workers if worker.pipe in talking]:
            if not worker.hear():
                self._workers.remove(worker)
                self._settle(worker)
        if not self._stopping and self._observer.stop_requested():
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.ask_to_stop()

    def _fail(self, error: Exception) -> None:
        """Keep the first error for the end, and have the others save and stop."""
        self._error = self._error or error
        self._stop()

    def _settle(self, worker: _Worker) -> None:
        """What becomes of the work of one that has ended, in whatever way."""
        how = worker.part_with()
        if worker.outcome == "failed":
            self._fail(RnnzooError(worker.message))
        elif worker.outcome == "crashed":
            self._fail(RuntimeError(f"a worker failed:\n{worker.message}"))
        elif worker.outcome != "ended" and self._stopping:
            self._interrupted = True
        elif worker.outcome == "stopped":  # somebody asked this one alone
            self._start(worker.order)
        elif worker.outcome == "died":
            self._replace(worker, how)

    def _replace(self, worker: _Worker, how: str) -> None:
        shards = worker.shards or [START]
        where = f"{', '.join(shards)}, step {worker.step}"
        if self._deaths.count(shards, worker.step) < MOST_DEATHS:
            log.warning("a worker died (%s) at %s; another takes its place", how, where)
            self._start(worker.order)
            return
        died = f"workers died {MOST_DEATHS} times at {where}, the last one {how}"
        question = f"is there memory for {len(self._orders)} workers (--workers)?"
        self._fail(RnnzooError(f"{worker.order.folder}: {died}; expected them to get on: {question}"))


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that begin here never see Ctrl-C, which goes to all of a terminal: the driver tells them."""
    resource_tracker.ensure_running()  # the first start of this helper would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

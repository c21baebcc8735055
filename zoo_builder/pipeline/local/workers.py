"""Builds with several processes on one machine: a driver, and workers that take shard after shard.

Only locks keep workers apart from each other, as they would builds started by hand, so any of them may die at any
moment: the driver puts another in its place, which goes on from the last saved state. When the driver dies, its
workers notice, save and end.
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

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.pipeline.local.messages import (
    Ended,
    Job,
    LogMessage,
    Outcome,
    Ready,
    StopRequest,
    ToDriver,
)
from rnnzoo.zoo_builder.pipeline.local.worker import work
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, Observer, ShardProgress
from rnnzoo.zoo_builder.training.kernels import Kernel, TorchKernel
from rnnzoo.zoo_builder.training.kernels.cuda.kernel import FusedCudaKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel, available_cores

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""How often workers may die of the same shards, without saving progress in between."""
LOOK_SECONDS = 0.2
START = "start"


@dataclass(frozen=True)
class Workers:
    """The executor that works in `count` processes.

    Attributes:
        count: How many processes.
        kernel: That of a build in this process; workers get their like, on GPUs in turn where it runs on one.
        save_every: Seconds between two saves.
        threads: CPU threads of a worker; None shares the cores among them.
    """

    count: int
    kernel: Kernel
    save_every: float
    threads: int | None = None

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Executor`. Raises RnnzooError when a worker does, or when workers die of one shard repeatedly."""
        if shards:
            _Crew(self._jobs(ZooPlan(plan.config, plan.family), folder, shards), observer).run()

    def _jobs(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan]) -> list[Job]:
        count = min(self.count, len(shards))
        threads = self.threads or max(1, available_cores() // count)
        names = frozenset(shard.name for shard in shards)
        gpus = torch.cuda.device_count() if _on_gpu(self.kernel) else count
        return [
            Job(
                plan,
                folder,
                names,
                _kernel_for(self.kernel, number % gpus, threads),
                threads,
                self.save_every,
                groups=count if _on_gpu(self.kernel) else 4 * count,  # a GPU trains many runs as fast as few
                sharing=-(-count // gpus),
            )
            for number in range(count)
        ]


def _on_gpu(kernel: Kernel) -> bool:
    return isinstance(kernel, TorchKernel | FusedCudaKernel) and kernel.device.type == "cuda"


def _kernel_for(kernel: Kernel, gpu: int, threads: int) -> Kernel:
    if isinstance(kernel, FusedCpuKernel):
        return FusedCpuKernel(threads)
    if isinstance(kernel, FusedCudaKernel):
        return FusedCudaKernel(f"cuda:{gpu}", threads)
    return TorchKernel(f"cuda:{gpu}") if _on_gpu(kernel) else kernel


class _Worker:
    """A worker as the driver sees it.

    Attributes:
        job: What it is to do.
        shards: Where those stand that it has begun and not yet stored.
        ended: Its last words; None from one that died.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.shards: dict[str, ShardProgress] = {}
        self.ended: Ended | None = None
        context = multiprocessing.get_context("spawn")  # a forked process can use neither CUDA nor torch's threads
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs,), daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()

    def receive(self) -> ToDriver | None:
        """One message; None when there will be no more."""
        try:
            message: ToDriver = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return message

    def send(self, message: Job | StopRequest) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def note(self, progress: ShardProgress) -> None:
        self.shards[progress.shard] = progress
        if progress.is_stored:
            del self.shards[progress.shard]

    def join(self) -> str:
        """See it end; returns how it ended."""
        self._process.join()
        self.pipe.close()
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

    def count(self, steps: dict[str, int]) -> int:
        """Count a death at these shards. steps: the one that each shard was resumed from."""
        for shard, step in steps.items():
            seen, times = self._seen.get(shard, (step, 0))
            self._seen[shard] = (step, times + 1 if seen == step else 1)
        return max(self._seen[shard][1] for shard in steps)


class _Crew:
    """The workers of a build, kept at their number until the work is done."""

    def __init__(self, jobs: Sequence[Job], observer: Observer) -> None:
        self._jobs, self._observer = jobs, observer
        self._stopping = self._interrupted = False
        self._error: Exception | None = None
        self._deaths = _Deaths()
        self._workers: list[_Worker] = []

    def run(self) -> None:
        try:
            for job in self._jobs:
                self._workers.append(_Worker(job))
            while self._workers:
                self._listen()
        finally:
            for worker in self._workers:
                worker.kill()
        if self._error is not None:
            raise self._error
        if self._interrupted:
            raise Interrupted

    def _listen(self) -> None:
        talking = wait([worker.pipe for worker in self._workers], LOOK_SECONDS)
        for worker in [worker for worker in self._workers if worker.pipe in talking]:
            message = worker.receive()
            if message is None:
                self._workers.remove(worker)
                self._settle(worker)
            else:
                self._take(worker, message)
        if not self._stopping and self._observer.stop_requested():
            self._stop()

    def _take(self, worker: _Worker, message: ToDriver) -> None:
        match message:
            case Ready():  # only now: a pipe does not hold a job with images, and others are to start too
                worker.send(worker.job)
            case ShardProgress():
                self._deaths.began()
                worker.note(message)
                self._observer.report(message)
            case LogMessage(logger, level, text):
                logging.getLogger(logger).log(level, "%s", text)
            case Ended():
                worker.ended = message

    def _stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.send(StopRequest())

    def _fail(self, error: Exception) -> None:
        """Keep the first error for the end, and have the others save and stop."""
        self._error = self._error or error
        self._stop()

    def _settle(self, worker: _Worker) -> None:
        """What becomes of the work of one that has ended, in whatever way."""
        how = worker.join()
        match worker.ended:
            case Ended(Outcome.DONE):
                pass
            case Ended(Outcome.FAILED, RnnzooError() as error):
                self._fail(error)
            case Ended(Outcome.CRASHED, trace=trace):
                self._fail(RuntimeError(f"a worker failed:\n{trace}"))
            case _ if self._stopping:
                self._interrupted = True
            case Ended(Outcome.STOPPED):  # somebody asked this one alone
                self._workers.append(_Worker(worker.job))
            case None:
                self._replace(worker, how)

    def _replace(self, worker: _Worker, how: str) -> None:
        steps = {name: progress.resumed_from for name, progress in worker.shards.items()} or {START: 0}
        where = f"{', '.join(steps)}, step {min(steps.values())}"
        if self._deaths.count(steps) < MOST_DEATHS:
            log.warning("a worker died (%s) at %s; another takes its place", how, where)
            self._workers.append(_Worker(worker.job))
            return
        died = f"workers died {MOST_DEATHS} times at {where}, the last one {how}"
        question = f"is there memory for {len(self._jobs)} of them?"
        self._fail(ParameterError("workers", f"{worker.job.folder}: {died}; expected them to get on: {question}"))


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that begin here never see Ctrl-C, which goes to all of a terminal: the driver tells them."""
    resource_tracker.ensure_running()  # the first start of this helper would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

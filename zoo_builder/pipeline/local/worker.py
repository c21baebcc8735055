"""A worker: a process that builds shards for a driver (`workers.py`), and tells it how far it is.

What it says goes through a pipe, as names and arguments of the driver's methods (`Listener`). The pipe is also
how it learns that it should stop: by a word, or because the driver is gone.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.build import InThisProcess
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted
from rnnzoo.zoo_builder.training.kernels import Kernel

STOP = "stop"


class Listener(Protocol):
    """What a worker tells its driver."""

    def ready(self) -> None:
        """It has started, and waits for its order."""

    def steps_done(self, model_steps: int, before: bool = False) -> None: ...

    def scored(self, step: int, accuracy: float) -> None: ...

    def runs_done(self, runs: int, diverged: int) -> None: ...

    def begins(self, shards: Sequence[str], step: int) -> None:
        """It begins to build these shards, which stand at this step."""

    def warns(self, logger: str, level: int, message: str) -> None:
        """Its copy of this logger has something to say."""

    def ended(self) -> None:
        """All shards are built, by itself or others."""

    def stopped(self) -> None:
        """It has saved what it had, and ends as it was asked to."""

    def failed(self, message: str) -> None:
        """It ends with an RnnzooError."""

    def crashed(self, trace: str) -> None:
        """It ends with an exception that nobody expected."""


@dataclass(frozen=True)
class Order:
    """What a worker is to do: build shards of a plan, given by name. threads: CPU threads of its own.

    pieces, on_device: see `InThisProcess`.
    """

    plan: ZooPlan
    folder: Path
    shards: frozenset[str]
    kernel: Kernel
    threads: int
    save_every: float
    pieces: int
    on_device: int


class Reporter(logging.Handler):
    """The observer of a worker's build, and the handler of its warnings: passes everything to the driver."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe
        self._stop = False

    def tell(self, what: str, *arguments: object) -> None:
        try:
            self._pipe.send((what, arguments))
        except OSError:  # the driver is gone
            self._stop = True

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        self.tell("steps_done", model_steps, before)

    def scored(self, step: int, accuracy: float) -> None:
        self.tell("scored", step, accuracy)

    def runs_done(self, runs: int, diverged: int) -> None:
        self.tell("runs_done", runs, diverged)

    def ask_for_order(self) -> Order | None:
        """What to do; None if there is nothing to do any more."""
        self.tell("ready")
        try:
            order = self._pipe.recv()
        except (EOFError, OSError):  # the driver is gone
            return None
        return order if isinstance(order, Order) else None

    def begins(self, shards: Sequence[ShardPlan], step: int) -> None:
        self.tell("begins", [shard.name for shard in shards], step)

    def emit(self, record: logging.LogRecord) -> None:
        self.tell("warns", record.name, record.levelno, record.getMessage())

    def stop_requested(self) -> bool:
        with contextlib.suppress(OSError):
            if not self._pipe.poll():
                return self._stop
            with contextlib.suppress(EOFError):
                self._pipe.recv()
        self._stop = True  # asked to, or the driver is gone
        return True

    def stop(self, *_: object) -> None:
        """What a signal does."""
        self._stop = True


def work(pipe: Connection) -> None:
    """The life of a worker process."""
    reporter = Reporter(pipe)
    signal.signal(signal.SIGTERM, reporter.stop)
    logger = logging.getLogger("rnnzoo")
    logger.addHandler(reporter)
    logger.setLevel(logging.INFO)
    order = reporter.ask_for_order()
    if order is None:
        reporter.tell("stopped")
        return
    try:
        _carry_out(order, reporter)
    except Interrupted:
        reporter.tell("stopped")
    except RnnzooError as error:
        reporter.tell("failed", str(error))
    except Exception:
        reporter.tell("crashed", traceback.format_exc())
    else:
        reporter.tell("ended")


def _carry_out(order: Order, reporter: Reporter) -> None:
    torch.set_num_threads(order.threads)
    way = InThisProcess(order.kernel, order.save_every, order.pieces, order.on_device, reporter.begins)
    shards = [shard for shard in order.plan.shards if shard.name in order.shards]
    shards.sort(key=lambda shard: len(shard.runs), reverse=True)  # the small ones last: workers then end together
    way(order.plan, order.folder, shards, reporter)

"""What a worker and its driver tell each other through a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import ShardProgress
from rnnzoo.zoo_builder.training.kernels import Kernel


@dataclass(frozen=True)
class Job:
    """To a worker: build shards of a plan.

    Attributes:
        plan: Of the whole zoo.
        folder: Of the zoo.
        shards: Names of the shards. Every worker is given all of them, and takes what no other one is building.
        kernel: Trains and scores.
        threads: CPU threads of the worker.
        save_every: Seconds between two saves.
        groups: See `InProcess`.
        sharing: See `InProcess`.
    """

    plan: ZooPlan
    folder: Path
    shards: frozenset[str]
    kernel: Kernel
    threads: int
    save_every: float
    groups: int
    sharing: int


@dataclass(frozen=True)
class StopRequest:
    """To a worker: save and stop."""


@dataclass(frozen=True)
class Ready:
    """To the driver: the worker has started, and waits for its job."""


@dataclass(frozen=True)
class LogMessage:
    """To the driver: a logger of the worker's process has something to say."""

    logger: str
    level: int
    text: str


class Outcome(Enum):
    """How a worker's work ended."""

    DONE = "all shards are built, by this worker or others"
    STOPPED = "what it had is saved, and it was asked to stop"
    FAILED = "an RnnzooError"
    CRASHED = "an exception that nobody expected"


@dataclass(frozen=True)
class Ended:
    """To the driver: the worker's last words. error: that it FAILED with. trace: of what it CRASHED with."""

    outcome: Outcome
    error: RnnzooError | None = None
    trace: str = ""


ToDriver = Ready | ShardProgress | LogMessage | Ended

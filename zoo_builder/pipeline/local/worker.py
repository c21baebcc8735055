"""A worker: a process that builds shards for a driver (`workers.py`), and tells it how far it is.

It stops when the driver says so, or is gone, which the pipe between them shows too.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import traceback
from multiprocessing.connection import Connection

import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.opening import check_same_family
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.local.messages import Ended, Job, LogMessage, Outcome, Ready, ToDriver
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, ShardProgress


class DriverConnection(logging.Handler):
    """The observer of a worker's build, and the handler of its log messages: passes everything to the driver."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe
        self._stop = False

    def send(self, message: ToDriver) -> None:
        try:
            self._pipe.send(message)
        except OSError:  # the driver is gone
            self._stop = True

    def report(self, progress: ShardProgress) -> None:
        self.send(progress)

    def emit(self, record: logging.LogRecord) -> None:
        self.send(LogMessage(record.name, record.levelno, record.getMessage()))

    def ask_for_job(self) -> Job | None:
        """What to do; None if there is nothing to do any more."""
        self.send(Ready())
        try:
            job = self._pipe.recv()
        except (EOFError, OSError):  # the driver is gone
            return None
        return job if isinstance(job, Job) else None

    def stop_requested(self) -> bool:
        with contextlib.suppress(OSError):
            if not self._pipe.poll():
                return self._stop
            with contextlib.suppress(EOFError):
                self._pipe.recv()
        self._stop = True  # the driver says so, or is gone
        return True

    def stop(self, *_: object) -> None:
        """What a signal does."""
        self._stop = True


def work(pipe: Connection) -> None:
    """The life of a worker process."""
    driver = DriverConnection(pipe)
    signal.signal(signal.SIGTERM, driver.stop)
    logger = logging.getLogger("rnnzoo")
    logger.addHandler(driver)
    logger.setLevel(logging.INFO)
    job = driver.ask_for_job()
    driver.send(Ended(Outcome.STOPPED) if job is None else _do(job, driver))


def _do(job: Job, driver: DriverConnection) -> Ended:
    torch.set_num_threads(job.threads)
    executor = InProcess(job.kernel, job.save_every, job.groups, job.sharing)
    try:
        check_same_family(job.plan.fingerprints, job.folder)
        shards = [shard for shard in job.plan.shards if shard.name in job.shards]
        shards.sort(key=lambda shard: len(shard.runs), reverse=True)  # small ones last: workers then end together
        executor(job.plan, job.folder, shards, driver)
    except Interrupted:
        return Ended(Outcome.STOPPED)
    except RnnzooError as error:
        return Ended(Outcome.FAILED, error)
    except Exception:
        return Ended(Outcome.CRASHED, trace=traceback.format_exc())
    return Ended(Outcome.DONE)

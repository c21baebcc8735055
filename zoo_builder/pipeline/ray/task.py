"""What a node of a cluster does: one shard, built in a folder that all nodes share, or sent to a store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from rnnzoo.zoo_builder.cluster import Resources, TaskEnvironment, check_shared
from rnnzoo.zoo_builder.pipeline.folder.opening import plan_path
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, ShardProgress
from rnnzoo.zoo_builder.pipeline.ray.reporting import TaskReporter
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.splits import Splits
from rnnzoo.zoo_builder.training.kernels import Kernel, choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig


@dataclass(frozen=True)
class ClusterJob:
    """What is the same for every shard of a build.

    folder: of the zoo; nodes build there unless there is a store. kernel: as `choose_kernel` takes it.
    save_every: seconds between two saves of a shard's training state.
    """

    config: ZooConfig
    folder: Path
    store: str | None
    resources: Resources
    kernel: str
    save_every: float
    environment: TaskEnvironment


@dataclass(frozen=True)
class ShardJob:
    """A shard, and the splits of its tasks: all that a node needs to know of the plan."""

    shard: ShardPlan
    splits: Splits

    @classmethod
    def of(cls, plan: ZooPlan, shard: ShardPlan) -> ShardJob:
        ids = {run.task.task_id for run in shard.runs}
        paper = plan.splits.paper_split
        return cls(shard, Splits(dict.fromkeys(ids, shard.split), {name: paper[name] for name in ids}))


@dataclass(frozen=True)
class _PlanOfShard(ZooPlan):
    shard_job: ShardJob

    @cached_property
    def splits(self) -> Splits:
        return self.shard_job.splits


def build_shard(job: ClusterJob, family: Any, shard_job: ShardJob, actor: Any) -> ShardProgress | None:
    """The task: build a shard, going on from what an earlier try has saved; None if it was asked to stop.

    family: the plan's. actor: the `ProgressActor`.
    """
    job.environment.take_over()
    with ThreadPoolExecutor(1) as aside:
        reporter = TaskReporter(
            send=lambda progress: aside.submit(_report, actor, progress).result(),
            warn=lambda text: actor.warn.remote(text),
        )
        if reporter.stop_requested():
            return None
        plan = _PlanOfShard(job.config, family, shard_job)
        with _passing_on(reporter):
            try:
                if job.store is None:
                    check_shared(plan_path(job.folder), "folder")
                    _executor(job)(plan, job.folder, [shard_job.shard], reporter)
                else:
                    _build_for_store(ObjectStore(job.store), job, plan, reporter)
            except Interrupted:
                return None
        return reporter.last or ShardProgress.found_stored(shard_job.shard, job.config.steps)


def _report(actor: Any, progress: ShardProgress | None) -> bool:
    """Tell the actor; returns whether to stop. Not to be called in the task's main thread.

    There, Ray would give the task's CPU to another one while this one waits, and keep both running.
    """
    import ray

    try:
        return ray.get(actor.report.remote(progress))
    except ray.exceptions.RayActorError:  # the command is gone, and the actor with it
        return True


def _executor(job: ClusterJob) -> InProcess:
    return InProcess(_kernel(job), job.save_every)


def _build_for_store(store: ObjectStore, job: ClusterJob, plan: _PlanOfShard, reporter: TaskReporter) -> None:
    """Build in a folder of this node's own; what is finished or saved there is uploaded."""
    store.check_plan(job.config)
    store.claim_arithmetic(_kernel(job).arithmetic)
    with tempfile.TemporaryDirectory(prefix="rnnzoo-") as name:
        folder, shard = Path(name), plan.shard_job.shard
        plan_path(folder).parent.mkdir()
        store.fetch_state(folder, shard)
        mirror = _StateMirror(store, folder, shard)
        reporter.before_report = mirror.update
        try:
            _executor(job)(plan, folder, [shard], reporter)
        except Interrupted:
            mirror.update()
            raise
        store.send(folder, shard)


class _StateMirror:
    """Uploads a shard's saved state whenever it has changed, so that the death of a node does not lose it."""

    def __init__(self, store: ObjectStore, folder: Path, shard: ShardPlan) -> None:
        self._store, self._folder, self._shard = store, folder, shard
        self._sent = self._changed()

    def update(self) -> None:
        changed = self._changed()
        if changed not in (None, self._sent):
            self._store.send_state(self._folder, self._shard)
            self._sent = changed

    def _changed(self) -> int | None:
        path = state_path(self._folder, self._shard)
        return path.stat().st_mtime_ns if path.exists() else None


@lru_cache(maxsize=1)
def _kernel(job: ClusterJob) -> Kernel:
    """The kernel, kept for the next shard of this process."""
    config, resources = job.config, job.resources
    return choose_kernel(config.spec, config.encoding, resources.device, job.kernel, resources.cpus)


@contextmanager
def _passing_on(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear what the project's modules warn of."""
    logger = logging.getLogger("rnnzoo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

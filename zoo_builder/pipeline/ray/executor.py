"""Builds a zoo on a Ray cluster: a task a shard, on whichever node has room."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnzoo.zoo_builder.cluster import DEATHS, Cluster, Resources, TaskEnvironment, as_finished
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import claim_arithmetic
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, Observer, ShardProgress
from rnnzoo.zoo_builder.pipeline.ray.reporting import ProgressActor, TaskReports
from rnnzoo.zoo_builder.pipeline.ray.task import ClusterJob, ShardJob, build_shard
from rnnzoo.zoo_builder.pipeline.shard.record import is_complete, read_record, record_path

log = logging.getLogger(__name__)

MOST_FETCHES = 3
"""How often a shard that came out of the store broken is built again, before the store is to blame."""


@dataclass(frozen=True)
class OnCluster:
    """The executor that works on the nodes of a cluster.

    Attributes:
        cluster: Where tasks go.
        resources: What a task holds.
        kernel: As `choose_kernel` takes it, on each node.
        save_every: Seconds between two saves.
        store: fsspec URL that shards go through; None where all nodes share the zoo's folder.
    """

    cluster: Cluster
    resources: Resources
    kernel: str
    save_every: float
    store: str | None = None

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Executor`. The first RnnzooError of a task is raised, and stops the others."""
        self.cluster.check_room(self.resources.cpus, self.resources.gpus)
        job = ClusterJob(
            config=plan.config,
            folder=folder.absolute(),
            store=self.store,
            resources=self.resources,
            kernel=self.kernel,
            save_every=self.save_every,
            environment=TaskEnvironment(self.resources.cpus),
        )
        _ClusterBuild(self.cluster, plan, job, observer).run(shards)


class _ClusterBuild:
    """Hands out shards, passes on how far they are, and collects them in the folder."""

    def __init__(self, cluster: Cluster, plan: ZooPlan, job: ClusterJob, observer: Observer) -> None:
        self._cluster, self._plan, self._job, self._observer = cluster, plan, job, observer
        self._actor = _start_actor(cluster)
        self._store = None if job.store is None else ObjectStore(job.store)
        self._fetches: Counter[str] = Counter()
        self._warned: set[str] = set()

    def run(self, shards: Sequence[ShardPlan]) -> None:
        by_size = sorted(self._not_in_store(shards), key=lambda shard: len(shard.runs), reverse=True)
        missing = {shard.name: shard for shard in by_size}  # the small ones last: nodes then end together
        waiting = deque(missing)
        tasks = as_finished(self._cluster, waiting, self._submitter(missing), self._exchange_reports)
        with closing(tasks) as finished:
            for name, stored in finished:
                if stored is not None and self._is_collected(missing[name], stored):
                    del missing[name]
                else:
                    waiting.append(name)
                if self._observer.stop_requested():
                    waiting.clear()
        if missing:
            raise Interrupted

    def _not_in_store(self, shards: Sequence[ShardPlan]) -> list[ShardPlan]:
        """The shards that cannot be had from the store, where an earlier build may have left some."""
        if self._store is None:
            return list(shards)
        self._store.prepare(self._plan.config, self._plan.fingerprints)
        stored = self._store.shards()
        missing = []
        for shard in shards:
            found = ShardProgress.found_stored(shard, self._plan.config.steps)
            if shard.name not in stored or not self._is_collected(shard, found):
                missing.append(shard)
        return missing

    def _submitter(self, shards: dict[str, ShardPlan]) -> Callable[[str], Any]:
        ray = self._cluster.ray
        task = ray.remote(build_shard).options(**self._job.resources.options())
        family = ray.put(self._plan.family)  # its images go to each node once
        job = ray.put(self._job)
        return lambda name: task.remote(job, family, ShardJob.of(self._plan, shards[name]), self._actor)

    def _exchange_reports(self) -> None:
        """Tell the tasks whether to stop, and pass on what they report; a warning that many give, once."""
        reports: TaskReports = self._cluster.get(self._actor.fetch.remote(self._observer.stop_requested()))
        for progress in reports.progress:
            if not progress.is_stored:  # that is told by the task's result, when the shard is in the folder
                self._observer.report(progress)
        for text in reports.warnings:
            if text not in self._warned:
                self._warned.add(text)
                log.warning("%s", text)

    def _is_collected(self, shard: ShardPlan, stored: ShardProgress) -> bool:
        """Whether the shard is now in the folder; if so, it is reported."""
        if self._store is not None and not self._is_fetched(shard, self._store):
            return False
        self._observer.report(stored)
        return True

    def _is_fetched(self, shard: ShardPlan, store: ObjectStore) -> bool:
        """Bring a shard from the store; one that is broken there is taken out of it, to be built again."""
        store.fetch(self._job.folder, shard)
        if is_complete(self._job.folder, shard):
            self._claim_arithmetic(shard)
            return True
        store.discard(shard)
        self._fetches[shard.name] += 1
        if self._fetches[shard.name] == MOST_FETCHES:
            raise ParameterError(
                "store",
                f"{self._job.store}: shard {shard.name} came back broken {MOST_FETCHES} times, "
                "expected what was put there",
            )
        return False

    def _claim_arithmetic(self, shard: ShardPlan) -> None:
        """Let builds in the folder go on in the arithmetic of a shard from the store; else it does not count."""
        folder = self._job.folder
        try:
            claim_arithmetic(folder, read_record(folder, shard).arithmetic, self._observer.stop_requested)
        except (RnnzooError, Interrupted):
            record_path(folder, shard).unlink(missing_ok=True)
            raise


def _start_actor(cluster: Cluster) -> Any:
    """A `ProgressActor` on this command's node, where no other node's death can take it away.

    Should that node run out of memory, Ray may kill it nevertheless; a new one has heard it all a second later.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(cluster.ray.get_runtime_context().get_node_id(), soft=False)
    actor = cluster.ray.remote(ProgressActor).options(
        num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=DEATHS
    )
    return actor.remote()

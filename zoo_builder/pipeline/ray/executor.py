"""Builds a zoo on a Ray cluster: a task a shard, on whichever node has room."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnzoo.zoo_builder.cluster import DEATHS, Cluster, Resources, Sender, as_finished
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.ray.board import Board, Standings
from rnnzoo.zoo_builder.pipeline.ray.task import ClusterOrder, Outcome, Piece, build_piece
from rnnzoo.zoo_builder.pipeline.shard.store import is_complete
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted, Observer

MOST_FETCHES = 3
"""How often a shard that came out of the store broken is built again, before the store is to blame."""


@dataclass(frozen=True)
class OnCluster:
    """The way to build on the nodes of a cluster.

    resources: of a task. kernel: as `choose_kernel` takes it, on each node. save_every: seconds between two saves.
    store: fsspec URL that shards go through; None where all nodes share the zoo's folder.
    """

    cluster: Cluster
    resources: Resources
    kernel: str
    save_every: float
    store: str | None = None

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Way`. The first RnnzooError of a task is raised, and stops the others."""
        self.cluster.check_room(self.resources.cpus, self.resources.gpus)
        order = ClusterOrder(
            config=plan.config,
            folder=folder.absolute(),
            store=self.store,
            resources=self.resources,
            kernel=self.kernel,
            save_every=self.save_every,
            sender=Sender(self.resources.cpus),
        )
        _ClusterBuild(self.cluster, plan, order, observer).run(shards)


class _ClusterBuild:
    """Hands out shards, shows how far they are, and collects them in the folder."""

    def __init__(self, cluster: Cluster, plan: ZooPlan, order: ClusterOrder, observer: Observer) -> None:
        self._cluster, self._plan, self._order, self._observer = cluster, plan, order, observer
        self._standings = Standings(observer)
        self._board = _start_board(cluster)
        self._store = None if order.store is None else ObjectStore(order.store)
        self._fetches: Counter[str] = Counter()

    def run(self, shards: Sequence[ShardPlan]) -> None:
        by_size = sorted(self._not_in_store(shards), key=lambda shard: len(shard.runs), reverse=True)
        missing = {shard.name: shard for shard in by_size}  # the small ones last: nodes then end together
        waiting = deque(missing)
        tasks = as_finished(self._cluster, waiting, self._submitter(missing), self._exchange_news)
        with closing(tasks) as finished:
            for name, outcome in finished:
                if self._is_collected(missing[name], outcome):
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
        self._store.claim(self._plan.config)
        stored = self._store.shards()
        missing = []
        for shard in shards:
            if shard.name in stored and self._is_fetched(shard):
                self._observer.steps_done(len(shard.runs) * self._plan.config.steps, before=True)
                self._observer.runs_done(len(shard.runs), 0)
            else:
                missing.append(shard)
        return missing

    def _submitter(self, shards: dict[str, ShardPlan]) -> Callable[[str], Any]:
        ray = self._cluster.ray
        task = ray.remote(build_piece).options(**self._order.resources.options())
        family = ray.put(self._plan.family)  # its images go to each node once
        order = ray.put(self._order)
        return lambda name: task.remote(order, family, Piece.of(self._plan, shards[name]), self._board)

    def _exchange_news(self) -> None:
        news = self._cluster.get(self._board.take.remote(self._observer.stop_requested()))
        for shard, standing in news.standings.items():
            self._standings.note(shard, standing)
        for message in news.warnings:
            self._standings.warn(message)

    def _is_collected(self, shard: ShardPlan, outcome: Outcome) -> bool:
        """Whether the shard is now in the folder; if so, it is counted."""
        if not outcome.built or (self._store is not None and not self._is_fetched(shard)):
            return False
        self._standings.finish(shard.name, len(shard.runs) * self._plan.config.steps)
        self._observer.runs_done(len(shard.runs), outcome.diverged)
        return True

    def _is_fetched(self, shard: ShardPlan) -> bool:
        """Bring a shard from the store; one that is broken there is taken out of it, to be built again."""
        assert self._store is not None, "asked for only with a store"
        self._store.fetch(self._order.folder, shard)
        if is_complete(self._order.folder, shard):
            return True
        self._store.discard(shard)
        self._fetches[shard.name] += 1
        if self._fetches[shard.name] == MOST_FETCHES:
            raise RnnzooError(
                f"--store: {self._order.store}: shard {shard.name} came back broken {MOST_FETCHES} times, "
                "expected what was put there"
            )
        return False


def _start_board(cluster: Cluster) -> Any:
    """A board on this command's node, where no other node's death can take it away.

    Should that node run out of memory, Ray may kill it nevertheless; a new one has heard it all a second later.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(cluster.ray.get_runtime_context().get_node_id(), soft=False)
    board = cluster.ray.remote(Board).options(
        num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_task_retries=DEATHS
    )
    return board.remote()

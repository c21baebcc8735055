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

from rnnzoo.zoo_builder.cluster import Resources, Sender, check_shared
from rnnzoo.zoo_builder.pipeline.build import InThisProcess
from rnnzoo.zoo_builder.pipeline.folder.folder import plan_path
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.ray.board import BoardReporter, Standing
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted
from rnnzoo.zoo_builder.splits import Splits
from rnnzoo.zoo_builder.training.kernels import Kernel, choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig


@dataclass(frozen=True)
class ClusterOrder:
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
    sender: Sender


@dataclass(frozen=True)
class Piece:
    """A shard, and the splits of its tasks: all that a node needs to know of the plan."""

    shard: ShardPlan
    splits: Splits

    @classmethod
    def of(cls, plan: ZooPlan, shard: ShardPlan) -> Piece:
        ids = {run.task.task_id for run in shard.runs}
        paper = plan.splits.paper_split
        return cls(shard, Splits(dict.fromkeys(ids, shard.split), {name: paper[name] for name in ids}))


@dataclass(frozen=True)
class _PlanOfPiece(ZooPlan):
    piece: Piece

    @cached_property
    def splits(self) -> Splits:
        return self.piece.splits


@dataclass(frozen=True)
class Outcome:
    """built: else the task was asked to stop, and has saved. diverged: how many runs did."""

    built: bool
    diverged: int = 0


def build_piece(order: ClusterOrder, family: Any, piece: Piece, board: Any) -> Outcome:
    """The task. Goes on from what an earlier try has saved. family: the plan's; board: the `Board` actor."""
    order.sender.settle()
    with ThreadPoolExecutor(1) as aside:
        reporter = BoardReporter(
            piece.shard.name,
            report=lambda *news: aside.submit(_report, board, *news).result(),
            warn=lambda message: board.warn.remote(message),
        )
        if reporter.stop_requested():
            return Outcome(built=False)
        plan = _PlanOfPiece(order.config, family, piece)
        with _passing_on(reporter):
            if order.store is not None:
                return _build_for_store(ObjectStore(order.store), order, plan, reporter)
            check_shared(plan_path(order.folder), "--out")
            return _build(order, plan, order.folder, reporter)


def _report(board: Any, shard: str, standing: Standing) -> bool:
    """Tell the board; returns whether to stop. Not to be called in the task's main thread.

    There, Ray would give the task's CPU to another one while this one waits, and keep both running.
    """
    import ray

    try:
        return ray.get(board.report.remote(shard, standing))
    except ray.exceptions.RayActorError:  # the command is gone, and the board with it
        return True


def _build(order: ClusterOrder, plan: _PlanOfPiece, folder: Path, reporter: BoardReporter) -> Outcome:
    try:
        InThisProcess(_kernel(order), order.save_every)(plan, folder, [plan.piece.shard], reporter)
    except Interrupted:
        return Outcome(built=False)
    return Outcome(built=True, diverged=reporter.diverged)


def _build_for_store(
    store: ObjectStore, order: ClusterOrder, plan: _PlanOfPiece, reporter: BoardReporter
) -> Outcome:
    """Build in a folder of this node's own; what is finished or saved there is uploaded."""
    store.check_plan(order.config)
    with tempfile.TemporaryDirectory(prefix="rnnzoo-") as name:
        folder, shard = Path(name), plan.piece.shard
        plan_path(folder).parent.mkdir()
        store.fetch_state(folder, shard)
        mirror = _StateMirror(store, folder, shard)
        reporter.meanwhile = mirror.update
        outcome = _build(order, plan, folder, reporter)
        if outcome.built:
            store.send(folder, shard)
        else:
            mirror.update()
        return outcome


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
def _kernel(order: ClusterOrder) -> Kernel:
    """The kernel, kept for the next shard of this process."""
    config, resources = order.config, order.resources
    return choose_kernel(config.spec, config.encoding, resources.device, order.kernel, resources.cpus)


@contextmanager
def _passing_on(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear what the project's modules warn of."""
    logger = logging.getLogger("rnnzoo")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

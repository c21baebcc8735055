"""Builds in this process: a group of shards after the other, each locked while it is built."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rnnzoo.zoo_builder.pipeline.folder.arithmetic import claim_arithmetic
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import is_built
from rnnzoo.zoo_builder.pipeline.locks import Lock, Waiting, locks_at_once, try_lock
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Observer
from rnnzoo.zoo_builder.pipeline.shard.saved_state import ShardState, load_state
from rnnzoo.zoo_builder.pipeline.shard.unit import build_shards
from rnnzoo.zoo_builder.training.kernels import Kernel, runs_that_fit
from rnnzoo.zoo_builder.training.loop import run_data

MOST_LOCKED = 512
"""Shards of a group: each lock is an open file, and many systems let a process open 1024."""


@dataclass(frozen=True)
class InProcess:
    """The executor that works in this process.

    Attributes:
        kernel: Trains and scores.
        save_every: Seconds between two saves.
        groups: How many groups to make of the shards that are left, at least, so that other processes find some.
        sharing: How many processes share the kernel's GPU, and its memory.
    """

    kernel: Kernel
    save_every: float
    groups: int = 1
    sharing: int = 1

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Executor`."""
        if shards:
            claim_arithmetic(folder, self.kernel.arithmetic, observer.stop_requested)
        steps = run_data(plan.family, []).steps
        at_once = runs_that_fit(self.kernel, plan.spec, steps, plan.config.largest_batch) // self.sharing
        unseen, busy = deque(shards), deque[ShardPlan]()
        waiting = Waiting(folder, observer.stop_requested)
        while unseen:
            share = len(unseen) * plan.config.runs_per_shard // self.groups
            with ExitStack() as locks:
                group = _take_group(plan, folder, unseen, busy, min(at_once, share), self.kernel.arithmetic, locks)
                if group:
                    build_shards(plan, folder, group, self.kernel, observer, self.save_every)
                    waiting = Waiting(folder, observer.stop_requested)
            if not unseen and busy:
                unseen, busy = busy, unseen
                if not group:
                    waiting.look_away(unseen[0].name)


def _take_group(
    plan: ZooPlan,
    folder: Path,
    unseen: deque[ShardPlan],
    busy: deque[ShardPlan],
    most_runs: int,
    arithmetic: str,
    locks: ExitStack,
) -> list[tuple[ShardPlan, ShardState]]:
    """Lock shards that stand at the same step, to be trained side by side in an arithmetic, and load their states.

    Takes from `unseen` what it looks at, and leaves in `busy` what others are building. A group has at most
    `most_runs` runs, or one shard, and at most MOST_LOCKED shards, or as many as it may open files.
    """
    group: list[tuple[ShardPlan, ShardState]] = []
    held = 0
    most_locked = min(MOST_LOCKED, locks_at_once())
    while unseen and len(group) < most_locked and (not group or held + len(unseen[0].runs) <= most_runs):
        shard = unseen[0]
        if not is_built(folder, shard):
            lock = _lock_unbuilt(folder, shard)
            if lock is None:
                busy.append(shard)
            else:
                state = load_state(plan, folder, shard, arithmetic)
                if group and state.step != group[0][1].step:
                    lock.release()
                    break
                locks.enter_context(lock)
                group.append((shard, state))
                held += len(shard.runs)
        unseen.popleft()
    return group


def _lock_unbuilt(folder: Path, shard: ShardPlan) -> Lock | None:
    """The lock of a shard; None where somebody else has it, or had it and built the shard."""
    lock = try_lock(folder, shard.name)
    if lock is not None and is_built(folder, shard):
        lock.release()
        return None
    return lock

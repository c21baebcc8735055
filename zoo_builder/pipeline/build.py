"""Goes through the shards of a plan, from an empty folder to a finished zoo, and can be stopped at any moment."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.folder import (
    finish_folder,
    finished_zoo,
    is_built,
    open_folder,
    open_shards,
)
from rnnzoo.zoo_builder.pipeline.ledger import Ledger
from rnnzoo.zoo_builder.pipeline.locks import Claim, try_claim
from rnnzoo.zoo_builder.pipeline.plan.parts import WHOLE, Part
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.saved_state import Progress, load_progress
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted, Observer, build_shards
from rnnzoo.zoo_builder.splits import empty_splits
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.training.kernels import Kernel, runs_that_fit
from rnnzoo.zoo_builder.training.loop import run_data
from rnnzoo.zoo_builder.zoos import ZooConfig

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks at shards that other processes are building."""


class Way(Protocol):
    """A way of building: in this process, in several, on a cluster."""

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See to it that each of these shards is built, by whomever, and tell of those built here.

        Raises Interrupted, with states saved, when the observer asks to stop.
        """


def build_zoo(
    config: ZooConfig,
    folder: Path,
    kernel: Kernel,
    observer: Observer,
    mnist_folder: Path | None = None,
    save_every: float = 120,
) -> Manifest:
    """Build the zoo of `config` in `folder` in this process, or finish one begun there.

    save_every: seconds between two saves of a shard's training state.
    Raises Interrupted when the observer asks to stop, RnnzooError when the folder holds something else.
    """
    finished = finished_zoo(config, folder)
    if finished is None:
        plan = ZooPlan(config, config.make_family(mnist_folder))
        finished = build_plan(plan, folder, InThisProcess(kernel, save_every), observer)
    assert finished is not None, "no part is left to others"
    return finished


def build_plan(plan: ZooPlan, folder: Path, way: Way, observer: Observer, part: Part = WHOLE) -> Manifest | None:
    """Build a part of a zoo in `folder`, and finish the zoo if all of it is there then; else None.

    Raises Interrupted when the observer asks to stop, RnnzooError when the folder holds something else.
    """
    try:
        return _build(plan, folder, way, observer, part)
    except RnnzooError:
        finished = finished_zoo(plan.config, folder)  # by another build, which took away what this one worked on
        if finished is None:
            raise
        return finished


def _build(plan: ZooPlan, folder: Path, way: Way, observer: Observer, part: Part) -> Manifest | None:
    finished = open_folder(plan.config, folder)
    for split in empty_splits(plan.splits):
        log.warning("the split %s is empty: %d tasks are too few for four splits", split, len(plan.splits.split))
    shards = part.choose(plan.shards)
    runs = count_runs(shards)
    ledger = Ledger(observer, plan.config.steps)
    while finished is None:
        unbuilt = open_shards(folder, shards)
        ledger.found(runs - count_runs(unbuilt))
        way(plan, folder, unbuilt, ledger)
        finished = finish_folder(plan, folder)
        if part != WHOLE:
            break
    ledger.found(runs)
    return finished


def count_runs(shards: Sequence[ShardPlan]) -> int:
    return sum(len(shard.runs) for shard in shards)


@dataclass(frozen=True)
class InThisProcess:
    """The plain way: a group of shards after the other, in this process.

    save_every: seconds between two saves. pieces: how many groups are to be made of the shards that are left, at
    least, so that other processes find some. on_device: how many processes share the kernel's GPU, and its memory.
    begins: told which shards are begun together, and the step they stand at.
    """

    kernel: Kernel
    save_every: float
    pieces: int = 1
    on_device: int = 1
    begins: Callable[[Sequence[ShardPlan], int], None] = lambda shards, step: None

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """See `Way`."""
        steps = run_data(plan.family, []).steps
        at_once = runs_that_fit(self.kernel, plan.spec, steps, plan.config.batch_size) // self.on_device
        unseen, busy = deque(shards), deque[ShardPlan]()
        while unseen:
            share = len(unseen) * plan.config.runs_per_shard // self.pieces
            with ExitStack() as claims:
                group = _take_group(plan, folder, unseen, busy, min(at_once, share), claims)
                if group:
                    self._build(plan, folder, group, observer)
            if not unseen and busy:
                unseen, busy = busy, unseen
                if not group:
                    _wait(observer)

    def _build(
        self, plan: ZooPlan, folder: Path, group: Sequence[tuple[ShardPlan, Progress]], observer: Observer
    ) -> None:
        self.begins([shard for shard, _ in group], group[0][1].step)
        for shard, progress in group:
            observer.steps_done(len(shard.runs) * progress.step, before=True)
        build_shards(plan, folder, group, self.kernel, observer, self.save_every)


def _take_group(
    plan: ZooPlan,
    folder: Path,
    unseen: deque[ShardPlan],
    busy: deque[ShardPlan],
    most_runs: int,
    claims: ExitStack,
) -> list[tuple[ShardPlan, Progress]]:
    """Claim shards that stand at the same step, and what is saved of each, to be trained side by side.

    Takes from `unseen` what it looks at, and leaves in `busy` what others are building. A group has at most
    `most_runs` runs, or one shard.
    """
    group: list[tuple[ShardPlan, Progress]] = []
    held = 0
    while unseen and (not group or held + len(unseen[0].runs) <= most_runs):
        shard = unseen[0]
        if not is_built(folder, shard):
            claim = _claim_unbuilt(folder, shard)
            if claim is None:
                busy.append(shard)
            else:
                progress = load_progress(plan, folder, shard)
                if group and progress.step != group[0][1].step:
                    claim.release()
                    break
                claims.enter_context(claim)
                group.append((shard, progress))
                held += len(shard.runs)
        unseen.popleft()
    return group


def _claim_unbuilt(folder: Path, shard: ShardPlan) -> Claim | None:
    """A claim on a shard; None where somebody else has one, or had one and built it."""
    claim = try_claim(folder, shard.name)
    if claim is not None and is_built(folder, shard):
        claim.release()
        return None
    return claim


def _wait(observer: Observer) -> None:
    """Give others time; raises Interrupted instead if that is what is asked for."""
    if observer.stop_requested():
        raise Interrupted
    time.sleep(LOOK_SECONDS)

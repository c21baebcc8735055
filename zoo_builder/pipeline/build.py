"""From a config to a finished zoo. This is the whole story; each step of it has a room of its own.

A zoo is planned (`plan/`) and its family looked at (`plan/contract/`), a folder is opened for it
(`folder/opening.py`), the shards that are not there yet are built (`folder/unbuilt.py`; then an executor:
`local/` or `ray/`, which all run the unit of work in `shard/`), and once all are there, the zoo is finished
(`folder/finish.py`). All of it can be stopped at any moment.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.finish import finish_folder
from rnnzoo.zoo_builder.pipeline.folder.opening import finished_zoo, is_finished, open_folder
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import find_unbuilt
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.plan.contract import checked_plan
from rnnzoo.zoo_builder.pipeline.plan.part import WHOLE, Part
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Observer, ShardProgress
from rnnzoo.zoo_builder.splits import empty_splits
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.zoos import ZooConfig

log = logging.getLogger(__name__)


class Executor(Protocol):
    """Something that builds shards: in this process, in several, on a cluster."""

    def __call__(self, plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], observer: Observer) -> None:
        """Make sure that each of these shards is built, by this build or another, and report on those built here.

        Args:
            plan: The plan of the zoo.
            folder: Where the shards go.
            shards: The shards to build.
            observer: Gets the reports, and may ask to stop.

        Raises:
            Interrupted: The observer asked to stop. States are saved.
        """


def build_zoo(
    config: ZooConfig,
    folder: str | Path,
    kernel: Kernel,
    observer: Observer,
    items_folder: str | Path | None = None,
    save_every: float = 120,
) -> Manifest:
    """Build the zoo of `config` in `folder` in this process, or finish one begun there.

    Args:
        config: What to build.
        folder: Where the zoo goes.
        kernel: What trains the runs.
        observer: Gets the reports, and may ask to stop.
        items_folder: Where the user has the items, for a family whose items are read from files.
        save_every: Seconds between two saves of a shard's training state.

    Returns:
        The manifest of the finished zoo.

    Raises:
        Interrupted: The observer asked to stop. The training state is saved.
        RnnzooError: The folder holds something else.
    """
    folder = Path(folder)
    items_folder = None if items_folder is None else Path(items_folder)
    finished = finished_zoo(config, folder, fingerprints_here(config, folder, items_folder))
    if finished is None:
        finished = build_plan(checked_plan(config, items_folder), folder, InProcess(kernel, save_every), observer)
    if finished is None:
        raise AssertionError("no part is left to others")
    return finished


def fingerprints_here(config: ZooConfig, folder: Path, items_folder: Path | None) -> dict[str, str] | None:
    """Hashes of what the family here gives, to compare with those of a zoo that is finished in a folder.

    Args:
        config: What was asked for.
        folder: Where the zoo may be.
        items_folder: Where the user has the items, for a family whose items are read from files.

    Returns:
        See `fingerprints_of`; None where no zoo is finished, or its items are out of reach.
    """
    if not is_finished(folder):
        return None
    try:
        return ZooPlan(config, config.make_family(items_folder)).fingerprints
    except RnnzooError:
        return None


def build_plan(
    plan: ZooPlan, folder: Path, executor: Executor, observer: Observer, part: Part = WHOLE
) -> Manifest | None:
    """Build a part of a zoo, and finish the zoo if all of it is there then.

    Args:
        plan: The plan of the whole zoo, of a family that was looked at (`checked_plan`).
        folder: Where the zoo goes.
        executor: What builds the shards.
        observer: Gets the reports, and may ask to stop.
        part: Which shards to build.

    Returns:
        The manifest of the finished zoo, or None where other parts are still missing.

    Raises:
        Interrupted: The observer asked to stop. The training state is saved.
        RnnzooError: The folder holds something else.
    """
    try:
        return _build(plan, folder, executor, observer, part)
    except RnnzooError:
        finished = finished_zoo(
            plan.config, folder, plan.fingerprints
        )  # by another build, which took away what this one worked on
        if finished is None:
            raise
        _report_built(plan, part.choose(plan.shards), [], observer)
        return finished


def _build(plan: ZooPlan, folder: Path, executor: Executor, observer: Observer, part: Part) -> Manifest | None:
    finished = open_folder(plan.config, folder, observer.stop_requested, plan.fingerprints)
    for split in empty_splits(plan.splits):
        log.warning("the split %s is empty: %d tasks are too few for four splits", split, len(plan.splits.split))
    shards = part.choose(plan.shards)
    while finished is None:
        unbuilt = find_unbuilt(folder, shards, observer.stop_requested)
        _report_built(plan, shards, unbuilt, observer)
        executor(plan, folder, unbuilt, observer)
        finished = finish_folder(plan, folder, observer.stop_requested)
        if part != WHOLE:
            break
    _report_built(plan, shards, [], observer)
    return finished


def _report_built(
    plan: ZooPlan, shards: Sequence[ShardPlan], unbuilt: Sequence[ShardPlan], observer: Observer
) -> None:
    """Report the shards that are there already, whoever built them."""
    names = {shard.name for shard in unbuilt}
    for shard in shards:
        if shard.name not in names:
            observer.report(ShardProgress.found_stored(shard, plan.config.steps))


def count_runs(shards: Sequence[ShardPlan]) -> int:
    return sum(len(shard.runs) for shard in shards)

"""Goes through the shards of a plan: trains, scores and stores each, and can be stopped at any moment."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from zoo_builder.build.plan import ShardPlan, ZooPlan
from zoo_builder.build.progress import Progress, join_progress, load_progress, save_progress
from zoo_builder.build.store import finish_zoo, is_complete, store_shard
from zoo_builder.errors import RnnzooError
from zoo_builder.rollouts import Evaluation, evaluate
from zoo_builder.splits import empty_splits
from zoo_builder.storage import schema
from zoo_builder.storage.manifest import Manifest, read_manifest, write_json
from zoo_builder.storage.shards import TEMPORARY_FILES
from zoo_builder.training.kernels import Kernel, TrainState, runs_that_fit
from zoo_builder.training.loop import run_data, train_runs
from zoo_builder.zoos import ZooConfig, config_of

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The build was asked to stop, and did so with its state saved."""


class Observer(Protocol):
    """Who watches a build. Called between blocks of at most 100 training steps."""

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        """So many more training steps, summed over runs, are done; `before`: by an earlier build."""

    def scored(self, step: int, accuracy: float) -> None:
        """The runs under way reached a checkpoint with this median accuracy."""

    def runs_done(self, runs: int, diverged: int) -> None:
        """So many more runs are stored, of which some diverged."""

    def stop_requested(self) -> bool:
        """Whether to save and stop now."""
        ...


def build_zoo(
    config: ZooConfig,
    folder: Path,
    kernel: Kernel,
    observer: Observer,
    mnist_folder: Path | None = None,
    save_every: float = 120,
) -> Manifest:
    """Build the zoo of `config` in `folder`, or finish one begun there.

    save_every: seconds between two saves of a shard's training state.
    Raises Interrupted when the observer asks to stop, RnnzooError when the folder holds something else.
    """
    finished = _finished_zoo(config, folder)
    if finished is not None:
        return finished
    plan = ZooPlan(config, config.make_family(mnist_folder))
    _claim_folder(config, folder)
    for split in empty_splits(plan.splits):
        log.warning("the split %s is empty: %d tasks are too few for four splits", split, len(plan.splits.split))
    at_once = runs_that_fit(kernel, plan.spec, run_data(plan.family, []).steps, config.batch_size)
    for group in _groups(plan, folder, at_once, observer):
        _build_shards(plan, folder, group, kernel, observer, save_every)
    return finish_zoo(plan, folder)


def _finished_zoo(config: ZooConfig, folder: Path) -> Manifest | None:
    """The manifest of the zoo in `folder`, if one of this config is finished there."""
    if not (folder / schema.MANIFEST).exists():
        return None
    manifest = read_manifest(folder)
    _check_same_config(config, config_of(manifest.config, str(folder / schema.MANIFEST)), folder)
    shutil.rmtree(folder / schema.BUILD_FOLDER, ignore_errors=True)
    return manifest


def _claim_folder(config: ZooConfig, folder: Path) -> None:
    """Leave the config in an empty folder, or check that it is the one left there by an earlier build."""
    plan_file = folder / schema.BUILD_FOLDER / "plan.json"
    if plan_file.exists():
        try:
            values = json.loads(plan_file.read_bytes())
        except ValueError as error:
            raise RnnzooError(f"{plan_file}: not JSON: {error}") from error
        _check_same_config(config, config_of(values, str(plan_file)), folder)
        for leftover in folder.rglob(TEMPORARY_FILES):  # of a build that was killed while it wrote
            leftover.unlink()
        return
    if folder.exists() and not folder.is_dir():
        raise RnnzooError(f"{folder}: a file, expected a folder to build in")
    strangers = sorted({path.name for path in folder.glob("*")} - {schema.BUILD_FOLDER})
    if strangers:
        raise RnnzooError(f"{folder}: found {strangers[0]!r} in it, expected an empty folder or a zoo begun there")
    write_json(plan_file, config.to_dict())


def _check_same_config(wanted: ZooConfig, found: ZooConfig, folder: Path) -> None:
    there = found.to_dict()
    for name, value in wanted.to_dict().items():
        if name != "preset" and there[name] != value:
            raise RnnzooError(
                f"{folder}: holds a zoo of another config: {name} is {there[name]!r} there, {value!r} was asked "
                "for; choose another folder, or remove that one"
            )


def _groups(
    plan: ZooPlan, folder: Path, runs_at_once: int, observer: Observer
) -> Iterator[list[tuple[ShardPlan, Progress]]]:
    """The shards still to be built and what is saved of each, in groups that stand at the same step."""
    group: list[tuple[ShardPlan, Progress]] = []
    for shard in plan.shards:
        if is_complete(folder, shard):
            observer.steps_done(len(shard.runs) * plan.config.steps, before=True)
            observer.runs_done(len(shard.runs), 0)
            continue
        progress = load_progress(plan, folder, shard)
        observer.steps_done(len(shard.runs) * progress.step, before=True)
        held = sum(len(other.runs) for other, _ in group)
        if group and (held + len(shard.runs) > runs_at_once or group[0][1].step != progress.step):
            yield group
            group = []
        group.append((shard, progress))
    if group:
        yield group


def _build_shards(
    plan: ZooPlan,
    folder: Path,
    group: Sequence[tuple[ShardPlan, Progress]],
    kernel: Kernel,
    observer: Observer,
    save_every: float,
) -> None:
    """Train and score the runs of some shards side by side, then store each shard."""
    shards = [shard for shard, _ in group]
    runs = [run for shard in shards for run in shard.runs]
    progress = join_progress(plan.spec, [progress for _, progress in group])
    evaluations: dict[int, Evaluation] = {}
    saved_at, seen_step = time.monotonic(), progress.step

    def on_progress(state: TrainState) -> None:
        nonlocal saved_at, seen_step
        progress.state = state
        observer.steps_done((state.step - seen_step) * len(runs))
        seen_step = state.step
        stop = observer.stop_requested()
        if stop or time.monotonic() - saved_at > save_every:
            save_progress(folder, shards, progress)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted

    def score(step: int) -> Evaluation:
        weights = progress.kept[step]
        return evaluate(kernel, plan.spec, plan.family, runs, weights, step, plan.config.evaluation)

    for checkpoint in train_runs(
        kernel, plan.spec, plan.family, runs, plan.config.schedule, progress.state, on_progress
    ):
        step = checkpoint.step
        progress.kept[step] = checkpoint.weights
        evaluations[step] = score(step)
        observer.scored(step, float(np.median(evaluations[step].columns["accuracy"])))
    for step in progress.kept.keys() - evaluations.keys():
        evaluations[step] = score(step)

    first = 0
    for shard in shards:
        rows = slice(first, first + len(shard.runs))
        first = rows.stop
        store_shard(plan, folder, shard, kernel.name, progress.kept, evaluations, rows)
        finite = progress.kept[plan.config.steps][rows].isfinite().all(dim=1)
        observer.runs_done(len(shard.runs), int((~finite).sum()))

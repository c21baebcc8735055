"""What `zoo-builder build` and `merge` do once their words are understood."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rnnzoo import command_line
from rnnzoo.command_line import say
from rnnzoo.zoo_builder.cli.execution import ExecutionOptions
from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan
from rnnzoo.zoo_builder.pipeline.build import build_plan, count_runs, fingerprints_here
from rnnzoo.zoo_builder.pipeline.estimate import estimate_build
from rnnzoo.zoo_builder.pipeline.folder.opening import (
    check_folder,
    finished_zoo,
    is_finished,
    read_finished,
)
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import is_built
from rnnzoo.zoo_builder.pipeline.merge import config_of_parts, merge_parts
from rnnzoo.zoo_builder.pipeline.plan.contract import check_family, checked_plan
from rnnzoo.zoo_builder.pipeline.plan.part import WHOLE, Part
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.tasks import find_family, load_family
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig


def build_or_continue(
    config: ZooConfig, out: Path, mnist: Path | None, execution: ExecutionOptions, part: Part
) -> None:
    """Build the part of a zoo that is missing in a folder, and say what is there then."""
    if is_finished(out):
        say(f"{out} holds a finished zoo; checking that it is this one")
    manifest = finished_zoo(config, out, fingerprints_here(config, out, mnist))
    if manifest is None:
        check_folder(config, out)  # before there is a bar
        manifest = _build(config, out, mnist, execution, part)
    if manifest is None:
        say(
            f"part {part} is built, in {out}; the last part to be built there finishes the zoo, and "
            "`zoo-builder merge` joins parts from several folders"
        )
    else:
        say(_finished(out, manifest))


def _build(
    config: ZooConfig, out: Path, mnist: Path | None, execution: ExecutionOptions, part: Part
) -> Manifest | None:
    plan = checked_plan(config, mnist)
    runs = count_runs(part.choose(plan.shards))
    of_all = "" if part == WHOLE else f" (part {part}: {runs} runs)"
    with execution.executor(config) as (executor, words):
        say(f"{words}{of_all}")
        try:
            with logging_redirect_tqdm(), ProgressBar(runs, config.steps) as bar:
                return build_plan(plan, out, executor, bar, part)
        except Interrupted:
            saved = "stopped; everything is saved, and the same command goes on from here"
            raise command_line.Interrupted(saved) from None


def estimate(config: ZooConfig, out: Path, mnist: Path | None, execution: ExecutionOptions, part: Part) -> None:
    """Say what a build would come to. Nothing is written."""
    if read_finished(config, out, fingerprints_here(config, out, mnist)) is not None:
        say(f"{out} holds the finished zoo")
        return
    check_folder(config, out)
    family, source = _items_at_hand(config, mnist)
    plan = ZooPlan(config, family)
    check_family(plan)
    shards = part.choose(plan.shards)
    unbuilt = [shard for shard in shards if not is_built(out, shard)]
    kernel = choose_kernel(config.spec, config.encoding, execution.device, execution.kernel, execution.threads)
    found = estimate_build(plan, unbuilt, kernel)
    if len(unbuilt) < len(shards):
        say(f"{len(shards) - len(unbuilt)} of {len(shards)} shards are built; to build:")
    say(f"{found.runs} runs, {found.checkpoints} checkpoints in {found.shards} shards, {found.bytes / 1e6:.1f} MB")
    if not unbuilt:
        return
    speed = f"{tqdm.format_sizeof(found.model_steps_a_second)} model-steps a second"
    say(f"about {_duration(found.seconds)} with kernel {kernel.name}, at {speed}, in one process on this machine")
    if source != config.source:
        say(f"its items are out of reach here: the time is that of {source}")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _items_at_hand(config: ZooConfig, mnist: Path | None) -> tuple[TaskFamily[Any], str | None]:
    """The family with the items of a config, or with those of another source where they are out of reach."""
    try:
        return config.make_family(mnist), config.source
    except RnnzooError:
        if mnist is not None:  # who names a folder means its items
            raise
        family = find_family(config.family)
        for source in {zoo.source: None for zoo in family.zoos.values()}:
            with contextlib.suppress(RnnzooError):
                return load_family(family, source, None), source
        raise


def merge_and_finish(parts: list[Path], out: Path, mnist: Path | None) -> None:
    """Merge folders of parts into a zoo, with a bar."""
    config = config_of_parts(parts)
    if read_finished(config, out) is None:
        check_folder(config, out)
    plan = ZooPlan(config, config.make_family(mnist))
    with logging_redirect_tqdm(), tqdm(total=len(plan.shards), unit="shard") as bar:
        manifest = merge_parts(plan, parts, out, bar.update)
    say(_finished(out, manifest))


def _finished(zoo: Path, manifest: Manifest) -> str:
    return f"finished: {zoo}, {manifest.size / 1e6:.1f} MB; `zoo-builder info {shlex.quote(str(zoo))}` shows it"

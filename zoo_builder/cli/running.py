"""What `zoo-builder build` and `merge` do once their words are understood."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rnnzoo import command_line
from rnnzoo.command_line import say
from rnnzoo.zoo_builder.cli.execution import ExecutionOptions
from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan
from rnnzoo.zoo_builder.pipeline.build import build_plan, count_runs
from rnnzoo.zoo_builder.pipeline.folder.opening import finished_zoo
from rnnzoo.zoo_builder.pipeline.merge import config_of_parts, merge_parts
from rnnzoo.zoo_builder.pipeline.plan.part import WHOLE, Part
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.storage.schema import MANIFEST
from rnnzoo.zoo_builder.zoos import ZooConfig


def build_or_continue(
    config: ZooConfig, out: Path, mnist: Path | None, execution: ExecutionOptions, part: Part
) -> None:
    """Build the part of a zoo that is missing in a folder, and say what is there then."""
    if (out / MANIFEST).exists():
        say(f"{out} holds a finished zoo; checking that it is this one")
    manifest = finished_zoo(config, out)
    if manifest is None:
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
    plan = ZooPlan(config, config.make_family(mnist))
    runs = count_runs(part.choose(plan.shards))
    of_all = "" if part == WHOLE else f" (part {part}: {runs} runs)"
    with execution.executor(config) as (executor, words):
        say(f"{config.zoo}: {config.runs} runs of {config.steps} steps {words}, into {out}{of_all}")
        try:
            with logging_redirect_tqdm(), ProgressBar(runs, config.steps) as bar:
                return build_plan(plan, out, executor, bar, part)
        except Interrupted:
            saved = "stopped; everything is saved, and the same command goes on from here"
            raise command_line.Interrupted(saved) from None


def merge_and_finish(parts: list[Path], out: Path, mnist: Path | None) -> None:
    """Merge folders of parts into a zoo, with a bar."""
    config = config_of_parts(parts)
    plan = ZooPlan(config, config.make_family(mnist))
    with logging_redirect_tqdm(), tqdm(total=len(plan.shards), unit="shard") as bar:
        manifest = merge_parts(plan, parts, out, bar.update)
    say(_finished(out, manifest))


def _finished(zoo: Path, manifest: Manifest) -> str:
    size = sum(entry.bytes for entry in manifest.files.values())
    return f"finished: {zoo}, {size / 1e6:.1f} MB; `zoo-builder info {zoo}` shows it"

"""The commands that build zoos and look at them: build, merge, verify, info, images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rnnzoo import command_line
from rnnzoo.ray_options import ClusterCommand, GpusOption, RayOption
from rnnzoo.zoo_builder.cli.app import (
    DeviceOption,
    KernelOption,
    MnistOption,
    ThreadsOption,
    ZooArgument,
    app,
    draw_without_a_screen,
)
from rnnzoo.zoo_builder.cli.execution import ExecutionOptions
from rnnzoo.zoo_builder.cli.progress_bar import ProgressBar
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan
from rnnzoo.zoo_builder.pipeline.build import build_plan, count_runs
from rnnzoo.zoo_builder.pipeline.folder.opening import finished_zoo
from rnnzoo.zoo_builder.pipeline.merge import config_of_parts, merge_parts
from rnnzoo.zoo_builder.pipeline.plan.part import WHOLE, Part
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest
from rnnzoo.zoo_builder.storage.schema import MANIFEST
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.tasks.sequential_images.images import load_images
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import PRESETS, ZooConfig, resolve_config


@app.command(cls=ClusterCommand, context_settings={"allow_interspersed_args": True})
def build(
    zoo: Annotated[str, typer.Argument(metavar="ZOO", help=f"One of {', '.join(ZOOS)}.")],
    out: Annotated[Path, typer.Option(help="Folder of the zoo; continues a build begun there.")],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "smoke",
    mnist: MnistOption = None,
    runs: Annotated[int | None, typer.Option(help="Training runs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps a run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the zoo.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences a training step.")] = None,
    checkpoints: Annotated[str | None, typer.Option(help="Steps to keep, as 0,100,1000.")] = None,
    learning_rate: Annotated[
        str | None, typer.Option(help="A rate, or fraction:rate knots as 0:0.01,0.5:0.003,1:0.0003.")
    ] = None,
    learning_rate_scales: Annotated[str | None, typer.Option(help="Factors a run draws from, as 0.5,1,2.")] = None,
    weight_decays: Annotated[str | None, typer.Option(help="Values a run draws from, as 0,0.01.")] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Hidden units a layer.")] = None,
    num_layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    evaluation_items: Annotated[int | None, typer.Option(help="Images a loss is measured on.")] = None,
    sampled_strings: Annotated[int | None, typer.Option(help="Strings an accuracy is measured on.")] = None,
    rollouts: Annotated[int | None, typer.Option(help="Sequences kept with a checkpoint.")] = None,
    runs_per_shard: Annotated[int | None, typer.Option(help="Runs in one file.")] = None,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between saves of runs in training.")] = 120,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, each with its GPU or share of the cores.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Build the I-th of N parts, as 2/8; others build the rest.")
    ] = None,
    ray: RayOption = None,
    gpus_per_task: GpusOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="With --ray where nodes do not share OUT: s3://..., gs://..., file://..."
        ),
    ] = None,
) -> None:
    """Build a zoo, or go on with one: the same command continues after any interruption."""
    given = {
        "runs": runs,
        "steps": steps,
        "seed": seed,
        "batch_size": batch_size,
        "checkpoints": _parse(checkpoints, "--checkpoints", lambda text: _numbers(text, int)),
        "learning_rate": _parse(learning_rate, "--learning-rate", _knots),
        "learning_rate_scales": _parse(learning_rate_scales, "--learning-rate-scales", _numbers),
        "weight_decays": _parse(weight_decays, "--weight-decays", _numbers),
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "evaluation_items": evaluation_items,
        "sampled_strings": sampled_strings,
        "rollouts": rollouts,
        "runs_per_shard": runs_per_shard,
    }
    config = resolve_config(zoo, preset, {name: value for name, value in given.items() if value is not None})
    execution = ExecutionOptions(save_every, device, kernel, threads, workers, ray, gpus_per_task, store)
    chosen = WHOLE if part is None else Part.parse(part)
    if (out / MANIFEST).exists():
        typer.echo(f"{out} holds a finished zoo; checking that it is this one")
    manifest = finished_zoo(config, out)
    if manifest is None:
        manifest = _build(config, out, mnist, execution, chosen)
    if manifest is None:
        typer.echo(
            f"part {chosen} is built, in {out}; the last part to be built there finishes the zoo, and "
            "`zoo-builder merge` joins parts from several folders"
        )
    else:
        typer.echo(_finished(out, manifest))


def _build(
    config: ZooConfig, out: Path, mnist: Path | None, execution: ExecutionOptions, part: Part
) -> Manifest | None:
    plan = ZooPlan(config, config.make_family(mnist))
    runs = count_runs(part.choose(plan.shards))
    of_all = "" if part == WHOLE else f" (part {part}: {runs} runs)"
    with execution.executor(config) as (executor, words):
        typer.echo(f"{config.zoo}: {config.runs} runs of {config.steps} steps {words}, into {out}{of_all}")
        try:
            with logging_redirect_tqdm(), ProgressBar(runs, config.steps) as bar:
                return build_plan(plan, out, executor, bar, part)
        except Interrupted:
            saved = "stopped; everything is saved, and the same command goes on from here"
            raise command_line.Interrupted(saved) from None


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="PART_FOLDER...", help="Where parts were built.")],
    out: Annotated[Path, typer.Option(help="Folder of the zoo; continues a merge begun there.")],
    mnist: MnistOption = None,
) -> None:
    """Join the parts of a zoo, built with `build --part i/n` in several folders, and finish it."""
    config = config_of_parts(parts)
    plan = ZooPlan(config, config.make_family(mnist))
    with logging_redirect_tqdm(), tqdm(total=len(plan.shards), unit="shard") as bar:
        manifest = merge_parts(plan, parts, out, bar.update)
    typer.echo(_finished(out, manifest))


def _finished(zoo: Path, manifest: Manifest) -> str:
    size = sum(entry.bytes for entry in manifest.files.values())
    return f"finished: {zoo}, {size / 1e6:.1f} MB; `zoo-builder info {zoo}` shows it"


@app.command()
def verify(
    zoo: ZooArgument,
    mnist: MnistOption = None,
    sample: Annotated[int, typer.Option(min=1, help="Checkpoints whose metrics are recomputed.")] = 48,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Check files, hashes, schema and counts, and recompute the metrics of a sample of checkpoints."""
    manifest = read_manifest(zoo)
    worker = choose_kernel(manifest.rnn_spec(), encoding_of(manifest.encoding), device, kernel, threads)
    checks = verify_zoo(zoo, worker, mnist, sample)
    for check in checks:
        typer.echo(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:15} {check.found}", err=not check.passed)
    if not all(check.passed for check in checks):
        raise RnnzooError(f"{zoo}: not a sound zoo")


@app.command()
def info(
    zoo: ZooArgument,
    figure: Annotated[Path | None, typer.Option(help="Where the figure goes; default ZOO/overview.png.")] = None,
) -> None:
    """Print a summary of a zoo, and draw a figure of accuracies, weight norms and examples."""
    draw_without_a_screen()
    from rnnzoo.zoo_builder.overview import draw_overview, summarize

    typer.echo(summarize(zoo))
    path = figure or zoo / "overview.png"
    try:
        draw_overview(zoo).savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: the figure could not be written: {error}") from error
    typer.echo(f"\nfigure: {path}")


@app.command()
def images(mnist: MnistOption = None) -> None:
    """Say which zoo of images can be built here: sequential_mnist, or sequential_digits without MNIST."""
    try:
        load_images("mnist", mnist)
    except RnnzooError as error:
        if mnist is not None:  # a folder was named, so MNIST was meant: never pass over that in silence
            raise
        typer.echo(str(error), err=True)
        typer.echo("sequential_digits")
    else:
        typer.echo("sequential_mnist")


def _parse(text: str | None, option: str, parse: Callable[[str], Any]) -> Any:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise RnnzooError(f"{option}: found {text!r}, which does not read as expected: {error}") from error


def _numbers(text: str, kind: type = float) -> tuple[Any, ...]:
    return tuple(kind(part) for part in text.split(","))


def _knots(text: str) -> tuple[tuple[float, float], ...]:
    """'0.01' is a constant rate; '0:0.01,1:0.001' are knots."""
    if ":" not in text:
        return ((0.0, float(text)), (1.0, float(text)))
    pairs = [part.split(":") for part in text.split(",")]
    return tuple((float(fraction), float(rate)) for fraction, rate in pairs)

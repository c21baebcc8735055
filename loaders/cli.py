"""The command `zoo-bench`: how much encoders see in weights."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnzoo import command_line
from rnnzoo.command_line import Commands
from rnnzoo.loaders.benchmark import TARGETS, Request, format_table, make_report, read_result, run_benchmark
from rnnzoo.loaders.benchmark.run import PRESETS, TRACKS
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.training import TrainingConfig
from rnnzoo.ray_options import ClusterCommand, GpusOption, RayOption
from rnnzoo.zoo_builder.errors import ParameterError

app = typer.Typer(
    cls=Commands,
    help="Benchmark encoders of RNN weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
FIELDS = {field.name: field.type for field in dataclasses.fields(TrainingConfig)}
CASTS = {"int": int, "float": float}


@app.command(cls=ClusterCommand)
def run(
    zoo: Annotated[str, typer.Option(metavar="ZOO", help="Folder of a zoo, or org/name on the hub.")],
    encoder: Annotated[
        str, typer.Option(help="A name of `zoo-bench list`, module:Class of your own; options as name(probes=4).")
    ],
    track: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(TRACKS)}; default: features if nothing is to be trained, else frozen."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="What to predict, again for more; default: all.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="strict, or paper for the paper's splits.")] = "strict",
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.")] = 5,
    preset: Annotated[str, typer.Option(help="Training: quick (minutes on 2 cores) or paper.")] = "quick",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the training; again for more."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")] = Path("results"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the seeds.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each; default: all cores.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    ray: RayOption = None,
    gpus_per_task: GpusOption = None,
) -> None:
    """Train or fit an encoder on a zoo's training tasks and score it on unseen ones.

    The same command goes on after an interruption, and does what more targets or seeds add.
    """
    request = Request(
        zoo=zoo,
        encoder=encoder,
        out=out,
        track=track,
        protocol=protocol,
        targets=tuple(target or ()),
        seeds=seeds,
        preset=preset,
        overrides=tuple(_override(text) for text in set_ or ()),
        workers=workers,
        threads=threads,
        device=device,
        ray=ray,
        gpus_per_task=gpus_per_task,
        command=shlex.join(["zoo-bench", *sys.argv[1:]]),
    )
    paths = run_benchmark(request)
    typer.echo(format_table([read_result(path) for path in paths]))
    typer.echo(f"\nresults: {out}; `zoo-bench report {out}` shows them beside the baselines")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that `zoo-bench run` wrote.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where report.md and report.html go; default: RESULTS.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="The encoder that differences are taken to; default: a probing baseline.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Add the committed results on the same zoo.")
    ] = True,
) -> None:
    """Print all results in tables with intervals, and write them as Markdown and as one self-contained page."""
    folder = out or results
    typer.echo(make_report(results, folder, against, baselines))
    typer.echo(f"\nreport: {folder / 'report.html'} and {folder / 'report.md'}")


@app.command("list")
def list_names() -> None:
    """List encoders, targets, tracks and presets."""
    for name, make in ENCODERS.items():
        group = f"{getattr(make, 'group', '')}{', of the paper' if getattr(make, 'published', False) else ''}"
        summary = (make.__doc__ or "").strip().splitlines()[0]
        typer.echo(f"{name:24} {group:26} {summary}")
    typer.echo(f"\ntargets: {', '.join(TARGETS)}")
    typer.echo(f"tracks:  {', '.join(TRACKS)}")
    for track, presets in PRESETS.items():
        for name, config in presets.items():
            typer.echo(f"preset {name} of {track}: {config.to_dict()}")


def _override(text: str) -> tuple[str, Any]:
    """'steps=100' -> ("steps", 100), as the field's type says."""
    name, sign, value = text.partition("=")
    if not sign or name not in FIELDS:
        raise ParameterError("set_", f"found {text!r}, expected FIELD=VALUE with a field of {', '.join(FIELDS)}")
    cast: Any = CASTS.get(str(FIELDS[name]), str)
    try:
        return name, cast(value)
    except ValueError as error:
        raise ParameterError("set_", f"{name}: found {value!r}, expected {FIELDS[name]}") from error


def main() -> None:
    """Run the command line; bad input exits with 2, an interruption with 130."""
    command_line.run(app, "zoo-bench")

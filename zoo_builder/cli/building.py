"""The commands that build zoos and look at them: build, merge, verify, info, available.

Every command imports what it works with when it runs: torch takes seconds, which `--help` and a mistyped word
should not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnzoo.command_line import (
    DAILY_FIELDS,
    MOST_PROCESSES,
    JsonOption,
    MnistOption,
    SettingsOption,
    draw_without_a_screen,
    say,
    say_json,
)
from rnnzoo.ray_options import ClusterCommand, GpusOption, RayOption
from rnnzoo.zoo_builder.cli.app import (
    DeviceOption,
    KernelOption,
    ThreadsOption,
    ZooArgument,
    app,
)
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError

if TYPE_CHECKING:
    from rnnzoo.zoo_builder.tasks.family import TaskFamily
    from rnnzoo.zoo_builder.verify.zoo import Check


class BuildCommand(ClusterCommand):
    """A command whose help ends with the zoos, the presets and the fields that can be set."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from rnnzoo.settings import describe_fields
        from rnnzoo.zoo_builder.tasks import ZOOS
        from rnnzoo.zoo_builder.zoos import PRESETS, resolve_config

        zoo = next(iter(ZOOS))
        configs = {preset: resolve_config(zoo, preset) for preset in PRESETS}
        fields = describe_fields(configs, left_out=("zoo", "preset", "family", "source"))
        names = fill(", ".join(ZOOS), 80, initial_indent="  ", subsequent_indent="  ")
        formatter.write(f"\nZoos:\n{names}\n\n")
        formatter.write(f"Fields for --set, and their values in the presets of {zoo}:\n{fields}\n")


def _zoo_names(incomplete: str) -> list[str]:
    from rnnzoo.zoo_builder.tasks import ZOOS

    return [name for name in ZOOS if name.startswith(incomplete)]


def _preset_names(incomplete: str) -> list[str]:
    from rnnzoo.zoo_builder.zoos import PRESETS

    return [name for name in PRESETS if name.startswith(incomplete)]


WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_PROCESSES, help="Processes on this machine, each with its GPU or share of the cores."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="With --ray where nodes do not share OUT: s3://..., gs://..., file://..."),
]


@app.command(cls=BuildCommand, context_settings={"allow_interspersed_args": True})
def build(
    zoo: Annotated[
        str, typer.Argument(metavar="ZOO", help="Name of the zoo, see below.", autocompletion=_zoo_names)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the zoo; continues a build begun there.")],
    preset: Annotated[str, typer.Option(help="Its size, see below.", autocompletion=_preset_names)] = "smoke",
    runs: Annotated[int | None, typer.Option(help="Training runs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps a run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the zoo.")] = None,
    cell: Annotated[str | None, typer.Option(help="Recurrent cell, such as lstm, gru or tanh.")] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Hidden units a layer.")] = None,
    num_layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    settings: SettingsOption = None,
    mnist: MnistOption = None,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
    workers: WorkersOption = None,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between saves of runs in training.")] = 120,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Build the I-th of N parts, as 2/8; others build the rest.")
    ] = None,
    ray: RayOption = None,
    gpus_per_task: GpusOption = None,
    store: StoreOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say how large the zoo is, and how long it takes: a probe of seconds."
        ),
    ] = False,
) -> None:
    """Build a zoo, or go on with one.

    The same command continues after any interruption.
    """
    from rnnzoo.zoo_builder.zoos import resolve_config

    given = dict(zip(DAILY_FIELDS, (runs, steps, seed, cell, hidden_size, num_layers), strict=True))
    config = resolve_config(zoo, preset, _overrides(given, settings or []))
    say(f"{zoo}: {config.runs} runs of {config.steps} steps, into {out}")  # at once: torch takes seconds

    from rnnzoo.zoo_builder.cli.execution import ExecutionOptions
    from rnnzoo.zoo_builder.cli.running import build_or_continue, estimate
    from rnnzoo.zoo_builder.pipeline.plan.part import WHOLE, Part

    execution = ExecutionOptions(save_every, device, kernel, threads, workers, ray, gpus_per_task, store)
    chosen = WHOLE if part is None else Part.parse(part)
    if dry_run:
        estimate(config, out, mnist, execution, chosen)
    else:
        build_or_continue(config, out, mnist, execution, chosen)


def _overrides(given: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The fields that options and `--set` change."""
    from rnnzoo.settings import read_settings
    from rnnzoo.zoo_builder.zoos import ZooConfig

    overrides = {name: value for name, value in given.items() if value is not None}
    values = read_settings(settings, ZooConfig)
    for name in values.keys() & overrides.keys():
        raise ParameterError(
            name, f"found {overrides[name]!r} here and {values[name]!r} set, expected one of them"
        )
    return overrides | values


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="PART_FOLDER...", help="Where parts were built.")],
    out: Annotated[Path, typer.Option(help="Folder of the zoo; continues a merge begun there.")],
    mnist: MnistOption = None,
) -> None:
    """Join the parts of a zoo, and finish it.

    They are built with `build --part i/n` in several folders. A finished zoo of which files are broken is a part,
    too: its sound shards are taken, and `build` in the new folder adds the others.
    """
    from rnnzoo.zoo_builder.cli.running import merge_and_finish

    merge_and_finish(parts, out, mnist)


@app.command()
def verify(
    context: typer.Context,
    zoo: ZooArgument,
    mnist: MnistOption = None,
    sample: Annotated[int, typer.Option(min=1, help="Checkpoints whose metrics are recomputed.")] = 48,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ZOO",
            help="Say whether it is this zoo: a digest, a folder, org/name[@revision] or a card's file.",
        ),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Check the shards that a build, or a part of one, has by now.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check the files and metrics of a zoo.

    Files, hashes, schema and counts are checked, the metrics of a sample of checkpoints computed again, and the
    digest of all of them. What cannot be looked at here is skipped, such as metrics without their items. With
    --against, the zoo must also be the one named. With --unfinished, the finished shards are compared byte for
    byte, and no metric is computed again.
    """
    from rnnzoo.zoo_builder.identity.reference import find_reference
    from rnnzoo.zoo_builder.pipeline.folder.opening import is_finished, read_config
    from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
    from rnnzoo.zoo_builder.storage.manifest import read_manifest
    from rnnzoo.zoo_builder.tasks.encodings import encoding_of
    from rnnzoo.zoo_builder.training.kernels import choose_kernel
    from rnnzoo.zoo_builder.verify import AGAINST, FILES, verify_part, verify_zoo
    from rnnzoo.zoo_builder.zoos import IMPORTED, ZooConfig

    if unfinished and is_finished(zoo):
        raise ParameterError("unfinished", f"found a finished zoo in {zoo}, expected a build or a part of one")
    if unfinished:
        _refuse(context, ("sample", "device", "kernel", "threads"), "--unfinished computes nothing again")
    found = read_config(zoo) if unfinished else read_manifest(zoo)
    wanted = None if against is None else find_reference(against)
    if isinstance(found, ZooConfig):
        checks = verify_part(ZooPlan(found, found.make_family(mnist)), zoo, wanted)
    else:
        worker = choose_kernel(found.rnn_spec(), encoding_of(found.encoding), device, kernel, threads)
        checks = verify_zoo(zoo, worker, mnist, sample, wanted)
    _say_checks(zoo, checks, json)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        sound, other = ("sound part", "of another zoo") if unfinished else ("sound zoo", "another one")
        if failed == [AGAINST]:
            raise RnnzooError(f"{zoo}: a {sound}, but {other}")
        is_built = not isinstance(found, ZooConfig) and found.config["preset"] != IMPORTED and found.digest
        hint = "; `merge` takes its sound shards into a new folder" if failed == [FILES] and is_built else ""
        raise RnnzooError(f"{zoo}: not a {sound}{hint}")


def _say_checks(zoo: Path, checks: list[Check], json: bool) -> None:
    if json:
        say_json(
            {"zoo": str(zoo), "sound": all(check.passed for check in checks), "checks": list(map(asdict, checks))}
        )
        return
    for check in checks:
        word = "FAIL" if not check.passed else "skip" if check.left_out else "ok  "
        say(f"{word}  {check.name:15} {check.found}", err=not check.passed)


def _refuse(context: typer.Context, parameters: Iterable[str], reason: str) -> None:
    """Raise ParameterError where one of some parameters was given, which would change nothing."""
    for name in parameters:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ParameterError(name, f"found {context.params[name]!r}, expected none: {reason}")


@app.command()
def info(
    zoo: ZooArgument,
    figure: Annotated[
        Path | None, typer.Option(help="Where the figure goes; default ZOO/overview.png; a release has one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print a summary of a zoo, and draw a figure.

    The figure shows accuracies, weight norms and examples. With --json none is drawn.
    """
    draw_without_a_screen()
    from io import BytesIO

    from rnnzoo.zoo_builder.overview import RELEASED_FIGURE, draw_overview, facts_of, summarize
    from rnnzoo.zoo_builder.storage.writing import write_single

    if json:
        say_json(facts_of(zoo))
        return
    say(summarize(zoo))
    own = zoo / RELEASED_FIGURE
    path = figure or (own if own.is_file() else zoo / "overview.png")
    if path != own:
        content = BytesIO()
        try:
            draw_overview(zoo).savefig(content, dpi=120, format=path.suffix.removeprefix(".") or "png")
        except ValueError as error:
            raise RnnzooError(f"{path}: the figure could not be written: {error}") from error
        try:
            write_single(path, content.getbuffer())
        except RnnzooError as error:
            if figure is not None:
                raise
            say(f"\nno figure: {error}. Another place for it is --figure; --json draws none", err=True)
            return
    say(f"\nfigure: {path}")


@app.command()
def available(
    mnist: MnistOption = None,
    one_each: Annotated[bool, typer.Option("--one-each", help="Only the first of every family of tasks.")] = False,
    json: JsonOption = False,
) -> None:
    """List the zoos that can be built here.

    Of each other one it says why not.
    """
    found = _available(mnist, one_each)
    if json:
        say_json([{"zoo": zoo, "available": why_not is None, "why_not": why_not} for zoo, why_not in found])
        return
    for zoo, why_not in found:
        say(zoo if why_not is None else f"{zoo}: {why_not}", err=why_not is not None)


def _available(mnist: Path | None, one_each: bool) -> Iterator[tuple[str, str | None]]:
    """Zoos, each with why it cannot be built, or None."""
    from rnnzoo.zoo_builder.tasks import installed_families, load_family

    for family in installed_families():
        for zoo, named in family.zoos.items():
            why_not = _name_problem(zoo, family)
            if why_not is None:
                try:
                    load_family(family, named.source, mnist)
                except RnnzooError as error:
                    if mnist is not None:  # who names a folder means its items
                        raise
                    why_not = str(error)
            yield zoo, why_not
            if one_each and why_not is None:
                break


def _name_problem(zoo: str, family: type[TaskFamily[Any]]) -> str | None:
    """Why a zoo of a family cannot be built by its name, if so."""
    from rnnzoo.zoo_builder.storage.schema import NAME
    from rnnzoo.zoo_builder.tasks import ZOOS

    if not re.fullmatch(NAME, zoo):
        return f"zoo: found this name in the family {family.name!r}, expected one of the pattern {NAME}"
    try:
        first, _ = ZOOS[zoo]
    except RnnzooError as error:
        return str(error)
    return None if first is family else f"zoo: found in {first.name!r} and in {family.name!r}, expected one family"

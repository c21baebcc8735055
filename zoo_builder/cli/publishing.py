"""The commands that publish zoos, and that know the published ones: release, card, push, import, export."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from rnnzoo.command_line import MnistOption, draw_without_a_screen, say
from rnnzoo.zoo_builder.cli.app import (
    DeviceOption,
    KernelOption,
    ThreadsOption,
    ZooArgument,
    app,
)
from rnnzoo.zoo_builder.errors import ParameterError


@app.command()
def release(
    zoo: ZooArgument,
    out: Annotated[Path, typer.Option(help="New folder for the release.")],
    outputs: Annotated[bool, typer.Option("--outputs", help="Also write the outputs along the rollouts.")] = False,
    leaderboard: Annotated[
        bool,
        typer.Option(
            "--leaderboard/--no-leaderboard", help="Write eval.yaml, which makes it a benchmark of the hub."
        ),
    ] = True,
    mnist: MnistOption = None,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Make the dataset repository of a zoo.

    The zoo is verified first. The folder has Parquet files, a card and figures.
    """
    draw_without_a_screen()
    from tqdm import tqdm

    from rnnzoo.zoo_builder.release import release_zoo
    from rnnzoo.zoo_builder.storage.manifest import read_manifest
    from rnnzoo.zoo_builder.tasks.encodings import encoding_of
    from rnnzoo.zoo_builder.training.kernels import choose_kernel

    manifest = read_manifest(zoo)
    worker = choose_kernel(manifest.rnn_spec(), encoding_of(manifest.encoding), device, kernel, threads)
    began = time.monotonic()
    with tqdm(unit="row", dynamic_ncols=True) as bar:

        def progress(what: str, rows: int) -> None:
            bar.set_description(what, refresh=rows == 0)
            bar.update(rows)

        contents = release_zoo(zoo, out, worker, outputs, mnist, progress, leaderboard)
    size = sum(entry["bytes"] for entry in contents["files"].values())
    say(f"finished: {out}, {len(contents['files'])} files, {size / 1e6:.1f} MB in ", nl=False)
    say(f"{time.monotonic() - began:.0f} s; `zoo-builder push {shlex.quote(str(out))} org/name` uploads it")


@app.command()
def card(
    zoo: ZooArgument,
    out: Annotated[Path | None, typer.Option(help="File for the card; default: print it.")] = None,
) -> None:
    """Render the card of a zoo from its own numbers."""
    draw_without_a_screen()
    from rnnzoo.zoo_builder.release import render_card
    from rnnzoo.zoo_builder.storage.writing import write_single

    text = render_card(zoo)
    if out is None:
        say(text, nl=False)
        return
    write_single(out, text.encode())
    say(f"card: {out}")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that `release` made.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Dataset repository; made if needed.")],
    tag: Annotated[str | None, typer.Option(help="v<format version>.<minor>.<patch>; default v1.0.0.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete or overwrite files there that no release wrote.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be uploaded.")] = False,
) -> None:
    """Upload a release to the hub and tag it.

    The token is that of `hf auth login` or HF_TOKEN.
    """
    draw_without_a_screen()
    from rnnzoo.zoo_builder.release import push_release

    plan = push_release(folder, repository, tag, private, replace, dry_run, say)
    if dry_run:
        say(f"{plan} to {repository}, tag {plan.tag}")
    else:
        say(f"finished: {repository} at {plan.tag}")


@app.command("import")
def import_(
    published: Annotated[Path, typer.Argument(metavar="PUBLISHED", help="Folder with the published arrays.")],
    out: Annotated[Path, typer.Option(help="New folder for the zoo.")],
) -> None:
    """Make a zoo of published arrays.

    They are those of the original release (parameters.npy, ...); their outputs are checked.
    """
    from tqdm import tqdm

    from rnnzoo.zoo_builder.published import import_published

    with tqdm(unit="row", dynamic_ncols=True) as bar:
        imported = import_published(published, out, progress=bar.update)
    rows = sum(entry.checkpoints for entry in imported.manifest.splits.values())
    say(f"finished: {out}, {rows} checkpoints of {imported.manifest.config['runs']} runs")
    compared = rows - imported.not_finite
    if compared:
        say(
            f"stored outputs of {compared} checkpoints differ from those of the weights by at most "
            f"{imported.largest_difference:.2g}"
        )
    if imported.not_finite:
        say(f"weights of {imported.not_finite} checkpoints are not finite: their outputs were not compared")
    if imported.mended:
        say(f"mended {imported.mended} sequences that were stored with damage: {imported.damage}")


@app.command()
def export(
    zoo: ZooArgument,
    out: Annotated[Path, typer.Option(help="New folder for the arrays.")],
    format: Annotated[str, typer.Option(help="npy: the arrays of the original release.")] = "npy",
) -> None:
    """Write a zoo as arrays.

    They have the form of the original release, for code that was written for it.
    """
    if format != "npy":
        raise ParameterError("format", f"found {format!r}, expected npy")
    from tqdm import tqdm

    from rnnzoo.zoo_builder.published import export_zoo

    with tqdm(unit="row", dynamic_ncols=True) as bar:
        rows = export_zoo(zoo, out, bar.update)
    say(f"finished: {out}, {rows} rows")

"""The command `zoo-builder`: build, verify, look at and publish zoos."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from zoo_builder.build import Interrupted, build_zoo
from zoo_builder.errors import RnnzooError
from zoo_builder.storage.manifest import read_manifest
from zoo_builder.storage.schema import MANIFEST
from zoo_builder.storage.shards import write_file
from zoo_builder.tasks.base import encoding_of
from zoo_builder.tasks.images import MNIST_VARIABLE, load_images
from zoo_builder.training.kernels import choose_kernel
from zoo_builder.verify import verify_zoo
from zoo_builder.zoos import PRESETS, ZOOS, ZooConfig, resolve_config

app = typer.Typer(
    name="zoo-builder",
    help="Build model zoos of recurrent networks, verify them, look at them, and publish them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ZooArgument = Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a finished zoo.")]
MnistOption = Annotated[
    Path | None,
    typer.Option("--mnist", metavar="DIR", envvar=MNIST_VARIABLE, help="Folder with MNIST's IDX files."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
KernelOption = Annotated[str, typer.Option(help="auto, fused (compiled for this CPU) or torch.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]


@app.callback()
def _main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


@app.command(context_settings={"allow_interspersed_args": True})
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
    if (out / MANIFEST).exists():
        typer.echo(f"{out} holds a finished zoo; checking that it is this one")
    worker = choose_kernel(config.spec, config.encoding, device, kernel, threads)
    typer.echo(f"{zoo}: {config.runs} runs of {config.steps} steps with kernel {worker.name}, into {out}")
    with logging_redirect_tqdm(), _ProgressBar(config) as bar:
        manifest = build_zoo(config, out, worker, bar, mnist, save_every)
    size = sum(entry.bytes for entry in manifest.files.values())
    typer.echo(f"finished: {out}, {size / 1e6:.1f} MB in {bar.seconds:.0f} s; `zoo-builder info {out}` shows it")


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
    _draw_without_a_screen()
    from zoo_builder.overview import draw_overview, summarize

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


@app.command()
def release(
    zoo: ZooArgument,
    out: Annotated[Path, typer.Option(help="New folder for the release.")],
    outputs: Annotated[bool, typer.Option("--outputs", help="Also write the outputs along the rollouts.")] = False,
    mnist: MnistOption = None,
    device: DeviceOption = "auto",
    kernel: KernelOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Verify a zoo and make the folder of its dataset repository: Parquet files, card, figures."""
    _draw_without_a_screen()
    from zoo_builder.release import release_zoo

    manifest = read_manifest(zoo)
    worker = choose_kernel(manifest.rnn_spec(), encoding_of(manifest.encoding), device, kernel, threads)
    began = time.monotonic()
    with tqdm(unit="row", dynamic_ncols=True) as bar:

        def progress(what: str, rows: int) -> None:
            bar.set_description(what, refresh=rows == 0)
            bar.update(rows)

        contents = release_zoo(zoo, out, worker, outputs, mnist, progress)
    size = sum(entry["bytes"] for entry in contents["files"].values())
    typer.echo(f"finished: {out}, {len(contents['files'])} files, {size / 1e6:.1f} MB in ", nl=False)
    typer.echo(f"{time.monotonic() - began:.0f} s; `zoo-builder push {out} org/name` uploads it")


@app.command()
def card(
    zoo: ZooArgument,
    out: Annotated[Path | None, typer.Option(help="File for the card; default: print it.")] = None,
) -> None:
    """Render the card of a zoo from its own numbers."""
    _draw_without_a_screen()
    from zoo_builder.release import render_card

    text = render_card(zoo)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_file(out, text.encode())
    typer.echo(f"card: {out}")


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
    """Upload a release to the hub and tag it; the token is that of `hf auth login` or HF_TOKEN."""
    _draw_without_a_screen()
    from zoo_builder.release import push_release

    plan = push_release(folder, repository, tag, private, replace, dry_run, typer.echo)
    if not dry_run:
        typer.echo(f"finished: {repository} at {plan.tag}")
        return
    for name, size in plan.upload.items():
        typer.echo(f"{size:>14,}  {name}")
    for name in plan.delete:
        typer.echo(f"{'delete':>14}  {name}")
    typer.echo(
        f"{sum(plan.upload.values()):>14,}  bytes in {len(plan.upload)} files to {repository}, tag {plan.tag}"
    )


def _draw_without_a_screen() -> None:
    import matplotlib as mpl

    mpl.use("Agg")


class _ProgressBar:
    """Shows a build's progress, and turns the first Ctrl-C into a request to save and stop."""

    def __init__(self, config: ZooConfig) -> None:
        self._bar = tqdm(
            total=config.runs * config.steps,
            unit="step",
            unit_scale=True,
            smoothing=0.1,
            mininterval=0.2 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )
        self._shown: dict[str, str] = {"runs": f"0/{config.runs}"}
        self._runs, self._total_runs, self._diverged = 0, config.runs, 0
        self._stop = False
        self._began = time.monotonic()
        self.seconds = 0.0

    def steps_done(self, model_steps: int, before: bool = False) -> None:
        if before:
            self._bar.initial += model_steps  # keeps earlier work out of the rate and of the time left
        self._bar.update(model_steps)

    def scored(self, step: int, accuracy: float) -> None:
        self._show(at=f"step {step}", accuracy=f"{accuracy:.3f}")

    def runs_done(self, runs: int, diverged: int) -> None:
        self._runs += runs
        self._diverged += diverged
        self._show(runs=f"{self._runs}/{self._total_runs}")
        if self._diverged:
            self._show(diverged=str(self._diverged))

    def stop_requested(self) -> bool:
        return self._stop

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown, refresh=False)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._bar.write("stopping at the next block of steps; press Ctrl-C again to stop at once", file=sys.stderr)

    def __enter__(self) -> _ProgressBar:
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.seconds = time.monotonic() - self._began
        self._bar.close()


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


def main() -> None:
    """Run the command line; bad input exits with 2, an interruption with 130."""
    try:
        app()
    except RnnzooError as error:
        typer.echo(f"zoo-builder: {error}", err=True)
        sys.exit(2)
    except Interrupted:
        typer.echo("zoo-builder: stopped; everything is saved, and the same command goes on from here", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        typer.echo("zoo-builder: stopped; the same command goes on from the last saved state", err=True)
        sys.exit(130)

"""The command `zoo-bench`: how much encoders see in weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from loaders.benchmark import TARGETS, format_table, run_benchmark
from loaders.encoders import ENCODERS
from zoo_builder.errors import RnnzooError

app = typer.Typer(
    name="zoo-bench",
    help="Benchmark encoders of RNN weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    zoo: Annotated[str, typer.Option(metavar="ZOO", help="Folder of a zoo, or org/name on the hub.")],
    encoder: Annotated[str, typer.Option(help=f"{', '.join(ENCODERS)}, or module:Class for your own.")],
    target: Annotated[
        list[str] | None, typer.Option(help="What to predict, again for more; default: all.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the result.")] = Path("results"),
) -> None:
    """Embed a zoo with an encoder, fit readouts on its training tasks, and score them on unseen tasks."""
    result = run_benchmark(zoo, encoder, target or ())
    typer.echo(format_table([result]))
    path = out / f"{result['zoo']}-{encoder.replace(':', '.')}.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise RnnzooError(f"{path}: the result could not be written: {error.strerror}") from error
    typer.echo(f"\nresult: {path}")


@app.command("list")
def list_names() -> None:
    """List the encoders and the targets."""
    typer.echo("encoders: " + ", ".join(ENCODERS))
    typer.echo("targets:  " + ", ".join(TARGETS))


def main() -> None:
    """Run the command line; bad input exits with 2, an interruption with 130."""
    try:
        app()
    except RnnzooError as error:
        typer.echo(f"zoo-bench: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

"""The command `zoo-builder`: build, verify, look at and publish zoos."""

from __future__ import annotations

import sys

import typer

from rnnzoo.zoo_builder.cli import building, publishing
from rnnzoo.zoo_builder.cli.app import app
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted

__all__ = ["app", "building", "main", "publishing"]


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

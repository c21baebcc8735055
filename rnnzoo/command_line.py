"""What the two commands share: errors that name options, and exit codes."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError


class Interrupted(Exception):
    """The user stopped the command; the message says what is saved."""


class Commands(TyperGroup):
    """The commands of an app. Their errors name parameters; the user typed options, and reads of options."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ParameterError as error:
            options = _options(self.commands[ctx.invoked_subcommand])
            name = options.get(error.parameter, error.parameter)
            raise RnnzooError(f"{name}: {error.problem}") from error
        except KeyboardInterrupt:  # Typer would end with a bare "Aborted."
            raise Interrupted("stopped; the same command goes on from the last saved state") from None


def run(app: typer.Typer, name: str) -> None:
    """Run an app of `Commands`; bad input exits with 2, an interruption with 130."""
    try:
        app(prog_name=name)
    except RnnzooError as error:
        typer.echo(f"{name}: {error}", err=True)
        sys.exit(2)
    except Interrupted as stop:
        typer.echo(f"{name}: {stop}", err=True)
        sys.exit(130)


def _options(command: Any) -> dict[str, str]:
    """Parameter of a command -> the option that gives it."""
    return {each.name: each.opts[0] for each in command.params if each.param_type_name == "option"}

"""The command `zoo-builder`: build, verify, look at and publish zoos."""

from __future__ import annotations

from rnnzoo import command_line
from rnnzoo.zoo_builder.cli import building, exploring, publishing
from rnnzoo.zoo_builder.cli.app import app

__all__ = ["app", "building", "exploring", "main", "publishing"]


def main() -> None:
    """Run the command line; bad input exits with 2, an interruption with 130."""
    command_line.run(app, "zoo-builder")

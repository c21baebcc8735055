"""The options of work on a Ray cluster, for both commands.

The value of `--ray [ADDRESS]` may be left out, which Typer does not know.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from rnnzoo.zoo_builder.cluster import LOCAL

OPTION = "--ray"

RayOption = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="[ADDRESS]",
        help="Spread the work over a Ray cluster: auto (the one running here), HOST:PORT or ray://HOST:PORT; "
        "without a value $RAY_ADDRESS, else one started on this machine. A task has 1 thread without --threads.",
    ),
]

GpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-task", metavar="SHARE", help="With --ray: of a GPU, up to 1; default 1 with --device cuda."
    ),
]


class ClusterCommand(TyperCommand):
    """A command with `RayOption`. The word after `--ray` is its value only if it reads as an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, fill_in_address(args))


def fill_in_address(words: list[str]) -> list[str]:
    """Give a `--ray` without a value its default.

    >>> fill_in_address(["--ray", "auto", "ZOO"]), fill_in_address(["--ray=head:6379"])
    (['--ray', 'auto', 'ZOO'], ['--ray=head:6379'])
    """
    filled: list[str] = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        filled.append(word)
        if word == OPTION and not is_address(following):
            filled.append(os.environ.get("RAY_ADDRESS") or LOCAL)
    return filled


def is_address(word: str) -> bool:
    return word in (LOCAL, "auto") or (":" in word and not word.startswith("-"))

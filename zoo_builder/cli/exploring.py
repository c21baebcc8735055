"""The command that shows a zoo in a browser: explore."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rnnzoo.command_line import draw_without_a_screen, say
from rnnzoo.zoo_builder.cli.app import app


@app.command()
def explore(
    zoo: Annotated[
        str,
        typer.Argument(
            metavar="ZOO_OR_REPO", help="Folder of a zoo, or org/name[@revision] on the hub (else main)."
        ),
    ],
    static: Annotated[
        Path | None, typer.Option(help="New folder for the page and its weights; default: serve it here.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page served here; 0: a free one.")] = 0,
) -> None:
    """Show a zoo as a page in which its RNNs run.

    The folder of --static needs no program: any web server shows it, and it
    is a static Space of the hub as it stands.
    """
    draw_without_a_screen()
    from rnnzoo.zoo_builder.explorer import ExplorerServer, find_zoo, write_site

    found = find_zoo(zoo)
    if static is not None:
        size = write_site(found, static)
        shown = f"python -m http.server -d {shlex.quote(str(static))}"
        say(f"finished: {static}, {size / 1e6:.1f} MB; `{shown}` shows it")
        return
    with ExplorerServer(found, port) as server:
        say(f"{zoo}: {server.address} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")

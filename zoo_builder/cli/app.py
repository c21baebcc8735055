"""The Typer app, and the arguments and options that several commands share."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnzoo.command_line import MOST_PROCESSES, VersionOption, VisibleFormatter, make_app

app = make_app("Build model zoos of recurrent networks, verify them, look at them, and publish them.")

ZooArgument = Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a finished zoo.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
KernelOption = Annotated[str, typer.Option(help="auto, fused (compiled for this CPU, or GPU) or torch.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=MOST_PROCESSES, help="CPU threads; default: all cores.")
]


@app.callback()
def _main(version: VersionOption = False) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("rnnzoo").setLevel(logging.INFO)  # the hub's client would tell of every request
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own

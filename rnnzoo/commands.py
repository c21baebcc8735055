"""Where the two commands begin: a Ctrl-C while they import torch, a second or more, ends like a later one."""

from __future__ import annotations

import sys
from importlib import import_module

INTERRUPTED = 130
"""Exit code of a command that the user stopped."""
STOPPED = "stopped"
"""What it says then."""


def zoo_builder() -> None:
    """Run the command `zoo-builder`; bad input exits with 2, an interruption with 130."""
    _begin("zoo-builder", "rnnzoo.zoo_builder.cli")


def zoo_bench() -> None:
    """Run the command `zoo-bench`, likewise."""
    _begin("zoo-bench", "rnnzoo.loaders.cli")


def _begin(name: str, module: str) -> None:
    try:
        import_module(module).main()
    except KeyboardInterrupt:
        print(f"{name}: {STOPPED}", file=sys.stderr)
        sys.exit(INTERRUPTED)

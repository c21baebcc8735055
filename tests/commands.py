"""The two commands, run in this process as a person types them."""

import sys

import pytest

from rnnzoo.loaders import cli as bench_cli
from rnnzoo.zoo_builder import cli as builder_cli

MAINS = {"zoo-builder": builder_cli.main, "zoo-bench": bench_cli.main}


def exit_code(command: str, *arguments: object) -> int:
    """The exit code of `zoo-builder` or `zoo-bench` with some arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            MAINS[command]()
    return stopped.value.code or 0

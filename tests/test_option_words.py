"""Libraries do not speak of command lines: only the `cli` modules write of `--options`."""

import ast
import pickle
import re
from pathlib import Path

import pytest

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError

ROOT = Path(__file__).parent.parent
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
FOREIGN = {"--version"}
"""Options of other programs, as they are called with."""
COMMAND_LINES = {"cli", "command_line", "ray_options", "settings"}
LIBRARY = [
    path
    for folder in ("rnnzoo", "zoo_builder", "loaders")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not {path.stem, path.parent.stem} & COMMAND_LINES
]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_library_speaks_of_options(path):
    texts = {
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found = [(line, text) for line, text in texts if text not in FOREIGN and OPTION.search(text)]
    assert not found


def test_an_error_of_a_parameter_names_it_and_survives_pickling():
    error = pickle.loads(pickle.dumps(ParameterError("device", "found 'tpu', expected cpu")))
    assert isinstance(error, RnnzooError)
    assert (str(error), error.parameter) == ("device: found 'tpu', expected cpu", "device")

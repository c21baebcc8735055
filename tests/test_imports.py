"""Imports run one way: which room may know of which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASIC = {"errors", "columns", "random_streams"}
"""Small modules that everybody may use."""
MAY_IMPORT = {
    "cluster": set(),
    "columns": set(),
    "compiled": set(),
    "errors": set(),
    "random_streams": set(),
    "rnn": set(),
    "tasks": set(),
    "storage": {"rnn", "tasks"},
    "training": {"rnn", "tasks", "compiled"},
    "rollouts": {"rnn", "tasks", "training"},
    "splits": {"tasks"},
    "zoos": {"rnn", "tasks", "storage", "rollouts", "training"},
    "pipeline": {"rnn", "tasks", "storage", "training", "rollouts", "splits", "zoos", "cluster"},
    "verify": {"rnn", "tasks", "storage", "training", "rollouts", "splits", "zoos", "pipeline"},
    "overview": {"rnn", "tasks", "storage", "splits"},
    "__main__": {"cli"},
    "release": {"rnn", "tasks", "storage", "training", "splits", "zoos", "overview", "verify"},
    "published": {"rnn", "tasks", "storage", "training", "rollouts", "splits", "zoos"},
    "cli": {
        "cluster",
        "overview",
        "pipeline",
        "published",
        "release",
        "storage",
        "tasks",
        "training",
        "verify",
        "zoos",
    },
}
LOADERS_MAY_USE = {"compiled", "rnn", "tasks", "storage", "rollouts", "cluster"}


def imported(path: Path) -> set[str]:
    """Absolute names of the project's modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in found if name.split(".")[0] in {"rnnzoo", "benchmarks", "tests"}}
    return {name.removeprefix("rnnzoo.") for name in ours - {"rnnzoo"}}


def room(path: Path) -> str:
    return path.relative_to(ROOT / "zoo_builder").parts[0].removesuffix(".py")


FILES = sorted((ROOT / "zoo_builder").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_zoo_builder(path):
    if path == ROOT / "zoo_builder" / "__init__.py":
        assert not imported(path)
        return
    for name in imported(path):
        package, used, *_ = f"{name}.".split(".")
        if package in ("command_line", "ray_options", "settings"):
            assert room(path) in ("cli", "release"), f"{path} imports {name}"
            continue
        assert package == "zoo_builder", f"{path} imports {name}"
        allowed = MAY_IMPORT[room(path)] | BASIC | {room(path), ""}
        assert used in allowed, f"{path} imports {name}"


LOADERS = sorted((ROOT / "loaders").rglob("*.py"))


@pytest.mark.parametrize("path", LOADERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_loaders(path):
    for name in imported(path):
        package, used, *_ = f"{name}.".split(".")
        if package == "zoo_builder":
            assert used in LOADERS_MAY_USE | BASIC | {""}, f"{path} imports {name}"

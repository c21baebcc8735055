"""Imports run one way: which room may know of which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rnnzoo.zoo_builder.rnn import CELLS
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family
from rnnzoo.zoo_builder.tasks.encodings import ENCODINGS

ROOT = Path(__file__).parent.parent
BASIC = {"errors", "columns", "escaping", "hub", "plugins", "random_streams"}
"""Small modules that everybody may use."""
MAY_IMPORT = {
    "cluster": set(),
    "columns": set(),
    "compiled": {"rnn", "storage"},
    "errors": set(),
    "escaping": set(),
    "plugins": set(),
    "hub": set(),
    "random_streams": set(),
    "rnn": set(),
    "tasks": {"rnn"},
    "storage": {"rnn", "tasks"},
    "training": {"rnn", "tasks", "storage", "compiled"},
    "rollouts": {"rnn", "tasks", "training"},
    "splits": {"tasks"},
    "zoos": {"rnn", "tasks", "storage", "rollouts", "training"},
    "pipeline": {"rnn", "tasks", "storage", "training", "rollouts", "splits", "zoos", "cluster"},
    "identity": {"tasks", "storage", "zoos", "pipeline"},
    "rescoring": {"storage", "training", "rollouts", "pipeline", "zoos"},
    "verify": {
        "rnn",
        "tasks",
        "storage",
        "training",
        "rollouts",
        "rescoring",
        "splits",
        "zoos",
        "pipeline",
        "identity",
    },
    "weight_map": set(),
    "explorer": {"tasks", "storage", "overview", "identity", "weight_map"},
    "overview": {"rnn", "tasks", "storage", "identity"},
    "__main__": {"cli"},
    "release": {
        "rnn",
        "tasks",
        "storage",
        "training",
        "rollouts",
        "splits",
        "zoos",
        "overview",
        "verify",
        "identity",
        "weight_map",
    },
    "published": {"rnn", "tasks", "storage", "training", "rollouts", "splits", "zoos"},
    "cli": {
        "cluster",
        "explorer",
        "identity",
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
LOADERS_MAY_USE = {"compiled", "rnn", "tasks", "storage", "rescoring", "cluster"}
LOADERS_MAY_IMPORT = {
    "__init__": {"zoo", "loading"},
    "source": set(),
    "values": set(),
    "reading": {"source", "values"},
    "loading": {"source", "reading"},
    "checkpoints": {"values"},
    "running": set(),
    "zoo": {"source", "reading", "checkpoints", "running"},
    "population": set(),
    "loaded_zoo": {"zoo", "population"},
    "encoders": {"population"},
    "training_config": set(),
    "result_key": set(),
    "training": {"training_config", "result_key"},
    "emulation": {"loaded_zoo", "encoders", "training", "training_config", "result_key"},
    "benchmark": {"zoo", "loaded_zoo", "encoders", "emulation", "training", "training_config", "result_key"},
    "model_repository": {"source", "benchmark"},
    "cli": {"encoders", "benchmark", "training_config", "model_repository"},
}
"""The rooms of `loaders`: data know nothing of encoders, and who reads a zoo not where it lies."""


def imported(path: Path) -> set[str]:
    """Absolute names of the project's modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
        if package == "loaders":
            own = path.relative_to(ROOT / "loaders").parts[0].removesuffix(".py")
            assert used in LOADERS_MAY_IMPORT[own] | {own}, f"{path} imports {name}"
        if package == "zoo_builder":
            allowed = LOADERS_MAY_USE | BASIC | {""}
            if path == ROOT / "loaders" / "benchmark" / "fresh.py":  # the one place that builds a zoo
                allowed |= {"pipeline", "splits", "training", "zoos"}
            assert used in allowed, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("package", "files", "edges"), [("zoo_builder", FILES, MAY_IMPORT), ("loaders", LOADERS, LOADERS_MAY_IMPORT)]
)
def test_what_a_room_may_import_it_imports(package, files, edges):
    for own, allowed in edges.items():
        mine = [path for path in files if path.relative_to(ROOT / package).parts[0].removesuffix(".py") == own]
        used = {name.split(".")[1] for path in mine for name in imported(path) if name.startswith(f"{package}.")}
        assert allowed <= used, f"{own} imports nothing of {allowed - used}"


def test_who_reads_a_zoo_does_not_know_where_it_lies():
    for path in [*ROOT.glob("loaders/reading/*.py"), ROOT / "loaders" / "loading.py", ROOT / "loaders" / "zoo.py"]:
        used = {name.split(".")[2] for name in imported(path) if name.startswith("loaders.source.")}
        assert used <= {"base", "runs", "opening"}, f"{path} imports {used}"


def words_of_families() -> tuple[set[str], set[str]]:
    """Strings that only a family says: its name, zoos and columns; and the classes of families and encodings."""
    families = [find_family(name) for name in FAMILIES]
    strings = {family.name for family in families} | {zoo for family in families for zoo in family.zoos}
    sources = {(family, zoo.source) for family in families for zoo in family.zoos.values()}
    strings |= {column for family, source in sources for column in family.columns(source).names}
    strings |= {column for family in families if family.published for column in family.published.columns.names}
    return strings, {made.__name__ for made in (*families, *ENCODINGS.values())}


STRINGS, CLASSES = words_of_families()


def names_a_family(path: Path) -> list[str]:
    """Where a file names a family, a column of one, or a class of encodings."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        words = set()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = {node.value} & STRINGS
        elif isinstance(node, ast.Name | ast.Attribute):
            words = {node.id if isinstance(node, ast.Name) else node.attr} & CLASSES
        elif isinstance(node, ast.ImportFrom):
            words = {alias.name for alias in node.names} & CLASSES | set((node.module or "").split(".")) & STRINGS
        found += [f"line {node.lineno}: {word}" for word in words]
    return found


OUTSIDE = [path for path in FILES if room(path) != "tasks"] + LOADERS + sorted((ROOT / "rnnzoo").rglob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_room_of_tasks_names_a_family(path):
    assert not names_a_family(path)


def test_a_module_that_names_a_family_is_found():
    own = ROOT / "zoo_builder" / "tasks" / "formal_languages" / "family.py"
    words = {line.split(": ")[1] for line in names_a_family(own)}
    assert words >= {"formal_languages", "offsets", "TokenEncoding"}


NAMES_OF_CELLS = {
    "zoo_builder/zoos.py": 1,  # the cell of a zoo whose config names none
    "loaders/encoders/probing/frozen_rnn.py": 1,  # the cell that has a backward of its own in torch
}
"""The only modules outside `rnn` that name a cell, and how often; for all others every cell is alike."""


def names_of_cells(path: Path) -> int:
    """How often a file has the name of a cell, or of a cell's parameter, as a string."""
    strings = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return sum(string in CELLS or string.startswith(tuple(f"{cell}." for cell in CELLS)) for string in strings)


def test_only_the_room_of_rnns_names_a_cell():
    files = [path for path in (*FILES, *LOADERS) if path.relative_to(ROOT).parts[1] != "rnn"]
    found = {str(path.relative_to(ROOT)): names_of_cells(path) for path in files}
    assert {path: count for path, count in found.items() if count} == NAMES_OF_CELLS
    assert names_of_cells(ROOT / "zoo_builder" / "rnn" / "cells.py") >= len(CELLS)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_read_without_heavy_libraries(name):
    program = (
        "import sys; from rnnzoo.zoo_builder.tasks import find_family; find_family(sys.argv[1]);"
        "print({'torch', 'matplotlib', 'sklearn', 'datasets'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"

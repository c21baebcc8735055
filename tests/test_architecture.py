"""docs/architecture.md: its walks can be walked, and its rooms are those that are there."""

import ast
import re
from pathlib import Path

import pytest
from test_imports import LOADERS_MAY_IMPORT, MAY_IMPORT

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = {
    title: re.findall(r"^\d+\. `([\w/]+\.py)`", text, re.MULTILINE)
    for title, _, text in (section.partition("\n") for section in PAGE.split("\n## ")[2:])
}


def module(path: str) -> str:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.startswith("rnnzoo") else f"rnnzoo.{name}"


def imported(path: str) -> set[str]:
    """Modules that a file imports, with the packages around the names it takes."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_there_are_three_walks():
    assert len(WALKS) == 3
    assert all(len(walk) > 9 for walk in WALKS.values())


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_follows_imports_and_comes_nowhere_twice(title):
    walk = WALKS[title]
    assert len(set(walk)) == len(walk)
    known = imported(walk[0])
    for path in walk[1:]:
        assert module(path) in known, f"{path}: imported by nothing that came before it"
        known |= imported(path)


@pytest.mark.parametrize("package", ["zoo_builder", "loaders"])
def test_every_room_is_in_the_tables(package):
    ignored = {"__init__.py", "__main__.py", "errors.py", "columns.py", "random_streams.py", "training.py"}
    ignored |= {"training_config.py", "__pycache__"}
    rooms = {path.name for path in (ROOT / package).iterdir()} - ignored
    for room in sorted(rooms):
        assert re.search(rf"^\|[^|]*`{re.escape(room)}`", PAGE, re.MULTILINE), f"{package}/{room} is in no table"


@pytest.mark.parametrize(
    ("heading", "edges"), [("`zoo_builder`, from", MAY_IMPORT), ("`loaders`, likewise", LOADERS_MAY_IMPORT)]
)
def test_a_room_imports_only_rooms_above_it(heading, edges):
    places: dict[str, int] = {}
    for line, text in enumerate(re.findall(r"^\|([^|]*)\|", PAGE.partition(heading)[2], re.MULTILINE)):
        for name in re.findall(r"`([\w.]+)`", text):
            places.setdefault(name.removesuffix(".py"), line)
    for room in edges.keys() & places.keys():
        for used in edges[room]:
            assert places[used] <= places[room], f"{room} stands above {used}, which it imports"

"""The notebooks in examples/: their cells run, and what the one of locks prints stands on its page."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from rnnzoo.zoo_builder.zoos import resolve_config

InteractiveShell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell

ROOT = Path(__file__).parent.parent
TINY = {
    "open_and_look": 'ZOO = Path("{languages}")',
    "accuracy_and_pca": 'ZOO = Path("{languages}")',
    "your_own_encoder": 'ZOO = Path("{languages}")\nTRAINING_STEPS, SEEDS = 2, 1',
    "symmetries_and_mode_connectivity": 'ZOO = Path("{locks}")',
    "streaming_from_the_hub": 'ZOO, RELEASE = Path("{languages}"), Path("{release}")',
    "build_your_own_zoo": 'ZOO, RUNS, STEPS = Path("mine"), 9, 4',
}
"""Notebook -> what stands for its cell that is tagged "parameters"."""
NOTEBOOK = ROOT / "examples" / "combination_locks.ipynb"
PAGE = ROOT / "docs" / "combination_locks.md"
SMALL = """
from pathlib import Path
ZOOS, FIGURES = Path("zoos"), Path("figures")
DEPTHS, DEPTH, RUNS, STEPS = range(2, 5), 4, 32, 100
LEARNED, LEARNED_STEPS, SEEDS = {4: 16}, 20, 1
SETTINGS, RANDOM_SETS = (("steps", 2), ("validate_every", 1)), 2
"""
"""Stands for the cell that is tagged "parameters"."""


def code_cells(path: Path = NOTEBOOK) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def printed() -> list[str]:
    """What the notebook's cells printed when it was committed."""
    return ["".join(out["text"]) for cell in code_cells() for out in cell["outputs"] if "text" in out]


def test_it_ran_from_top_to_bottom():
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    kinds = {out.get("name", out["output_type"]) for cell in code_cells() for out in cell["outputs"]}
    assert kinds == {"stdout", "display_data"}


def test_the_page_has_its_tables_and_figures():
    page = PAGE.read_text()
    tables = [text for text in printed() if text.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert table in page, "put the tables that the notebook prints into the page"
    shown = re.findall(r"\]\((combination_locks/.*?)\)", page)
    saved = re.findall(r'save\(figure, "(.*?)"\)', "".join("".join(cell["source"]) for cell in code_cells()))
    assert sorted(shown) == sorted(f"combination_locks/{name}" for name in saved)
    assert all((PAGE.parent / path).stat().st_size < 100_000 for path in shown)


@pytest.mark.slow
def test_its_cells_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in code_cells():
        exec(SMALL if "parameters" in cell["metadata"].get("tags", []) else "".join(cell["source"]), names)
    plt.close("all")
    assert capsys.readouterr().out.count("\n| --- |") == 5
    assert len(list((tmp_path / "figures").iterdir())) == 3


def test_every_notebook_is_listed():
    names = {path.stem for path in (ROOT / "examples").glob("*.ipynb")}
    assert names == {*TINY, NOTEBOOK.stem}
    readme = (ROOT / "README.md").read_text()
    assert all(f"examples/{name}.ipynb" in readme for name in names)


@pytest.mark.parametrize("name", TINY)
def test_what_is_committed_ran_from_top_to_bottom(name):
    cells = code_cells(ROOT / "examples" / f"{name}.ipynb")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = json.dumps([cell["outputs"] for cell in cells])
    assert '"output_type": "error"' not in shown
    assert str(ROOT) not in shown
    assert "/tmp/" not in shown


@pytest.fixture(scope="module")
def locks_zoo(undisturbed):
    """Two RNNs a lock."""
    small = {"runs": 32, "steps": 4, "checkpoints": (0, 4), "rollouts": 4}
    return undisturbed(resolve_config("combination_locks_4", "smoke", small))


@pytest.mark.parametrize("name", TINY)
def test_a_notebook_runs(name, language_zoo, language_release, locks_zoo, short_readouts, tmp_path, monkeypatch):
    """In a shell of this process: a kernel of its own would take seconds to start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shell = InteractiveShell()
    parameters = TINY[name].format(languages=language_zoo, release=language_release, locks=locks_zoo)
    for cell in code_cells(ROOT / "examples" / f"{name}.ipynb"):
        is_set = "parameters" in cell["metadata"].get("tags", [])
        source = f"from pathlib import Path\n{parameters}" if is_set else "".join(cell["source"])
        shell.run_cell(source).raise_error()
    plt.close("all")

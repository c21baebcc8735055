"""The notebooks in examples/: their cells run, and what they print stands on their pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parent.parent
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


def code_cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


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
    assert len(tables) == 4
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
    assert capsys.readouterr().out.count("\n| --- |") == 4
    assert len(list((tmp_path / "figures").iterdir())) == 3

"""Two small families of tasks as another package would bring them: `words` writes, `shifted` answers.

`install` makes them an installed distribution, whose entry points the product finds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ENTRY_POINTS = """[rnnzoo.families]
counting_words = toy_family.words:CountingWords
shifted_symbols = toy_family.shifted:ShiftedSymbols
"""


def install(site: Path, entry_points: str = ENTRY_POINTS) -> None:
    """Put the package, and what an installer writes beside it, into a folder of the module search path."""
    shutil.copytree(Path(__file__).parent, site / "toy_family", ignore=shutil.ignore_patterns("__pycache__"))
    described = site / "toy_family-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(entry_points)

"""Changes of this package's files that were shown to leave every score as it was.

A result belongs to the source files that made it (`code.py`). A clearer error or a better docstring changes such a
file, and no score; yet all results would have to be made again, those of users too. `python -m
benchmarks.same_scores` runs every encoder before and after such a change. Where all results are the same it
writes the change down, in `same_scores.json` beside this module: file -> digest that it has now -> digest of the
file that it scores like.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_suffix(".json")


def scores_like(file: str, digest: str) -> str:
    """The digest that a source file has in keys of results.

    Args:
        file: Its label in a key, such as "rnnzoo/zoo_builder/rnn/spec.py".
        digest: 16 digits of its SHA-256.

    Returns:
        The digest of the earlier file that is known to score alike; its own where there is none.
    """
    return table_of(TABLE).get(file, {}).get(digest, digest)


@cache
def table_of(path: Path) -> dict[str, dict[str, str]]:
    """File -> digest now -> digest of the file that it scores like; empty where nothing was written down."""
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found

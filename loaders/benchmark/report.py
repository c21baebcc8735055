"""Results as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def format_table(results: Sequence[dict[str, Any]]) -> str:
    """One line an encoder and target: the main score first, on test and on ood."""
    rows = [("encoder", "target", "score", "test", "ood")]
    for result in results:
        for target, splits in result["scores"].items():
            for number, score in enumerate(splits["test"]):
                arrow = {"higher": "↑", "lower": "↓"}[result["better"][target]] if number == 0 else ""
                values = (_shown(splits[split][score]) for split in ("test", "ood"))
                name = (result["encoder"], target) if number == 0 else ("", "")
                rows.append((*name, f"{score} {arrow}".strip(), *values))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

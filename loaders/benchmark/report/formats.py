"""A report in forms for programs and papers: CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rnnzoo.loaders.benchmark.prediction.scores import better
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.report.tables import Line, TargetTable
from rnnzoo.loaders.benchmark.report.text import ARROWS, marked, number, with_interval
from rnnzoo.zoo_builder.escaping import for_latex, one_line

FORMATS = ("table", "csv", "latex", "json")


def as_csv(boards: Sequence[LeaderboardTables]) -> str:
    """One line a board, encoder, track, target, split and score; nothing where a number is not known."""
    rows = list(_all_rows(boards))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: one_line(value) if isinstance(value, str) else value for name, value in row.items()}
        )
    return text.getvalue().rstrip("\n")


def as_json(boards: Sequence[LeaderboardTables]) -> str:
    """The same lines as JSON; null where a number is not known."""
    return json.dumps(list(_all_rows(boards)), indent=2, allow_nan=False)


def as_latex(boards: Sequence[LeaderboardTables]) -> str:
    """A table a target, for the package booktabs: main scores with 95 % intervals, ceiling and chance."""
    parts = []
    for tables in boards:
        for table in tables.targets:
            parts += [f"% {for_latex(tables.title)}: {for_latex(table.target.name)}", _tabular(table)]
    return "\n".join(parts)


def _tabular(table: TargetTable) -> str:
    header = ["encoder", "track", *(f"{table.main} {ARROWS[table.better]} {split}" for split in table.splits)]
    lines = [
        [marked(line), line.track, *(with_interval(line.scores[split][table.main]) for split in table.splits)]
        for line in table.lines
    ]
    limits = [
        [label, "", *(number(getattr(table.limits[split], label).get(table.main)) for split in table.splits)]
        for label in ("ceiling", "chance")
    ]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{ll{'r' * len(table.splits)}}}",
            *(r"\toprule", _latex_row(header), r"\midrule", *map(_latex_row, lines)),
            *(r"\midrule", *map(_latex_row, limits), r"\bottomrule", r"\end{tabular}"),
        ]
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(for_latex, cells)) + r" \\"


def _all_rows(boards: Sequence[LeaderboardTables]) -> Iterator[dict[str, Any]]:
    for tables in boards:
        rows = tables.board.rows
        board = {"zoo": rows.zoo, "protocol": rows.protocol, "origin": tables.board.origin or None}
        for table in tables.targets:
            for line in table.lines:
                for row in score_rows(table, line):
                    yield board | {name: None if value != value else value for name, value in row.items()}  # NaN


def score_rows(table: TargetTable, line: Line) -> Iterator[dict[str, Any]]:
    """One row a split and score of an encoder on a track, the main score first."""
    for split in table.splits:
        limits = table.limits[split]
        for score in table.scores:
            found = line.scores[split][score]
            before = line.untrained.get(split) if score == table.main else None
            yield {
                "encoder": line.encoder,
                "track": line.track,
                "target": table.target.name,
                "split": split,
                "score": score,
                "better": better(score),
                "mean": None if found is None else found.mean,
                "low": None if found is None else found.low,
                "high": None if found is None else found.high,
                "untrained": None if before is None else before.mean,
                "chance": limits.chance.get(score),
                "ceiling": limits.ceiling.get(score),
                "readout": line.readout,
                "seeds": line.seeds,
                "tasks": limits.tasks,
                "checkpoints": limits.rows,
            }

"""The report of a folder of results: a table in the terminal, Markdown, and one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rnnzoo.loaders.benchmark.report.checks import CHECKS_NOTE, check_cells
from rnnzoo.loaders.benchmark.report.formats import FORMATS, as_csv, as_json, as_latex
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables, render_page
from rnnzoo.loaders.benchmark.report.tables import Line
from rnnzoo.loaders.benchmark.report.text import (
    LOSS_NOTE,
    SPLIT_NOTES,
    Cells,
    aligned,
    by_step_cells,
    emulation_cells,
    format_table,
    leakage_cells,
    limits_note,
    markdown,
    notes_on,
    notes_on_intervals,
    target_cells,
    target_step_cells,
    target_step_title,
)
from rnnzoo.loaders.benchmark.results.committed import merge_committed
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.escaping import for_markdown, with_code
from rnnzoo.zoo_builder.storage.writing import write_single

__all__ = ["format_table", "make_report"]

COMMITTED = Path(str(files("rnnzoo.dataset_cards")))
"""The cards of the zoos, with the results of the baselines under <zoo>/<preset>/results/."""
SCORES_NOTE = (
    "Means over seeds, with 95 % intervals for other tasks and other seeds. Sorted by the main ood score. "
    "Ceiling: of a perfect encoder, under the labels' errors; chance: of the best constant answer; n: checkpoints."
)
EMULATION_NOTE = (
    "Means over seeds with 95 % intervals for other seeds. Way to oracle: how far the loss is on the way "
    "from an emulator that is told nothing (`constant`) to one that is told task and step (`oracle`). Accuracies "
    "are of the first checkpoints of the last step; there are none where the zoo has no labels to tell right "
    "answers by."
)


def make_report(
    folder: Path,
    out: Path,
    against: str | None = None,
    baselines: bool = True,
    committed: Path = COMMITTED,
    form: str = "table",
    width: int | None = None,
) -> str:
    """Write the report of a folder of results as report.md and report.html.

    Args:
        folder: The results.
        out: Where the two files go.
        against: The encoder that others are compared with, in tables that have it; None for a baseline that is
            there, as in tables without it.
        baselines: Whether committed results of the same zoos are shown beside them.
        committed: The cards of the zoos, with the results of the baselines.
        form: Of the text that is returned, one of `FORMATS`.
        width: Of the lines of a table; None for any width.

    Returns:
        The tables as text.

    Raises:
        ParameterError: The form is unknown, or no table has the encoder to compare with.
        RnnzooError: The results do not fit together.
    """
    if form not in FORMATS:
        raise ParameterError("form", f"found {form!r}, expected one of {', '.join(FORMATS)}")
    boards = read_results(folder)
    if baselines:
        boards = [joined for board in boards for joined in merge_committed(board, committed)]
    known = sorted({result.encoder for board in boards for result in board.results})
    if against is not None and against not in known:
        raise ParameterError("against", f"found {against!r}, expected one of {', '.join(known)}")
    tables = [LeaderboardTables.of(board, against) for board in boards]
    write_single(out / "report.md", _markdown(tables).encode())
    write_single(out / "report.html", render_page(tables).encode())
    if form == "table":
        return _text(tables, width)
    return {"csv": as_csv, "latex": as_latex, "json": as_json}[form](tables)


@dataclass(frozen=True)
class _Section:
    """A table of a report in text.

    Attributes:
        title: What it shows.
        cells: The table.
        left: How many of its columns are flush left.
        about: What stands under a heading of its own; None for a table that belongs to the one before it.
        notes: What a reader must know of these very numbers.
    """

    title: str
    cells: Cells
    left: int
    about: str | None = None
    notes: tuple[str, ...] = ()


def _sections(tables: LeaderboardTables) -> Iterator[_Section]:
    """The tables of a board, in the order of a report."""
    for table in tables.targets:
        yield _Section(table.target.name, target_cells(table), 3, about="")
        notes = tuple(filter(None, [limits_note(table)]))
        yield _Section(target_step_title(table), target_step_cells(table), 2, notes=notes)
    if tables.emulations:
        about, notes = f"{LOSS_NOTE} {EMULATION_NOTE}", tuple(filter(None, [tables.emulation.note]))
        yield _Section("Emulation", emulation_cells(tables.emulation), 1, about, notes)
        for split in tables.board.rows.splits:
            cells = by_step_cells(tables.emulations, split)
            if len(cells) > 1:
                yield _Section(f"emulation loss by the checkpoint's step, {split}", cells, 1)
    if len(checks := check_cells(tables.board)) > 1:
        yield _Section("Checks", checks, 3, CHECKS_NOTE)
    if leakage := tables.board.leakage:
        title = f"Leakage: {leakage.target} from {leakage.encoder} by {leakage.readout}"
        yield _Section(title, leakage_cells(tables.board), 1, about="")


def _text(boards: list[LeaderboardTables], width: int | None) -> str:
    """All tables for a terminal."""
    parts = []
    for tables in boards:
        parts += [tables.title.upper(), *tables.board.notes]
        for section in _sections(tables):
            parts += [*section.notes, f"{section.title}\n{aligned(section.cells, section.left, width)}"]
    parts += [*notes_on(_lines(boards)), *notes_on_intervals(_lines(boards))]
    return "\n\n".join(parts)


def _markdown(boards: list[LeaderboardTables]) -> str:
    parts = ["# Benchmark of encoders of RNN weights", SCORES_NOTE]
    parts += [*notes_on(_lines(boards)), *map(with_code, notes_on_intervals(_lines(boards)))]
    for tables in boards:
        parts.append(f"## {for_markdown(tables.title)}")
        parts.append("\n".join(f"- {label}: {for_markdown(value)}" for label, value in tables.facts()))
        parts += map(with_code, [SPLIT_NOTES[tables.board.rows.protocol], *tables.board.notes])
        for section in _sections(tables):
            title = for_markdown(section.title)
            if section.about is not None:
                parts += [f"### {title}", *filter(None, [section.about])]
            parts += map(with_code, section.notes)
            if section.about is None:
                parts.append(f"{title[0].upper()}{title[1:]}:")
            parts.append(markdown(section.cells, section.left))
    return "\n\n".join(parts) + "\n"


def _lines(boards: list[LeaderboardTables]) -> list[Line]:
    return [line for tables in boards for table in tables.targets for line in table.lines]

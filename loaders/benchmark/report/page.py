"""A report as one self-contained HTML page: no network, readable without JavaScript, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rnnzoo.loaders.benchmark.prediction.scores import better
from rnnzoo.loaders.benchmark.report import emulation_plots, plots
from rnnzoo.loaders.benchmark.report.checks import CHECKS_NOTE, check_cells
from rnnzoo.loaders.benchmark.report.marks import Marks, marks_of
from rnnzoo.loaders.benchmark.report.score_limits import accuracy_of_rnns
from rnnzoo.loaders.benchmark.report.statistics import Estimate
from rnnzoo.loaders.benchmark.report.tables import (
    EmulationLine,
    EmulationTable,
    Line,
    TargetTable,
    emulation_table,
    target_tables,
)
from rnnzoo.loaders.benchmark.report.text import (
    ARROWS,
    LOSS_NOTE,
    NOTE_DATA,
    SPLIT_NOTES,
    by_step_cells,
    leakage_cells,
    leakage_scores,
    limits_note,
    notes_on_intervals,
    number,
    own_accuracy,
    percent,
    rnns_of,
    target_step_cells,
    target_step_title,
    with_interval,
)
from rnnzoo.loaders.benchmark.results.content import Emulation, Result
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard
from rnnzoo.loaders.benchmark.results.same_zoo import describe_digest
from rnnzoo.zoo_builder.escaping import for_html

TEMPLATE = "page.html.jinja"
GROUPS = {
    "mechanistic": "reads weights",
    "functionalist": "runs the RNN",
    "hand-made": "built to measure what tells the tasks apart, and does so untrained",
    "control": "no learning in weight space",
    "user": "a user's own",
}
LEAST_SCORE = 0.0005
"""Lower scores are shown as 0.000."""


@dataclass(frozen=True)
class LeaderboardTables:
    """A leaderboard and what its tables say."""

    board: Leaderboard
    targets: list[TargetTable]
    emulation: EmulationTable

    @staticmethod
    def of(board: Leaderboard, against: str | None) -> LeaderboardTables:
        return LeaderboardTables(board, target_tables(board, against), emulation_table(board))

    @property
    def emulations(self) -> tuple[EmulationLine, ...]:
        """The lines of the table of emulation."""
        return self.emulation.lines

    @property
    def title(self) -> str:
        rows = self.board.rows
        origin = f": {self.board.origin}" if self.board.origin else ""
        return f"{rows.zoo.replace('_', ' ')}, protocol {rows.protocol}{origin}"

    @property
    def anchor(self) -> str:
        return f"{self.board.rows.zoo}-{self.board.rows.protocol}{'-baselines' if self.board.origin else ''}"

    def facts(self) -> list[tuple[str, str]]:
        """The scale of what was measured, for people."""
        rows = self.board.rows
        config = rows.zoo_config
        facts = [("zoo", f"{rows.zoo}, preset {config.get('preset') or 'none'}")]
        facts += [(name, f"{config[name]:,}") for name in ("runs", "steps") if isinstance(config.get(name), int)]
        if "cell" in config:
            facts.append(("RNNs", rnns_of(config)))
        for name, split in rows.splits.items():
            shown = (
                f"{len(split.step):,} checkpoints of {len(set(split.run)):,} runs, {len(set(split.task)):,} tasks"
            )
            facts.append((f"reported on {name}", shown))
        for name, accuracy in accuracy_of_rnns(rows).items():
            facts.append((f"RNNs' accuracy on {name}, last step", number(accuracy)))
        seeds = sorted({result.seed for result in self.board.results})
        return [*facts, ("seeds", ", ".join(map(str, seeds)) or "–"), ("zoo's weights", describe_digest(rows))]


@dataclass(frozen=True)
class Standing:
    """A line of the leaderboard: an encoder and track, main scores on ood by target, the emulation loss on ood."""

    line: Line
    scores: dict[str, Estimate | None]
    emulation: Estimate | None


def leaderboard(tables: LeaderboardTables) -> list[Standing]:
    """Every encoder and track, in the order of the first target's table."""
    losses = {line.encoder: line.losses.get("ood") for line in tables.emulations}
    standings: dict[tuple[str, str], Standing] = {}
    for table in tables.targets:
        for line in table.lines:
            if (line.encoder, line.track) not in standings:
                loss = losses.get(line.encoder) if line.track == "frozen" else None
                standings[line.encoder, line.track] = Standing(line, {}, loss)
            standings[line.encoder, line.track].scores[table.target.name] = line.scores["ood"][table.main]
    return list(standings.values())


def best_scores(tables: LeaderboardTables) -> dict[str, float]:
    """The best main score on ood of each target, and the lowest emulation loss, if losses rank, where one is.

    None is where one of several seeds was scored of an encoder: how far others would lie is not known.
    """
    best = {
        table.target.name: clear_best([line.scores["ood"][table.main] for line in table.lines], table.better)
        for table in tables.targets
        if not any(line.has_one_seed for line in table.lines)
    }
    if tables.emulation.is_ranking:
        best["emulation"] = clear_best([line.losses.get("ood") for line in tables.emulations], "lower")
    return {name: value for name, value in best.items() if value is not None}


def clear_best(estimates: Sequence[Estimate | None], better: str) -> float | None:
    """The best of means, where its interval overlaps with no other and it is more than nothing; else None."""
    sign = -1 if better == "higher" else 1
    ranked = sorted((e for e in estimates if e), key=lambda e: sign * e.mean)
    if not ranked:
        return None
    first, *others = ranked
    if (better == "higher" and first.mean < LEAST_SCORE) or math.isnan(first.low):
        return None
    apart = [other.high < first.low if better == "higher" else other.low > first.high for other in others]
    return first.mean if all(apart) else None


def render_page(boards: Sequence[LeaderboardTables]) -> str:
    """The page of all boards."""
    marks = marks_of(encoder for tables in boards for encoder in _encoders(tables))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda shown: for_html(shown) if isinstance(shown, str) else shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        boards=[_view(tables, marks) for tables in boards],
        marks=marks,
        groups=GROUPS,
        loss_note=LOSS_NOTE,
        better=better,
        coded=coded,
        breakable=breakable,
        with_interval=with_interval,
        number=number,
        limits_note=limits_note,
        step_cells=target_step_cells,
        step_title=target_step_title,
        percent=percent,
        own_accuracy=own_accuracy,
        arrows=ARROWS,
        checks_note=CHECKS_NOTE,
        note_data=NOTE_DATA,
    )


def _encoders(tables: LeaderboardTables) -> list[str]:
    """All encoders of a board, in the order in which the page names them."""
    scored = [standing.line.encoder for standing in leaderboard(tables)]
    return [*scored, *(line.encoder for line in tables.emulations)]


def coded(text: str) -> Markup:
    """A sentence in which `names` stand as code."""
    parts = text.split("`")
    code = Markup("<code>{}</code>")
    return Markup().join(
        code.format(for_html(part)) if at % 2 else for_html(part) for at, part in enumerate(parts)
    )


def breakable(name: str) -> Markup:
    """The name of an encoder, in which a line may end after underscores and before brackets."""
    return for_html(name).replace("_", "_\u200b").replace("(", "\u200b(")


def _view(tables: LeaderboardTables, marks: Marks) -> dict[str, Any]:
    """What the template shows of a leaderboard."""
    board = tables.board
    firsts = _first_seeds(tables)
    probing = [emulation for emulation in firsts if emulation.probes]
    return {
        "title": tables.title,
        "anchor": tables.anchor,
        "facts": tables.facts(),
        "notes": [*board.notes, *notes_on_intervals(line for table in tables.targets for line in table.lines)],
        "splits": tuple(board.rows.splits),
        "leaderboard": leaderboard(tables),
        "best": best_scores(tables),
        "tables": [
            (table, plots.draw_scores(table, marks), _supervised_curves(board, table, marks))
            for table in tables.targets
        ],
        "split_note": SPLIT_NOTES[board.rows.protocol],
        "emulation": tables.emulation,
        "emulations": tables.emulations,
        "by_step": [(split, by_step_cells(tables.emulations, split)) for split in board.rows.splits],
        "curves": plots.draw_curves(board.emulations, plots.EMULATION_LOSS, marks),
        "legend": plots.draw_legend(board.rows) if firsts else None,
        "maps": [(emulation, plots.draw_map(emulation, board.rows_of(emulation))) for emulation in firsts],
        "returns": emulation_plots.draw_returns(firsts, marks),
        "sequences": [
            (
                emulation,
                [
                    (one, emulation_plots.draw_sequence(one, board.rows, marks[emulation.encoder].colour))
                    for one in emulation.sequences
                ],
            )
            for emulation in firsts
        ],
        "inputs_caption": plots.inputs_caption(board.rows),
        "probes": [
            (e, *plots.draw_probes(e, board.rows), emulation_plots.draw_answers(e, board.rows)) for e in probing
        ],
        "checks": check_cells(board),
        "leakage": board.leakage,
        "leakage_cells": leakage_cells(board) if board.leakage else None,
        "leakage_plot": _leakage_plot(board),
        "commands": _commands(board),
    }


def _supervised_curves(board: Leaderboard, table: TargetTable, marks: Marks) -> Markup | None:
    of_target = [result for result in board.results if result.target == table.target.name]
    return plots.draw_curves(of_target, f"loss, supervised on {table.target.name}", marks)


def _first_seeds(tables: LeaderboardTables) -> list[Emulation]:
    """One training by emulation of each encoder, that of the lowest seed, in the order of their losses."""
    found: dict[str, Emulation] = {}
    for emulation in sorted(tables.board.emulations, key=lambda emulation: emulation.seed):
        found.setdefault(emulation.encoder, emulation)
    return [found[line.encoder] for line in tables.emulations]


def _leakage_plot(board: Leaderboard) -> Markup | None:
    if board.leakage is None:
        return None
    name = next(iter(next(iter(board.leakage.scores.values()))))
    return plots.draw_leakage({unit: values.get(name) for unit, values in leakage_scores(board).items()}, name)


def _commands(board: Leaderboard) -> list[tuple[str, str]]:
    """The commands that made the results, and the versions they ran with."""

    def versions(result: Result) -> str:
        return ", ".join(f"{name} {version}" for name, version in result.key.versions.items())

    return list(dict.fromkeys((result.command, versions(result)) for result in board.results))

"""Tables as text: for a terminal (aligned columns) and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnzoo.loaders.benchmark.prediction.scores import better
from rnnzoo.loaders.benchmark.report.statistics import Estimate, estimate_scores
from rnnzoo.loaders.benchmark.report.tables import EmulationLine, EmulationTable, Line, TargetTable
from rnnzoo.loaders.benchmark.results.content import Result, Rows, Scores
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard
from rnnzoo.zoo_builder.escaping import for_markdown, table_row

ARROWS = {"higher": "↑", "lower": "↓"}
DATA_MARK = "†"
NOTE_DATA = f"{DATA_MARK} uses labelled data of the RNNs' task, which the weights alone do not give."
HAND_MARK = "‡"
NOTE_HAND = f"{HAND_MARK} hand-made: built to measure what tells the tasks apart, and does so untrained."
LOSS_NOTE = (
    "Emulation loss: the total variation 0.5 Σ |p − q| between the probabilities p of the RNN's next output and "
    "those of its emulation, q, the mean over steps and rollouts. It has no unit and lies between 0 (alike) and 1 "
    "(nothing in common), whatever loss was trained with."
)
NOTE_ONE_SEED = "Where `seeds` is 1, intervals are for other tasks alone: other seeds may lie outside of them."
SPLIT_NOTES = {
    "strict": "`test`: tasks that neither encoders nor readouts have seen; `ood`: likewise, outside the range of "
    "the training tasks.",
    "paper": "`ood`: half of the tasks that the paper's program sets apart. Encoders have seen none of them; "
    "readouts learn on the other half, and on the training tasks.",
}
"""Protocol -> what the splits are that scores are reported on."""
NOT_MEASURABLE = "not measurable at this step"
Cells = list[list[str]]
"""A table: the header, then rows."""


def number(value: float | None, sign: bool = False, like: float | None = None) -> str:
    """Three digits, or a dash; `like` gives the size that decides how many stand after the point."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value if like is None else like)
    decimals = 3 if size <= 1 else 2 if size < 10 else 1 if size < 100 else 0
    rounded = round(value, decimals) + 0.0  # never -0.000
    return f"{rounded:{'+' if sign else ''}.{decimals}f}"


def with_interval(estimate: Estimate | None, sign: bool = False) -> str:
    """A mean and its 95 % interval: 0.812 (0.790–0.833); a dash for an interval that is not known."""
    if estimate is None:
        return "–"
    if np.isnan(estimate.low):
        return f"{number(estimate.mean, sign)} (–)"
    like = max(abs(estimate.mean), abs(estimate.low), abs(estimate.high))
    mean = number(estimate.mean, sign, like)
    low, high = number(estimate.low, False, like), number(estimate.high, False, like)
    return f"{mean} ({low}{'–' if estimate.low >= 0 else ' to '}{high})"


def format_table(results: Sequence[Result], rows: Rows) -> str:
    """Results as they come from a run: one line a score, mean over seeds, the main score first.

    rows: the checkpoints that they are about.
    """
    cells = [["encoder", "track", "target", "score", *rows.splits]]
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.encoder, result.track, result.target), []).append(result)
    for key, group in groups.items():
        target = rows.target(group[0].target)
        found = {} if target is None else estimate_scores(group, rows, target, with_intervals=False)
        for place, score in enumerate(next(iter(found.values()), {})):
            arrow = ARROWS[better(score)] if place == 0 else ""
            means = [estimate.mean if (estimate := of_split[score]) else None for of_split in found.values()]
            cells.append([*(key if place == 0 else ("", "", "")), f"{score} {arrow}".strip(), *map(number, means)])
    return aligned(cells, left=4)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are there; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def rnns_of(config: Mapping[str, Any]) -> str:
    """The RNNs of a zoo with this config, for people."""
    return f"{config.get('num_layers')}-layer {config.get('cell')} with {config.get('hidden_size')} units"


def target_cells(table: TargetTable) -> Cells:
    """One line an encoder: the main score on each split, also before training; differences on ood; others."""
    arrow, last = ARROWS[table.better], table.splits[-1]
    header = ["encoder", "track", "group", *(f"{table.main} {arrow} {split}" for split in table.splits)]
    if table.has_twins:
        header += [*(f"untrained {split}" for split in table.splits), f"{last} less untrained"]
    if table.baseline:
        header.append(f"{last} less {table.baseline}")
    header += [*(f"{score} {last}" for score in table.scores[1:]), "readout", "seeds", "training"]
    return [header, *(_target_row(table, line, last) for line in table.lines), *_limit_rows(table, len(header))]


def _limit_rows(table: TargetTable, columns: int) -> Cells:
    """Ceiling, chance and n, below the scores they are of."""
    last, others = table.splits[-1], table.scores[1:]
    rows = []
    for label in ("ceiling", "chance"):
        row = [label] + [""] * (columns - 1)
        limits = {split: getattr(table.limits[split], label) for split in table.splits}
        row[3 : 3 + len(limits)] = [number(limits[split].get(table.main)) for split in table.splits]
        row[columns - 3 - len(others) : columns - 3] = [number(limits[last].get(score)) for score in others]
        rows.append(row)
    counts = [f"{table.limits[split].rows:,} of {table.limits[split].tasks:,} tasks" for split in table.splits]
    return [*rows, ["n", "", "", *counts, *[""] * (columns - 3 - len(counts))]]


def target_step_cells(table: TargetTable) -> Cells:
    """The main score by the step of the checkpoint, on each split."""
    steps = sorted(set().union(*(limits.measured for limits in table.limits.values())))
    cells = [["encoder", "track", *(f"{step:,}" for step in steps)]]
    for line in table.lines:
        row = []
        for step in steps:
            known = [split for split in table.splits if step in table.limits[split].measured]
            shown = [
                number(line.by_step[split].get(step)) if table.limits[split].measured[step] else NOT_MEASURABLE
                for split in known
            ]
            row.append(NOT_MEASURABLE if set(shown) == {NOT_MEASURABLE} else " / ".join(shown))
        cells.append([marked(line), line.track, *row])
    return cells


def target_step_title(table: TargetTable) -> str:
    """What `target_step_cells` shows."""
    return f"{table.main} {ARROWS[table.better]} by the step of the checkpoint, {' / '.join(table.splits)}"


def limits_note(table: TargetTable) -> str | None:
    """At which steps the target is not measurable, and how many are left; None where it is at all."""
    parts = []
    for split, limits in table.limits.items():
        out = [f"{step:,}" for step, measured in limits.measured.items() if not measured]
        if out:
            left = len(limits.measured) - len(out)
            parts.append(f"step {', '.join(out)} on {split} ({left} of {len(limits.measured)} steps are left)")
    if not parts:
        return None
    return (
        f"Not measurable, because RNNs differ by less than the labels' errors: {'; '.join(parts)}. These steps do "
        f"not count in {table.main}."
    )


def _target_row(table: TargetTable, line: Line, last: str) -> list[str]:
    row = [marked(line), line.track, line.group]
    row += [with_interval(line.scores[split][table.main]) for split in table.splits]
    if table.has_twins:
        row += [*(with_interval(line.untrained.get(split)) for split in table.splits)]
        row.append(with_interval(line.gained.get(last), sign=True))
    if table.baseline:
        row.append(with_interval(line.difference.get(last), sign=True) if line.difference else "baseline")
    row += [with_interval(line.scores[last][score]) for score in table.scores[1:]]
    return [*row, line.readout, str(line.seeds), line.budget or "–"]


def marked(line: Line) -> str:
    """An encoder's name, with a mark when it uses data or is hand-made."""
    marks = [DATA_MARK] * line.uses_data + [HAND_MARK] * (line.group == "hand-made")
    return " ".join([line.encoder, *marks])


def notes_on(lines: Iterable[Line]) -> list[str]:
    """What the marks mean that these lines have."""
    names = [marked(line) for line in lines]
    return [note for note in (NOTE_DATA, NOTE_HAND) if any(f" {note[0]}" in name for name in names)]


def notes_on_intervals(lines: Iterable[Line]) -> list[str]:
    """What is to be known of the intervals of these lines."""
    lines = list(lines)
    notes = [NOTE_ONE_SEED] if any(line.has_one_seed for line in lines) else []
    for line in lines:
        for split, scores in line.scores.items():
            for name, found in scores.items():
                if found is not None and found.table.shape[1] < line.seeds:
                    notes.append(
                        f"`{line.encoder}`, track {line.track}: `{name}` of {split} has a value with "
                        f"{found.table.shape[1]} of {line.seeds} seeds, and is the mean of those."
                    )
    return notes


def emulation_cells(table: EmulationTable) -> Cells:
    """Emulation losses and the emulated task performance of each encoder."""
    first = table.lines[0]
    header = ["encoder", *(f"loss ↓ {split}" for split in first.losses)]
    header += [f"way to oracle {split}" for split in first.shares]
    header += [f"accuracy {split}, emulated{own_accuracy(table, split)}" for split in first.accuracy]
    cells = [[*header, "parameters", "seeds", "training"]]
    for line in table.lines:
        row = [line.encoder, *map(with_interval, line.losses.values())]
        row += map(percent, line.shares.values())
        row += [number(accuracy.mean if accuracy else None) for accuracy in line.accuracy.values()]
        cells.append([*row, f"{line.parameters:,}", str(line.seeds), line.budget or "–"])
    return cells


def own_accuracy(table: EmulationTable, split: str) -> str:
    """In brackets, the mean accuracy of the RNNs whose emulations are scored, and how many; else nothing."""
    known = table.own.get(split)
    return f" ({len(known)} RNNs: {number(float(np.nanmean(np.array(known, float))))})" if known else ""


def percent(share: Estimate | None) -> str:
    """A share as whole percent."""
    return "–" if share is None else f"{100 * share.mean:.0f} %"


def by_step_cells(lines: Sequence[EmulationLine], split: str) -> Cells:
    """Emulation losses on a split by the step of the checkpoint; no rows where none were kept."""
    kept = [line for line in lines if split in line.by_step]
    steps = sorted(set().union(*(line.by_step[split] for line in kept)))
    rows = []
    for line in kept:
        found = (line.by_step[split].get(step) for step in steps)
        rows.append([line.encoder, *(number(loss.mean if loss else None) for loss in found)])
    return [["encoder", *(f"step {step:,}" for step in steps)], *rows]


def leakage_scores(board: Leaderboard) -> Scores:
    """What is held out -> score -> value; no runs where each is a task of its own."""
    if board.leakage is None:
        return {}
    alone = all(len(set(split.run)) == len(set(split.task)) for split in board.rows.splits.values())
    return {unit: scores for unit, scores in board.leakage.scores.items() if unit != "run" or not alone}


def leakage_cells(board: Leaderboard) -> Cells:
    """The scores of one readout by what was held out."""
    scores = list(next(iter(leakage_scores(board).values())))
    rows = [
        [f"by {unit}", *(number(values.get(score)) for score in scores)]
        for unit, values in leakage_scores(board).items()
    ]
    return [["split", *scores], *rows]


def aligned(cells: Cells, left: int, width: int | None = None) -> str:
    """Columns of even width; the first `left` of them flush left, the others right.

    width: of a line. What is wider goes on below, with the first columns again. None for any width.
    """
    widths = _widths(cells)
    names = [0, 1][: min(left, len(widths))]
    parts, chosen = [], names
    for column in range(len(names), len(widths)):
        used = sum(widths[one] + 2 for one in chosen) + widths[column]
        if width is not None and used > width and len(chosen) > len(names):
            parts.append(chosen)
            chosen = names
        chosen = [*chosen, column]
    return "\n\n".join(
        _block([[row[column] for column in columns] for row in cells], sum(column < left for column in columns))
        for columns in [*parts, chosen]
    )


def _widths(cells: Cells) -> list[int]:
    return [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]


def _block(cells: Cells, left: int) -> str:
    widths = _widths(cells)
    lines = []
    for row in cells:
        padded = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(cells: Cells, left: int) -> str:
    """A table of Markdown; the first `left` columns flush left, the others right."""
    header, *rows = ([for_markdown(cell) for cell in row] for row in cells)
    rule = ["---" if place < left else "--:" for place in range(len(header))]
    return "\n".join(map(table_row, (header, rule, *rows)))

"""The baselines beside a zoo's card: results as few files, a short table and two pictures of each protocol.

dataset_cards/<zoo>/<preset>/results/<protocol>/        rows.json, leakage.json, <encoder>-<track>.json
dataset_cards/<zoo>/<preset>/baselines.md               a table a protocol
dataset_cards/<zoo>/<preset>/ranking-<protocol>.png     the first target's main score of every encoder
dataset_cards/<zoo>/<preset>/emulation-<protocol>.png   emulation loss by training step
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from rnnzoo.loaders.benchmark.protocol import PROTOCOLS
from rnnzoo.loaders.benchmark.report import COMMITTED, plots
from rnnzoo.loaders.benchmark.report.marks import marks_of
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.report.statistics import Estimate
from rnnzoo.loaders.benchmark.report.tables import EmulationLine, Line, TargetTable
from rnnzoo.loaders.benchmark.report.text import ARROWS, Cells, markdown, marked, notes_on, number, rnns_of
from rnnzoo.loaders.benchmark.results.baseline import baseline_path, read_baseline, write_baseline
from rnnzoo.loaders.benchmark.results.committed import committed_folder
from rnnzoo.loaders.benchmark.results.content import Emulation, Result
from rnnzoo.loaders.benchmark.results.files import ROWS, read_rows, write_leakage, write_rows
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.results.same_zoo import describe_digest, is_same_zoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import for_markdown, with_code
from rnnzoo.zoo_builder.storage.writing import TEMPORARY_FILES, clear_abandoned, write_single

FILE = "baselines.md"
RANKING, EMULATION = "ranking", "emulation"
"""How the names of pictures begin."""
DPI = 130


def baselines_markdown(protocols: Sequence[LeaderboardTables]) -> str:
    """Of each protocol what was measured, and a line for every encoder and track: main scores on test / ood."""
    return "\n".join(map(_markdown, protocols))


def _markdown(tables: LeaderboardTables) -> str:
    board = tables.board
    config = board.rows.zoo_config
    rnns = f" ({for_markdown(rnns_of(config))})" if "cell" in config else ""
    runs, steps = (for_markdown(str(config.get(name, "unknown"))) for name in ("runs", "steps"))
    parts = [
        f"Scores of `zoo-bench` on a zoo of {runs} runs of {steps} steps{rnns}, "
        f"protocol `{board.rows.protocol}`, means over seeds: unseen tasks of "
        f"{' / '.join(f'`{split}`' for split in board.rows.splits)}. The zoo that was measured: "
        f"{describe_digest(board.rows)}.",
        markdown(_cells(tables.targets, tables.emulations), left=2),
        *map(with_code, board.notes),
    ]
    if hidden := [f"`{table.target.name}`" for table in tables.targets if not _is_measurable(table)]:
        parts.append(f"Not measurable, as RNNs differ by less than their labels' errors: {', '.join(hidden)}.")
    parts += notes_on(line for table in tables.targets for line in table.lines)
    return "\n\n".join(parts) + "\n"


def _cells(tables: list[TargetTable], emulations: Sequence[EmulationLine]) -> Cells:
    """Lines in the order of the first target, then of the second for those that the first lacks, and so on."""
    found = [{(line.encoder, line.track): line for line in table.lines} for table in tables]
    lines: dict[tuple[str, str], Line] = {}
    for of_target in found:
        for key, line in of_target.items():
            lines.setdefault(key, line)
    losses = {(line.encoder, "frozen"): line.losses for line in emulations}
    columns = [
        ["encoder", *map(marked, lines.values())],
        ["track", *(track for _, track in lines)],
        ["seeds", *(str(line.seeds) for line in lines.values())],
    ]
    for table, of_target in zip(tables, found, strict=True):
        if not _is_measurable(table):
            continue
        scores = [_main_score(table, of_target.get(key)) for key in lines]
        columns.append([f"{table.target.name}: {table.main} {ARROWS[table.better]}", *scores])
        if table is tables[0] and table.has_twins:
            twins = [_pair(*map(line.untrained.get, table.splits)) for line in lines.values()]
            columns.append([f"{table.target.name}, untrained", *twins])
    of_each = [losses.get(key, {}) for key in lines]
    columns.append(["emulation loss ↓", *(_pair(loss.get("test"), loss.get("ood")) for loss in of_each)])
    return [list(row) for row in zip(*columns, strict=True)]


def _is_measurable(table: TargetTable) -> bool:
    """Whether the main score of a target says anything, for any encoder."""
    return any(_main_score(table, line) for line in table.lines)


def _main_score(table: TargetTable, line: Line | None) -> str:
    return _pair(*(line.scores[split][table.main] for split in table.splits)) if line else ""


def _pair(*estimates: Estimate | None) -> str:
    known = [estimate for estimate in estimates if estimate is not None]
    return " / ".join(number(estimate.mean) for estimate in known)


def commit_results(results: Path, cards: Path = COMMITTED) -> list[Path]:
    """Put a folder of results beside the cards of its zoos, a file an encoder and track; returns the files.

    Of an encoder and track that are there already, other targets and seeds stay where they have the same key, as
    those have that another machine made; results of another key are replaced.

    Raises:
        RnnzooError: for results that do not fit together, or that are about other checkpoints than the ones there.
    """
    written: list[Path] = []
    for board in read_results(results):
        folder = committed_folder(cards, board.rows)
        there = read_rows(folder) if (folder / ROWS).exists() else board.rows
        if not is_same_zoo(there, board.rows) or there.targets != board.rows.targets:
            found, ours = describe_digest(there), describe_digest(board.rows)
            raise RnnzooError(
                f"{folder / ROWS}: found other checkpoints or targets than in {results}: zoo of {found} there, of "
                f"{ours} here"
            )
        clear_abandoned(folder.glob(TEMPORARY_FILES))
        written.append(write_rows(folder, there))  # chance scores may differ in their last digits on another CPU
        if board.leakage is not None:
            written.append(write_leakage(folder, board.leakage))
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in board.results:
            groups.setdefault((result.encoder, result.track), []).append(result)
        for (encoder, track), group in groups.items():
            trained = [one for one in board.emulations if one.encoder == encoder and track == "frozen"]
            written.append(write_baseline(folder, *_joined(folder, group, trained)))
    return written


def _joined(
    folder: Path, results: list[Result], emulations: list[Emulation]
) -> tuple[list[Result], list[Emulation]]:
    """Results of an encoder and track, and its trainings, with those that are there and have the same key."""
    path = baseline_path(folder, results[0].encoder, results[0].track)
    if not path.exists():
        return results, emulations
    others, other_emulations = read_baseline(path)
    if others[0].key != results[0].key:
        return results, emulations
    of_result = {(one.target, one.seed): one for one in (*others, *results)}
    of_training = {one.seed: one for one in (*other_emulations, *emulations)}
    return [of_result[key] for key in sorted(of_result)], [of_training[seed] for seed in sorted(of_training)]


def write_summaries(cards: Path = COMMITTED) -> list[Path]:
    """Write the tables and the pictures of every zoo with committed results; returns the files."""
    written = []
    for results in sorted(cards.glob("*/*/results")):
        protocols = tables_of(results)
        found = {FILE: baselines_markdown(protocols).encode()}
        for tables in protocols:
            found |= _pictures(tables)
        for name, content in found.items():
            written.append(results.parent / name)
            write_single(written[-1], content)
    return written


def tables_of(results: Path) -> list[LeaderboardTables]:
    """The committed results of a zoo, `strict` first."""
    boards = sorted(read_results(results), key=lambda board: PROTOCOLS.index(board.rows.protocol))
    return [LeaderboardTables.of(board, None) for board in boards]


def _pictures(tables: LeaderboardTables) -> dict[str, bytes]:
    """File -> content."""
    found: dict[str, bytes] = {}
    board = tables.board
    ending = f"-{board.rows.protocol}.png"
    marks = marks_of(result.encoder for result in board.results)
    with mpl.rc_context(plots.GREY_STYLE):
        if tables.targets:
            found[RANKING + ending] = plots.png_file(plots.scores_figure(tables.targets[0], marks), DPI)
        if curves := plots.curves_figure(board.emulations, plots.EMULATION_LOSS, marks):
            found[EMULATION + ending] = plots.png_file(curves, DPI)
    return found

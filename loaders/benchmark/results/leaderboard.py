"""Boards: all results of one zoo under one protocol, read from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnzoo.loaders.benchmark.results.baseline import baseline_path, read_baseline
from rnnzoo.loaders.benchmark.results.content import Emulation, Leakage, Result, Rows, shape_of
from rnnzoo.loaders.benchmark.results.files import (
    EMULATION,
    LEAKAGE,
    ROWS,
    emulation_path,
    leaderboard_folder,
    read_emulation,
    read_leakage,
    read_result,
    read_rows,
    result_path,
)
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError, some_of
from rnnzoo.zoo_builder.tasks.target import Target


@dataclass(frozen=True)
class Leaderboard:
    """Everything of one zoo under one protocol.

    Attributes:
        rows: The checkpoints that are reported on.
        results: All results.
        emulations: All trainings by emulation.
        leakage: What splits by task avoid; None where it was not measured.
        committed: Which (encoder, track or "emulation") are merged baselines.
        committed_rows: The rows of these baselines: the same checkpoints, and perhaps other targets.
        origin: Where the results come from, in words; empty for those that a report is about.
        notes: Sentences for the reader of the report.
    """

    rows: Rows
    results: tuple[Result, ...]
    emulations: tuple[Emulation, ...]
    leakage: Leakage | None = None
    committed: frozenset[tuple[str, str]] = frozenset()
    committed_rows: Rows | None = None
    origin: str = ""
    notes: tuple[str, ...] = ()

    def rows_of(self, file: Result | Emulation) -> Rows:
        """The checkpoints a result is about, with their truth."""
        return self.committed_rows if self.committed_rows and key_of(file) in self.committed else self.rows

    @property
    def targets(self) -> list[Target]:
        """All targets that something was predicted of, in the order of the rows."""
        known = [*self.rows.targets, *(self.committed_rows.targets if self.committed_rows else ())]
        predicted = {result.target for result in self.results}
        return list({target.name: target for target in known if target.name in predicted}.values())


def read_results(folder: Path) -> list[Leaderboard]:
    """All leaderboards in a folder of results.

    Args:
        folder: What `zoo-bench run` wrote, or the part of one zoo, whose layout begins at the protocol.

    Returns:
        One for each zoo and protocol, in the order of their names.

    Raises:
        RnnzooError: A file is broken, of another zoo or format, or in the wrong place; the message names it.
    """
    if not folder.is_dir():
        raise RnnzooError(f"{folder}: there is no such folder; expected the results of `zoo-bench run`")
    boards = board_folders(folder)
    for path in _files(folder):
        if not any(board in path.parents for board in boards):
            raise RnnzooError(f"{path}: found no {ROWS} above it, expected {folder}/<zoo>/<protocol>/{ROWS}")
    if not boards:
        raise RnnzooError(f"{folder}: found no results, expected the folder that `zoo-bench run` wrote")
    found = [read_board(board) for board in boards]
    for place, rows in zip(boards, (board.rows for board in found), strict=True):
        expected = leaderboard_folder(folder, rows.zoo, rows.protocol)
        if place not in (expected, folder / rows.protocol):
            raise RnnzooError(f"{place / ROWS}: found a file in the wrong place, expected it at {expected / ROWS}")
    return found


def board_folders(folder: Path) -> list[Path]:
    """The folders of the leaderboards in a folder of results, in the order of `read_results`."""
    return sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{ROWS}"))


def describe_other_code(some: Sequence[Result], others: Sequence[Result], message: str) -> tuple[str, ...]:
    """A note, if results are not of the same files and versions.

    Args:
        some: The ones.
        others: The others; may be the same, to see whether they are of one code.
        message: What the note begins with.

    Returns:
        One note, or none.
    """
    ours, theirs = _sources(some), _sources(others)
    odd = [f"`{name}`" for name, found in sorted(ours.items()) if len(found | theirs.get(name, found)) > 1]
    return (f"{message}: {some_of(odd)} differ.",) if odd else ()


def _sources(results: Sequence[Result]) -> dict[str, set[str]]:
    """Source file or library -> its digests or versions in some results."""
    found: dict[str, set[str]] = {}
    for result in results:
        for name, value in (result.key.code | result.key.versions).items():
            found.setdefault(name, set()).add(value)
    return found


def key_of(file: Result | Emulation) -> tuple[str, str]:
    """The encoder, and the track or "emulation"."""
    return file.encoder, file.track if isinstance(file, Result) else EMULATION


def read_board(board: Path) -> Leaderboard:
    """The leaderboard in the folder of a zoo and protocol; for the errors see `read_results`."""
    rows = read_rows(board)
    leakage = read_leakage(board) if (board / LEAKAGE).exists() else None
    if leakage is not None:
        _check_zoo(board / LEAKAGE, leakage.zoo_digest, rows)
    results: dict[Path, Result] = {}
    emulations: list[Emulation] = []
    keys: dict[tuple[str, str], tuple[Path, ResultKey]] = {}
    for path in _files(board):
        if path in (board / ROWS, board / LEAKAGE):
            continue
        for file in _read_results_file(board, path):
            _check_zoo(path, file.zoo_digest, rows)
            _check_key(path, file, keys)
            if isinstance(file, Emulation):
                _check_emulation(path, file, rows)
                emulations.append(file)
                continue
            _check_result(path, file, rows)
            place = result_path(board, file.encoder, file.track, file.target, file.seed)
            if place in results:
                raise RnnzooError(f"{path}: found a second {place.relative_to(board)}, expected one")
            results[place] = file
    found = tuple(results[place] for place in sorted(results))
    notes = describe_other_code(found, found, "Code of these results")
    return Leaderboard(rows, found, tuple(emulations), leakage, notes=notes)


def _files(folder: Path) -> list[Path]:
    """The JSON files below a folder that are not hidden: systems leave some that are none of ours."""
    found = ((path.relative_to(folder), path) for path in folder.rglob("*.json") if path.is_file())
    return sorted(path for name, path in found if not any(part.startswith(".") for part in name.parts))


def _read_results_file(board: Path, path: Path) -> list[Result | Emulation]:
    """What is in a file, one result or a baseline's many, if the file is in its place."""
    found: list[Result | Emulation]
    if path.parent == board:
        results, emulations = read_baseline(path)
        found = [*results, *emulations]
        places = [baseline_path(board, result.encoder, result.track) for result in results]
        places += [baseline_path(board, emulation.encoder, "frozen") for emulation in emulations]
    elif path.parent.name == EMULATION:
        emulation = read_emulation(path)
        found, places = [emulation], [emulation_path(board, emulation.encoder, emulation.seed)]
    else:
        result = read_result(path)
        found, places = [result], [result_path(board, result.encoder, result.track, result.target, result.seed)]
    for place in places:
        if place != path:
            raise RnnzooError(f"{path}: found a file in the wrong place, expected it at {place}")
    return found


def _check_zoo(path: Path, digest: str, rows: Rows) -> None:
    if digest != rows.zoo_digest:
        raise RnnzooError(
            f"{path}: zoo_digest: found {digest:.80}, expected {rows.zoo_digest:.80} as in {ROWS}: "
            "results of another zoo or version mixed in"
        )


def _check_key(path: Path, file: Result | Emulation, keys: dict[tuple[str, str], tuple[Path, ResultKey]]) -> None:
    """All files of an encoder and track have one key. keys: the first of each that was found, added to."""
    track = file.track if isinstance(file, Result) else "frozen"
    first, key = keys.setdefault((file.encoder, track), (path, file.key))
    if file.key != key:
        raise RnnzooError(
            f"{path}: made otherwise than {first}: {file.key.difference(key)}. Results of one encoder and track "
            "must be of one program: overwrite them, or delete one of the two"
        )


def _check_result(path: Path, result: Result, rows: Rows) -> None:
    """Its target is known, and its predictions fit the rows."""
    if result.protocol != rows.protocol:
        raise RnnzooError(f"{path}: protocol: found {result.protocol!r}, expected {rows.protocol!r}")
    target = rows.target(result.target)
    if target is None:
        known = ", ".join(target.name for target in rows.targets)
        raise RnnzooError(f"{path}: target: found {result.target!r}, expected one of {known} as in {ROWS}")
    _check_predictions(f"{path}: predictions", result.predictions, rows, target)
    if result.twin is not None:
        _check_predictions(f"{path}: twin.predictions", result.twin.predictions, rows, target)


def _check_emulation(path: Path, emulation: Emulation, rows: Rows) -> None:
    """Its losses and points fit the rows; points of embeddings of one number have one coordinate."""
    for split, split_rows in rows.splits.items():
        count = len(split_rows.step)
        for name, ends in (("row_losses", [()]), ("map", [(2,), (1,)])):
            found, shapes = shape_of(getattr(emulation, name).get(split)), [(count, *end) for end in ends]
            if found not in shapes:
                raise RnnzooError(
                    f"{path}: {name}.{split}: found shape {found}, expected {shapes[0]} as in {ROWS}"
                )


def _check_predictions(place: str, predictions: dict[str, Any], rows: Rows, target: Target) -> None:
    """They have the rows' splits, and one entry for each row that the target is about."""
    if predictions.keys() != rows.splits.keys():
        raise RnnzooError(f"{place}: found {', '.join(predictions)}, expected {', '.join(rows.splits)}")
    for split, split_rows in rows.splits.items():
        shape, found = split_rows.truth(target).shape, shape_of(predictions[split])
        if found != shape:
            raise RnnzooError(f"{place}.{split}: found shape {found}, expected {shape} as in {ROWS}")

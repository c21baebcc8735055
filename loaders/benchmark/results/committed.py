"""Committed results: where they stand, and how boards are joined by them.

    dataset_cards/<zoo>/<preset>/results/<protocol>/

A name of a zoo stands for several zoos, one of each preset; each has a folder of its own.
"""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path

from rnnzoo.loaders.benchmark.results.content import Emulation, Result, Rows
from rnnzoo.loaders.benchmark.results.files import ROWS, read_rows
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard, describe_other_code, key_of, read_board
from rnnzoo.loaders.benchmark.results.same_zoo import (
    describe_difference,
    describe_digest,
    differing,
    have_same_config,
    is_same_zoo,
)
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import NAME

OTHER_ZOO = "committed baselines of another zoo of this config"


def committed_folder(cards: Path, rows: Rows) -> Path:
    """Where the results of a zoo and protocol stand beside the cards.

    Raises:
        RnnzooError: The zoo or its preset is no name.
    """
    preset = rows.zoo_config.get("preset")
    for what, name in (("zoo", rows.zoo), ("zoo_config.preset", preset)):
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise RnnzooError(f"{what}: found {name!r:.80}, expected a name")
    return cards / rows.zoo / str(preset) / "results" / rows.protocol


def nearest_folder(cards: Path, rows: Rows) -> Path | None:
    """The folder of committed results on the nearest zoo of this name, under this protocol; None without any."""
    folders = cards.glob(f"{glob.escape(rows.zoo)}/*/results/{glob.escape(rows.protocol)}")
    found = {folder: read_rows(folder) for folder in sorted(folders) if (folder / ROWS).is_file()}

    def distance(folder: Path) -> tuple[bool, bool, int]:
        other = found[folder]
        return not is_same_zoo(rows, other), not have_same_config(rows, other), len(differing(rows, other))

    return min(found, key=distance, default=None)


def merge_committed(board: Leaderboard, cards: Path) -> list[Leaderboard]:
    """A leaderboard joined by the committed results of the same zoo and protocol, if there are any.

    Args:
        board: Where both have an encoder and track, this one's results are kept.
        cards: The folder of the cards, with the committed results.

    Returns:
        Both together, where they are of the same weights. The one after the other, where they are of two zoos of
        the same config. The leaderboard alone, with a note that says why, where they are of different configs.
    """
    folder = nearest_folder(cards, board.rows)
    if folder is None:
        return [board]
    other = read_board(folder)
    code = describe_other_code(other.results, board.results, "Code of the baselines, and of these results")
    if is_same_zoo(board.rows, other.rows):
        return [_merged(replace(board, notes=(*board.notes, *code)), other)]
    if not have_same_config(board.rows, other.rows):
        difference = describe_difference(other.rows, board.rows)
        note = f"Committed baselines are left out: of another {difference}."
        return [replace(board, notes=(*board.notes, note))]
    note = (
        f"These baselines are of another zoo of the same config: {describe_digest(other.rows)}. Its weights, and "
        "so its checkpoints' accuracies, are not those of the results above; they share no table."
    )
    keys = [*map(key_of, other.results), *map(key_of, other.emulations)]
    return [board, replace(other, origin=OTHER_ZOO, committed=frozenset(keys), notes=(note, *code))]


def _trained(file: Result | Emulation) -> tuple[str, str]:
    """The encoder, and the track that it was trained for."""
    return file.encoder, file.track if isinstance(file, Result) else "frozen"


def _merged(board: Leaderboard, other: Leaderboard) -> Leaderboard:
    """A leaderboard with the committed results of its zoo that it does not have itself.

    A training by emulation and what is told from its embeddings are one: committed scores never stand beside one's
    own training, also while its readouts are still fitted.
    """
    own = {*map(_trained, board.results), *map(_trained, board.emulations)}
    results = [result for result in other.results if _trained(result) not in own]
    emulations = [emulation for emulation in other.emulations if _trained(emulation) not in own]
    return replace(
        board,
        results=(*board.results, *results),
        emulations=(*board.emulations, *emulations),
        leakage=board.leakage or other.leakage,
        committed=frozenset([*map(key_of, results), *map(key_of, emulations)]),
        committed_rows=other.rows,
    )

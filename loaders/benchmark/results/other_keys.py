"""What stands in a folder of results for an encoder and track, but was made by other code, data or settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rnnzoo.loaders.benchmark.results.files import (
    EMULATION,
    emulation_path,
    read_emulation,
    read_result,
    result_path,
)
from rnnzoo.loaders.benchmark.results.kept import KEPT
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.loaders.training import STATE, read_state_key
from rnnzoo.zoo_builder.errors import ParameterError


def check_keys(board: Path, encoder: str, track: str, key: ResultKey, overwrite: bool) -> int:
    """See that all results, kept emulations and half-done trainings of an encoder and track have one key.

    Args:
        board: The folder of the leaderboard.
        encoder: As typed, with options.
        track: Its track.
        key: The one expected.
        overwrite: Whether to remove what has another key.

    Returns:
        How many files were removed.

    Raises:
        ParameterError: There is something of another key, and it is not to be overwritten.
        RnnzooError: A file is broken.
    """
    removed = 0
    for path, found in _keys(board, encoder, track):
        if found == key:
            continue
        if not overwrite:
            difference = "found no key, expected one" if found is None else found.difference(key)
            raise ParameterError(
                "overwrite",
                f"{path} was made otherwise: {difference}. Set it to make the results of this encoder and track "
                "anew, or choose another folder or, for an object, another name",
            )
        path.with_suffix(KEPT).unlink(missing_ok=True)
        path.unlink()
        removed += 1
    return removed


def _keys(board: Path, encoder: str, track: str) -> Iterator[tuple[Path, ResultKey | None]]:
    folders = [result_path(board, encoder, track, "", 0).parent]
    if track == "frozen":
        folders.append(emulation_path(board, encoder, 0).parent)
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            yield path, (read_emulation if folder.name == EMULATION else read_result)(path).key
        for path in sorted(folder.glob(f"*{STATE}")):
            yield path, read_state_key(path)

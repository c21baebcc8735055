"""Baselines: the results of an encoder on a track as one file, with all targets and seeds, as they are committed.

    <zoo>/<protocol>/<encoder>-<track>.json

A run writes a file for each result, so that it can go on after an interruption; `write_baseline` makes one file
of them, in which stands once what all of them share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rnnzoo.loaders.benchmark.results.content import Emulation, Result, ResultsFile
from rnnzoo.loaders.benchmark.results.files import FORMAT, AnyTrained, encoder_folder, read_file, without_folders
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import fit
from rnnzoo.zoo_builder.storage.writing import write_file


class Baseline(ResultsFile):
    """All targets and seeds of one encoder on one track.

    Attributes:
        format: Version of the file format.
        shared: The fields that have one value in all results.
        results: The other fields of each result.
        emulations: The other fields of each training by emulation, for the track "frozen" alone.
    """

    format: Literal[3] = 3
    shared: dict[str, Any]
    results: list[dict[str, Any]]
    emulations: list[dict[str, Any]]


def baseline_path(folder: Path, encoder: str, track: str) -> Path:
    """Where the baseline of an encoder and track stands in the folder of a zoo and protocol."""
    return folder / f"{encoder_folder(encoder)}-{track}.json"


def write_baseline(folder: Path, results: Sequence[Result], emulations: Sequence[Emulation] = ()) -> Path:
    """Write the results of one encoder and track as one file.

    Args:
        folder: That of the zoo and protocol.
        results: All targets and seeds of the encoder on the track.
        emulations: Its trainings by emulation, for the track "frozen".

    Returns:
        The path of the file.
    """
    path = baseline_path(folder, results[0].encoder, results[0].track)
    entries = [_public(result) for result in results]
    shared = {key: value for key, value in entries[0].items() if all(entry[key] == value for entry in entries)}
    own = [_without(entry, shared) for entry in entries]
    trained = [_without(_public(emulation), shared) for emulation in emulations]
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in shared.items())
    parts = [
        f'"format": {FORMAT}',
        f'"shared": {{\n{lines}\n }}',
        f'"results": {_list(own)}',
        f'"emulations": {_list(trained)}',
    ]
    write_file(path, ("{\n " + ",\n ".join(parts) + "\n}\n").encode())
    return path


def read_baseline(path: Path) -> tuple[list[Result], list[Emulation]]:
    """The results, and the trainings by emulation, of a baseline.

    Args:
        path: The file.

    Returns:
        Results and emulations.

    Raises:
        RnnzooError: The file is broken, missing or of another format; the message names the place in the file.
    """
    file = read_file(path, Baseline)
    results = [_entry(path, Result, file.shared, entry, f"results.{n}") for n, entry in enumerate(file.results)]
    if not results:
        raise RnnzooError(f"{path}: results: found none, expected at least one")
    emulations = [
        _entry(path, Emulation, file.shared, entry, f"emulations.{n}") for n, entry in enumerate(file.emulations)
    ]
    return results, emulations


def _public(file: AnyTrained) -> dict[str, Any]:
    return without_folders(file).model_dump(exclude={"format"})


def _entry(path: Path, kind: type[Any], shared: dict[str, Any], own: dict[str, Any], place: str) -> Any:
    known = {key: value for key, value in shared.items() if key in kind.model_fields}
    return fit(kind, known | own, f"{path}: {place}")


def _without(entry: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in shared or shared[key] != value}


def _list(entries: list[dict[str, Any]]) -> str:
    """One entry a line."""
    lines = ",\n".join(f"  {json.dumps(entry, separators=(',', ':'))}" for entry in entries)
    return f"[\n{lines}\n ]" if lines else "[]"

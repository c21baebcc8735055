"""The files of a results folder: the place of each, and its writer beside its reader.

`content.py` says what they hold.

    results/<zoo>/<protocol>/rows.json                                    checkpoints that were reported on
    results/<zoo>/<protocol>/<encoder>/<track>/<target>-seed<k>.json      one result
    results/<zoo>/<protocol>/<encoder>/emulation/seed<k>.json             one training by emulation
    <as one result or one training>.safetensors                           what was trained: see kept.py
    results/<zoo>/<protocol>/leakage.json                                 one readout under three splits
    results/<zoo>/<protocol>/<encoder>-<track>.json                       many results: see baseline.py

A file is written whole or not at all. `<zoo>/<protocol>` is called a leaderboard: one table of comparable results.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import TypeVar

from rnnzoo.loaders.benchmark.results.content import Emulation, Leakage, Result, ResultsFile, Rows
from rnnzoo.loaders.benchmark.results.same_zoo import describe_difference
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import file_in, fit, read_json
from rnnzoo.zoo_builder.storage.writing import write_file

FORMAT = 3
"""Version of the format of all files here."""
ROWS, LEAKAGE, EMULATION = "rows.json", "leakage.json", "emulation"

AnyFile = TypeVar("AnyFile", bound=ResultsFile)
AnyTrained = TypeVar("AnyTrained", Result, Emulation)

LONGEST_FOLDER = 160
"""Characters of an encoder's text in the name of its folder; more than the package's own ever have."""
_ROOTED = re.compile(r"(?:file:)?(?:/|~|[A-Za-z]:[\\/])")
"""How a path begins that says where on a machine it is."""
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
"""One of Python."""


def leaderboard_folder(results: Path, zoo: str, protocol: str) -> Path:
    """The folder of a leaderboard in the folder of all results."""
    return results / zoo / protocol


def encoder_folder(encoder: str) -> str:
    """The name of an encoder's folder: its text without the characters that file systems dislike, never hidden.

    Of a long text it has the beginning and a hash: a name has 255 bytes at most.
    """
    name = re.sub(r"^(?=\.)", "_", re.sub(r"[^A-Za-z0-9_.=,()-]", ".", encoder))
    if len(name) <= LONGEST_FOLDER:
        return name
    return f"{name[:LONGEST_FOLDER]}-{hashlib.sha256(encoder.encode()).hexdigest()[:16]}"


def result_path(folder: Path, encoder: str, track: str, target: str, seed: int) -> Path:
    """Where a result stands in the folder of its zoo and protocol."""
    return folder / encoder_folder(encoder) / track / f"{target}-seed{seed}.json"


def emulation_path(folder: Path, encoder: str, seed: int) -> Path:
    """Where a training by emulation stands in the folder of its zoo and protocol."""
    return folder / encoder_folder(encoder) / EMULATION / f"seed{seed}.json"


def write_rows(folder: Path, rows: Rows) -> Path:
    """Write the rows of a leaderboard into its folder.

    Args:
        folder: That of the zoo and protocol.
        rows: What to write.

    Returns:
        The path of the file.

    Raises:
        RnnzooError: The folder already holds results of another zoo.
    """
    path = folder / ROWS
    if path.exists():
        found = read_rows(folder)
        if found.zoo_digest != rows.zoo_digest:
            difference = describe_difference(found, rows)
            raise RnnzooError(f"{path}: found results of another {difference}; choose another folder")
    return _write(path, rows)


def write_result(folder: Path, result: Result) -> Path:
    """Write a result to its place in the folder of its zoo and protocol; returns the path."""
    return _write(result_path(folder, result.encoder, result.track, result.target, result.seed), result)


def write_emulation(folder: Path, emulation: Emulation) -> Path:
    """Write a training by emulation to its place in the folder of its zoo and protocol; returns the path."""
    return _write(emulation_path(folder, emulation.encoder, emulation.seed), emulation)


def write_leakage(folder: Path, leakage: Leakage) -> Path:
    """Write the leakage of a zoo into the folder of its zoo and protocol; returns the path."""
    return _write(folder / LEAKAGE, leakage)


def read_rows(folder: Path) -> Rows:
    """The rows in the folder of a zoo and protocol; errors as in `read_file`."""
    return read_file(folder / ROWS, Rows)


def read_result(path: Path) -> Result:
    """The result in a file; errors as in `read_file`."""
    return read_file(path, Result)


def read_emulation(path: Path) -> Emulation:
    """The training by emulation in a file; errors as in `read_file`."""
    return read_file(path, Emulation)


def read_leakage(folder: Path) -> Leakage:
    """The leakage in the folder of a zoo and protocol; errors as in `read_file`."""
    return read_file(folder / LEAKAGE, Leakage)


def without_folders(file: AnyTrained) -> AnyTrained:
    """A result or training as others may see it: of absolute paths its command keeps the last name.

    Where folders lie on the machine that made it is nobody's business.
    """
    return file.model_copy(update={"command": _without_folders(file.command)})


def _without_folders(command: str) -> str:
    """The same of a command line, or of a call of `evaluate`."""
    if command.startswith("rnnzoo."):
        return _STRING.sub(lambda found: repr(_last_name(ast.literal_eval(found[0]))), command)
    try:
        words = shlex.split(command)
    except ValueError:  # of an edited file
        return ""
    shown = [_word_without_folders(word) for word in words]
    return command if shown == words else shlex.join(shown)


def _word_without_folders(word: str) -> str:
    option, equals, value = word.partition("=")
    is_option = bool(equals) and option.startswith("--")
    return f"{option}={_last_name(value)}" if is_option else _last_name(word)


def _last_name(text: str) -> str:
    """Of an absolute path, of one in a home, and of one of Windows; all other texts as they are."""
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if _ROOTED.match(text) else text


def file_content(file: ResultsFile) -> bytes:
    """What stands in a file. One key a line: people can read it, and long lists of numbers stay on one line."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in file.model_dump().items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _write(path: Path, file: ResultsFile) -> Path:
    write_file(path, file_content(file))
    return path


def read_file(path: Path, kind: type[AnyFile]) -> AnyFile:
    """The content of a file of one of the kinds here.

    Args:
        path: The file.
        kind: The class of its content.

    Returns:
        The checked content.

    Raises:
        RnnzooError: The file is missing, broken or of another format.
    """
    values = read_json(file_in(path.parent, path.name))
    if not isinstance(values, dict) or "format" not in values:
        raise RnnzooError(f'{path}: found no entry "format", expected a file of zoo-bench')
    if values["format"] != FORMAT:
        raise RnnzooError(
            f"{path}: format: found {values['format']!r}, expected {FORMAT}; it was written by another version"
        )
    return fit(kind, values, str(path))

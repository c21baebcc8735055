"""How files from elsewhere are opened: every reader comes through here.

`file_in` turns a name into a path, and is the one place that keeps names and links from leading out of a folder.
`read_json` reads what is small and text. Shards are read in `shards.py`, tables in `parquet.py`. Nothing here
ever unpickles.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rnnzoo.zoo_builder.errors import RnnzooError

LONGEST_JSON = 32_000_000
MOST_MISTAKES = 1000
"""In one file, before they are no longer told apart: a text on each would take far more memory than the file."""
DEEPEST_JSON = 32
"""Levels of lists and objects in each other: no file of ours has half as many."""
NOTHING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What systems answer where a name leads nowhere."""
Model = TypeVar("Model", bound=BaseModel)


def is_there(path: Path) -> bool:
    """Whether a name leads to something. Raises RnnzooError where that cannot be seen."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in NOTHING:
            return False
        raise RnnzooError(f"{path.parent}: cannot be looked into: {error.strerror or error}") from error
    except ValueError:  # a null character: no file has one in its name
        return False
    return True


def file_in(folder: Path, name: str) -> Path:
    """The path of a file in a folder, such as that of a zoo. The folder itself may be reached through links.

    Raises RnnzooError when there is no regular file of that name, or when the name or a link leads out of the
    folder.
    """
    path = folder / name
    try:
        home = os.path.realpath(folder)
        place = _without_links(home, name) or os.path.realpath(path)
        is_inside = place.startswith(home + os.sep) or any(map(Path(place).is_relative_to, _rooms(Path(home))))
        mode = os.stat(place).st_mode if is_inside else None
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this file is missing") from error
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: cannot be opened: {error}") from error
    if mode is None:
        raise RnnzooError(f"{path}: leads out of its folder, to {place}; expected a file in {folder}")
    if not stat.S_ISREG(mode):
        raise RnnzooError(f"{path}: found {_kind(mode)}, expected a file")
    return path


def _without_links(home: str, name: str) -> str | None:
    """Where a name in a folder leads, where no link is on the way: `realpath` takes its time."""
    place, parts = home, name.split("/")
    if not all(parts) or "." in parts or ".." in parts:
        return None
    for part in parts:
        place += os.sep + part
        if stat.S_ISLNK(os.lstat(place).st_mode):
            return None
    return place


def _rooms(home: Path) -> list[Path]:
    """Where the files of a folder may lie: in it, or, if it is a snapshot in the cache of huggingface_hub
    (datasets--<owner>--<name>/snapshots/<commit>), in the cache's stores, which its links lead to."""
    repository = home.parent.parent
    is_snapshot = home.parent.name == "snapshots" and repository.name.startswith("datasets--")
    return [home, repository / "blobs", repository.parent / "blobs"] if is_snapshot else [home]


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"


def read_bytes(path: Path, most: int = LONGEST_JSON) -> bytes:
    """The content of a file. Raises RnnzooError for one of more than `most` bytes, and for what is no file."""
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise RnnzooError(f"{path}: found {_kind(status.st_mode)}, expected a file")
        size = status.st_size
        content = path.read_bytes() if size <= most else b""
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size > most:
        raise RnnzooError(f"{path}: found {size} bytes, expected at most {most}")
    return content


def read_json(path: Path, most: int = LONGEST_JSON) -> Any:
    """The value in a JSON file of at most `most` bytes. See `parse_json`."""
    return parse_json(read_bytes(path, most), str(path))


def parse_json(content: bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8; `where` names its source in errors.

    Raises RnnzooError for what JSON's standard lacks or leaves open (NaN, a name twice in an object, halves of
    characters), and for values nested beyond reason.
    """
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        _check_depth(value)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RnnzooError(f"{where}: not JSON: {error}") from error
    return value


def fit(kind: type[Model], values: dict[str, Any], where: str) -> Model:
    """The values as a pydantic model. Raises RnnzooError, which names the first of them that does not fit."""
    try:
        return kind(**values)
    except ValidationError as error:
        if (mistakes := error.error_count()) > MOST_MISTAKES:
            raise RnnzooError(f"{where}: found {mistakes} values that do not fit a {kind.__name__}") from None
        first = error.errors()[0]
        place = "".join(f"{'.'.join(map(str, first['loc']))}: "[:200] for _ in first["loc"][:1])
        found = "nothing" if first["type"] == "missing" else f"{first['input']!r:.80}"
        message = f"found {found}; expected of a {kind.__name__}: {first['msg'][:500]}"
        raise RnnzooError(f"{where}: {place}{message}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(name for name, following in pairwise(names) if name == following)
        raise ValueError(f"the name {twice[:80]!r} stands there twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"found {name}, which is no JSON number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST_JSON):
        containers = [entry for entry in level if isinstance(entry, dict | list)]
        if not containers:
            return
        level = [inner for outer in containers for inner in (outer.values() if isinstance(outer, dict) else outer)]
    raise ValueError(f"nested more than {DEEPEST_JSON} levels deep")

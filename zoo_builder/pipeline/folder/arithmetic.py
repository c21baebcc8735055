"""A zoo is computed in one arithmetic: the first build in a folder leaves its name there, others are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError, some_of
from rnnzoo.zoo_builder.pipeline.locks import PLAN, locked, never
from rnnzoo.zoo_builder.storage.files import file_in, is_there, parse_json, read_bytes
from rnnzoo.zoo_builder.storage.schema import BUILD_FOLDER
from rnnzoo.zoo_builder.storage.writing import write_file

HOW_TO_GO_ON = "go on with the kernel and device that it was begun with, or build the zoo in another folder"


def arithmetic_path(folder: Path) -> Path:
    return folder / BUILD_FOLDER / "arithmetic.json"


def claim_arithmetic(folder: Path, arithmetic: str, stop_requested: Callable[[], bool] = never) -> None:
    """Leave the name of an arithmetic in a folder that has none, before anything is trained or placed there.

    Raises:
        RnnzooError: The build there was begun in another arithmetic.
        Interrupted: It was asked for, while another process was about to say its own.
    """
    path = arithmetic_path(folder)
    with locked(folder, PLAN, stop_requested):
        if not is_there(path):
            write_file(path, encode_arithmetic(arithmetic))
    where = file_in(folder, str(path.relative_to(folder)))
    check_arithmetic(read_bytes(where), arithmetic, str(where))


def check_arithmetic(content: bytes, arithmetic: str, where: str) -> None:
    """Raise RnnzooError unless the content of an arithmetic.json names this arithmetic."""
    found = parse_json(content, where)
    if found != arithmetic:
        raise RnnzooError(
            f"{where}: this zoo was begun in the arithmetic {found!r:.80}, the kernel or the shards here "
            f"are of {arithmetic}; {HOW_TO_GO_ON}"
        )


def the_arithmetic(shards: Mapping[str, Sequence[str]], where: Path) -> str:
    """The one arithmetic of a zoo. shards: arithmetic -> names of the shards computed in it.

    Raises:
        RnnzooError: There are several.
    """
    if len(shards) > 1:
        found = describe_arithmetics(shards)
        raise RnnzooError(
            f"{where}: found shards of several arithmetics, expected one: {found}. Remove the records "
            f"({BUILD_FOLDER}/<shard>.record.json) of those to build anew, and build with the kernel of the rest"
        )
    return next(iter(shards))


def encode_arithmetic(arithmetic: str) -> bytes:
    """The content of an arithmetic.json."""
    return json.dumps(arithmetic).encode() + b"\n"


def describe_arithmetics(places: Mapping[str, Sequence[str]]) -> str:
    """Arithmetics and where they were found, in words."""
    return "; ".join(f"{name}: {some_of(names)}" for name, names in sorted(places.items()))

"""Short hashes of what a family gives to a zoo, which has to be the same in every process that builds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.splits import Splits
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

MOST_TASKS = 1000
"""Tasks whose numbers of items are looked at: a zoo may have a million tasks."""


def fingerprints_of(family: TaskFamily[Any], tasks: Sequence[Task], splits: Splits) -> dict[str, str]:
    """What a family gives to a zoo, as short hashes.

    Args:
        family: With its items.
        tasks: The task of each run.
        splits: Those of the tasks.

    Returns:
        The hash of each attribute or method that was asked, by its name.
    """
    distinct = list(dict.fromkeys(tasks))
    some = distinct[:: -(-len(distinct) // MOST_TASKS)]
    numbers = {
        name: _hash(_bytes(getattr(family, name)(task), np.int64) for task in some)
        for name in ("training_items", "evaluation_items")
    }
    return {
        "items": _hash([_bytes(family.items, np.uint8)]),
        "labels": _hash([_bytes(family.labels, np.uint8)]),
        "tasks": _hash([json.dumps([task.task_id for task in tasks]).encode()]),
        "out_of_distribution": _hash([json.dumps(sorted(splits.split.items())).encode()]),
        "paper_rank": _hash([json.dumps(sorted(splits.paper_split.items())).encode()]),
        **numbers,
        "view": _hash(_bytes(family.view(task), np.int64) for task in some),
    }


def differing(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The names under which both have a hash, and not the same."""
    return [name for name in expected if name in found and found[name] != expected[name]]


def check_fingerprints(expected: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    """Raise RnnzooError where a family gave something else to a zoo or build than it gives here.

    Args:
        expected: What it gives here.
        found: What was recorded; one of an earlier version has nothing, and is taken as it is.
        where: Names the record in errors.
    """
    if names := differing(found, expected):
        name = names[0]
        raise RnnzooError(
            f"{where}: fingerprints: {name}: found {found[name]!r:.80}, expected {expected[name]} by the family "
            "here, which gave others when this was begun. What is drawn at random needs a seed, and sets an "
            "order; a family that was changed needs another folder"
        )


def _bytes(values: Any, kind: type[np.generic]) -> bytes:
    if values is None:
        return b"none"
    shape = json.dumps(np.shape(values)).encode()
    return shape + np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<")).tobytes()


def _hash(parts: Iterable[bytes]) -> str:
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]

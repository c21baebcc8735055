"""Whether results are of the same zoo, and how their zoos differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.digest import ZooDigest, config_digest
from rnnzoo.zoo_builder.storage.schema import current_names

if TYPE_CHECKING:
    from rnnzoo.loaders.benchmark.results.content import Rows


def describe_difference(found: Rows, expected: Rows) -> str:
    """How the zoos of two leaderboards differ, for people: the first keys of their configs that do."""
    if found.zoo != expected.zoo:
        return f"zoo: found {found.zoo!r}, expected {expected.zoo!r}"
    ours, theirs = current_names(found.zoo_config), current_names(expected.zoo_config)
    odd = differing(found, expected)
    shown = [f"{key}: found {_short(ours, key)}, expected {_short(theirs, key)}" for key in odd[:3]]
    if len(odd) > 3:
        shown.append(f"and {len(odd) - 3} more")
    if not shown:
        shown = [f"of the same config, found {describe_digest(found)}, expected {describe_digest(expected)}"]
    return f"zoo {found.zoo!r} ({'; '.join(shown)})"


def differing(one: Rows, other: Rows) -> list[str]:
    """The keys in which the configs of two leaderboards' zoos differ."""
    ours, theirs = current_names(one.zoo_config), current_names(other.zoo_config)
    return [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]


def describe_digest(rows: Rows) -> str:
    """The digest of the zoo that rows are of, for people."""
    known = parsed_digest(rows)
    return "arithmetic not recorded (built before fma-1)" if known is None else f"digest {known}"


def parsed_digest(rows: Rows) -> ZooDigest | None:
    """The digest of the zoo that rows are of; None where they have one of its config alone."""
    try:
        return ZooDigest.parse(rows.zoo_digest)
    except RnnzooError:
        return None


def is_same_zoo(one: Rows, other: Rows) -> bool:
    """Whether two leaderboards are about the same weights, under the same protocol."""
    if parsed_digest(one) is None:  # then only the truth of every checkpoint tells
        return one == other
    return (one.zoo_digest, one.protocol, _checkpoints(one)) == (
        other.zoo_digest,
        other.protocol,
        _checkpoints(other),
    )


def have_same_config(one: Rows, other: Rows) -> bool:
    """Whether the zoos of two leaderboards are of one config."""
    return (one.zoo, config_digest(one.zoo_config)) == (other.zoo, config_digest(other.zoo_config))


def _checkpoints(rows: Rows) -> dict[str, tuple[list[str], list[int]]]:
    return {split: (entry.run, entry.step) for split, entry in rows.splits.items()}


def _short(config: Mapping[str, Any], key: str) -> str:
    text = repr(config[key]) if key in config else "nothing"
    return text if len(text) <= 40 else f"{text[:37]}..."

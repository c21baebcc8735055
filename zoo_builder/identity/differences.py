"""How a zoo differs from another one: in arithmetic, in config, or in contents alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError, some_of
from rnnzoo.zoo_builder.identity.named import configs, name_of_config, name_of_zoo
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import NOT_OF_CONTENTS, ZooDigest, rollout_hashes, value_texts
from rnnzoo.zoo_builder.storage.manifest import Manifest, join_metadata
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.zoos import resolve_config

Files = Callable[[str], Path]
LONE = "there in one of them alone"


def check_same_zoo(
    found: ZooDigest, manifest: Manifest, metadata: pa.Table, files: Files, wanted: Reference
) -> str:
    """Words that say which zoo this is.

    Args:
        found: The digest of the zoo's files.
        manifest: The zoo's manifest.
        metadata: All its metadata.
        files: Gives the path of a file of the zoo by its name.
        wanted: The zoo that it should be.

    Raises:
        RnnzooError: It is another one. The error says in what they differ.
    """
    other = wanted.digest
    if found == other:
        return f"this is the zoo of {wanted.name}: {_named(found)}"
    differences = []
    if found.config != other.config:
        differences.append(f"another config: {describe_fields(manifest.config, wanted)}")
    if found.arithmetic != other.arithmetic:
        differences.append(f"another arithmetic: found {found.arithmetic}, expected {other.arithmetic}")
        if found.contents == other.contents:
            differences.append("all values are the same")
    if not differences:
        differences.append(
            f"the same config and arithmetic, but other contents: {_checkpoints(metadata, files, wanted)}"
        )
        if not found.is_same_everywhere:
            differences.append(f"the bits of {found.arithmetic} may change with the machine and its libraries")
    raise RnnzooError(
        f"not the zoo of {wanted.name}: found {found}, expected {_named(other)}; {'; '.join(differences)}"
    )


def _named(digest: ZooDigest) -> str:
    name = name_of_zoo(str(digest))
    return str(digest) if name is None else f"{digest} ({name})"


def describe_fields(config: Mapping[str, Any], wanted: Reference) -> str:
    """Which fields of two configs differ, as far as the other one is known."""
    name = name_of_config(wanted.digest)
    other = None if wanted.manifest is None else wanted.manifest.config
    if other is None and wanted.digest.config in configs():
        other = resolve_config(*configs()[wanted.digest.config][0]).to_dict()
    if other is None:
        return "of the other one only the digits are known, and no preset has them"
    names = [field for field in {**config, **other} if field not in NOT_OF_CONTENTS]
    odd = [field for field in names if _plain(config.get(field)) != _plain(other.get(field))]
    shown = [f"{field}: found {config.get(field)!r:.60}, expected {other.get(field)!r:.60}" for field in odd]
    return f"{some_of(shown)}{'' if name is None else f' (expected is {name})'}"


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _checkpoints(metadata: pa.Table, files: Files, wanted: Reference) -> str:
    """The first checkpoints that differ, and in what."""
    if wanted.file is None or wanted.manifest is None:
        return "the other zoo is not at hand to say which checkpoints differ"
    other = metadata_of(wanted.name, wanted.manifest, wanted.file)
    differing = differing_checkpoints(metadata, other)
    if not differing and not wanted.has_shards:
        return "weights and metadata of all checkpoints are the same, so rollouts differ"
    for name in () if differing else _other_rollouts(metadata, files, other, wanted.file):
        differing[name] = ["rollouts"]
    return describe_checkpoints(differing, len(metadata))


def differing_checkpoints(ours: pa.Table, theirs: pa.Table) -> dict[str, list[str]]:
    """Checkpoint -> the columns of the metadata of two zoos that differ, wherever in its zoo it lies.

    Those of ours come first, in their order; then those that only the others have.
    """
    here, there = _places(ours), _places(theirs)
    shared = [name for name in here if name in there]
    differing = {name: [LONE] for name in here if name not in there}
    for column in ours.column_names:
        if column in ("shard", "row", "rollout_row"):
            continue
        if column in schema.LATER and column not in theirs.column_names:
            continue
        texts = value_texts(ours[column])
        others = value_texts(theirs[column]) if column in theirs.column_names else ["nothing"] * len(theirs)
        for name in shared:
            if texts[here[name]] != others[there[name]]:
                differing.setdefault(name, []).append("weights" if column == "sha256" else column)
    lone = {name: [LONE] for name in there if name not in here}
    return {name: differing[name] for name in here if name in differing} | lone


def describe_checkpoints(differing: Mapping[str, Sequence[str]], count: int) -> str:
    """The first of the checkpoints that differ, and in what; of how many."""
    shown = [f"{name} ({', '.join(columns)})" for name, columns in differing.items()]
    return f"{len(shown)} of {count} checkpoints differ: {some_of(shown)}"


def metadata_of(zoo: str, manifest: Manifest, file: Files) -> pa.Table:
    """All metadata of a zoo that is at hand."""
    tables = []
    for split in manifest.splits:
        name = schema.metadata_file(split)
        table = read_table(file(name))
        schema.check_columns(table, f"{zoo}: {name}")
        tables.append(table)
    return join_metadata(zoo, tables)


def _places(metadata: pa.Table) -> dict[str, int]:
    return {name: place for place, name in enumerate(metadata["checkpoint_id"].to_pylist())}


def _other_rollouts(ours: pa.Table, files: Files, theirs: pa.Table, file: Files) -> Iterator[str]:
    """The checkpoints whose rollouts are not those of the other zoo."""
    others = dict(_hashes(theirs, file))
    for name, content in _hashes(ours, files):
        if others[name] != content:
            yield name


def _hashes(metadata: pa.Table, file: Files) -> Iterator[tuple[str, bytes]]:
    """Checkpoint -> a hash of its rollouts."""
    shards: dict[str, list[bytes]] = {}
    rows = zip(*(metadata[name].to_pylist() for name in ("checkpoint_id", "shard", "rollout_row")), strict=True)
    for checkpoint, shard, row in rows:
        name = schema.rollouts_of(shard)
        if name not in shards:
            shards[name] = rollout_hashes(read_shard(file(name)).tensors)
        if row >= len(shards[name]):
            raise RnnzooError(f"{name}: found {len(shards[name])} rows, expected row {row} that the metadata name")
        yield checkpoint, shards[name][row]

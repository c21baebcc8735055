"""How a zoo differs from another one: in arithmetic, in config, or in contents alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError, some_of
from rnnzoo.zoo_builder.identity.named import config_named, configs, name_of_config, name_of_zoo
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import NOT_OF_CONTENTS, ZooDigest, rollout_hashes, value_texts
from rnnzoo.zoo_builder.storage.manifest import Manifest, join_metadata
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import read_shard

Files = Callable[[str], Path]


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
        differences.append(f"another config: {_fields(manifest.config, wanted)}")
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


def _fields(config: Mapping[str, Any], wanted: Reference) -> str:
    """Which fields of two configs differ, as far as the other one is known."""
    name = name_of_config(wanted.digest)
    other = None if wanted.manifest is None else wanted.manifest.config
    if other is None and wanted.digest.config in configs():
        other = config_named(*configs()[wanted.digest.config][0]).to_dict()
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
    other = _metadata_of(wanted.name, wanted.manifest, wanted.file)
    ours, theirs = _places(metadata), _places(other)
    lone = sorted(ours.keys() ^ theirs.keys())
    if lone:
        return f"checkpoints that only one of them has: {some_of(lone)}"
    order = [theirs[name] for name in ours]
    columns = [name for name in metadata.column_names if name not in ("shard", "row", "rollout_row")]
    differing: dict[str, list[str]] = {}
    for column in columns:
        texts = value_texts(metadata[column])
        others = value_texts(other[column]) if column in other.column_names else ["nothing"] * len(other)
        for name, text, place in zip(ours, texts, order, strict=True):
            if text != others[place]:
                differing.setdefault(name, []).append("weights" if column == "sha256" else column)
    if not differing and not wanted.has_shards:
        return "weights and metadata of all checkpoints are the same, so rollouts differ"
    for name in () if differing else _other_rollouts(metadata, files, other, wanted.file):
        differing[name] = ["rollouts"]
    names = [name for name in ours if name in differing]
    shown = [f"{name} ({', '.join(differing[name])})" for name in names]
    return f"{len(names)} of {len(ours)} checkpoints differ: {some_of(shown)}"


def _metadata_of(zoo: str, manifest: Manifest, file: Files) -> pa.Table:
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

"""Whether the shards that a build has finished so far are those of a known zoo.

A published zoo can so be checked on any machine, by building a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError, some_of
from rnnzoo.zoo_builder.identity.differences import (
    describe_checkpoints,
    describe_fields,
    differing_checkpoints,
    metadata_of,
)
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import read_record, rows_file, shard_files
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import config_digest
from rnnzoo.zoo_builder.storage.manifest import Manifest, join_metadata
from rnnzoo.zoo_builder.storage.parquet import read_table


def check_part(plan: ZooPlan, folder: Path, shards: Sequence[ShardPlan], wanted: Reference) -> str:
    """Words that say of which zoo these shards are.

    Args:
        plan: The plan of the build.
        folder: Where it stores its shards.
        shards: Those that are finished; at least one.
        wanted: The zoo that they should be of.

    Raises:
        RnnzooError: They are of another one, or of this one only a digest is known. The error says in what they
            differ.
    """
    manifest, file = files_of(wanted)
    if config_digest(plan.config.to_dict()) != wanted.digest.config:
        fields = describe_fields(plan.config.to_dict(), wanted)
        raise RnnzooError(f"not of the zoo of {wanted.name}: another config: {fields}")
    records = {shard.name: read_record(folder, shard) for shard in shards}
    arithmetics = {record.arithmetic for record in records.values()}
    if arithmetics != {wanted.digest.arithmetic}:
        found = ", ".join(sorted(arithmetics))
        raise RnnzooError(
            f"not of the zoo of {wanted.name}: another arithmetic: found {found}, expected "
            f"{wanted.digest.arithmetic}"
        )
    rows = join_metadata(folder, [_rows_of(folder / rows_file(shard)) for shard in shards])
    theirs = metadata_of(wanted.name, manifest, file)
    there = theirs.filter(pc.is_in(theirs["checkpoint_id"], rows["checkpoint_id"].combine_chunks()))
    differing = differing_checkpoints(rows, there)
    if differing:
        raise RnnzooError(f"not of the zoo of {wanted.name}: {describe_checkpoints(differing, len(rows))}")
    counts = f"{len(shards)} of {len(plan.shards)} shards, {len(rows)} of {len(theirs)} checkpoints"
    if plan.config.runs_per_shard != manifest.config["runs_per_shard"]:
        return f"{counts}: those of the zoo of {wanted.name}, {wanted.digest}, which is cut into other shards"
    odd = [
        name
        for shard in shards
        for name in shard_files(shard)
        if name != rows_file(shard) and records[shard.name].files[name] != manifest.files.get(name)
    ]
    if odd:
        raise RnnzooError(
            f"not of the zoo of {wanted.name}: metadata and weights of all checkpoints are the same, but these "
            f"files have other bytes: {some_of(odd)}"
        )
    return f"{counts}: the bytes of the zoo of {wanted.name}, {wanted.digest}"


def files_of(wanted: Reference) -> tuple[Manifest, Callable[[str], Path]]:
    """The manifest and the files of a zoo to compare with. Raises ParameterError where only a digest is known."""
    if wanted.manifest is None or wanted.file is None:
        raise ParameterError(
            "against",
            f"found {wanted.name!r:.200}, of which only the digest is known; expected the folder or repository of "
            "a zoo, or its record, to compare a part with, file by file",
        )
    return wanted.manifest, wanted.file


def _rows_of(path: Path) -> pa.Table:
    table = read_table(path)
    schema.check_columns(table, str(path))
    return table

"""The record of a finished shard: which files it has, and by which bytes they are known.

`.build/<shard>.record.json` is written after the shard's files (weights, rollouts, and its rows of metadata in
`.build/<shard>.parquet`), so a shard is complete when its record is there. The record ends with a hash of itself:
damage to any of the four shows.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import ARITHMETIC, SHARE
from rnnzoo.zoo_builder.storage.files import file_in, fit, is_there, parse_json, read_bytes
from rnnzoo.zoo_builder.storage.manifest import FileEntry, check_file
from rnnzoo.zoo_builder.storage.writing import write_file

log = logging.getLogger(__name__)

RECORD_SUFFIX = ".record.json"


class ShardRecord(BaseModel):
    """What is kept of a finished shard.

    Attributes:
        kernel: Name of the kernel that trained it.
        arithmetic: Name of the arithmetic that this kernel computes in.
        contents: The shard's share of the digest of the zoo's contents: see `rnnzoo.zoo_builder.storage.digest`.
        files: Size and hash of each of its files, by their names in the zoo's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kernel: str
    arithmetic: Annotated[str, Field(pattern=f"^{ARITHMETIC}$")]
    contents: Annotated[str, Field(pattern=f"^{SHARE}$")]
    files: dict[str, FileEntry]

    def to_bytes(self) -> bytes:
        """The record's JSON, with the hash of all other entries."""
        values = self.model_dump()
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        return (json.dumps(values | {"sha256": digest}, indent=1, sort_keys=True) + "\n").encode()


def record_path(folder: Path, shard: ShardPlan) -> Path:
    return folder / schema.BUILD_FOLDER / f"{shard.name}{RECORD_SUFFIX}"


def rows_file(shard: ShardPlan) -> str:
    """The name of the Parquet file with a shard's rows of metadata, in the zoo's folder."""
    return f"{schema.BUILD_FOLDER}/{shard.name}.parquet"


def shard_files(shard: ShardPlan) -> list[str]:
    """The names of the files that a record is about."""
    return [schema.weights_file(shard.name), schema.rollouts_file(shard.name), rows_file(shard)]


def write_record(folder: Path, shard: ShardPlan, kernel: str, arithmetic: str, contents: str) -> None:
    """Declare a shard complete whose files have all been written. See `ShardRecord`."""
    files = {name: FileEntry.of(folder / name) for name in shard_files(shard)}
    record = ShardRecord(kernel=kernel, arithmetic=arithmetic, contents=contents, files=files)
    write_file(record_path(folder, shard), record.to_bytes())


def read_record(folder: Path, shard: ShardPlan) -> ShardRecord:
    """The record of a shard. Raises RnnzooError where there is none, or one that was damaged."""
    path = file_in(folder, str(record_path(Path(), shard)))
    content = read_bytes(path)
    values = parse_json(content, str(path))
    if not isinstance(values, dict):
        raise RnnzooError(f"{path}: found {type(values).__name__}, expected a JSON object")
    record = fit(ShardRecord, {name: value for name, value in values.items() if name != "sha256"}, str(path))
    if sorted(record.files) != sorted(shard_files(shard)):
        raise RnnzooError(f"{path}: found the files {sorted(record.files)} in it, expected {shard_files(shard)}")
    if record.to_bytes() != content:
        raise RnnzooError(f"{path}: its bytes have changed since it was written")
    return record


def check_shard(folder: Path, shard: ShardPlan) -> None:
    """Raise RnnzooError unless a shard has a record, and each of its files is as the record says."""
    for name, entry in read_record(folder, shard).files.items():
        check_file(file_in(folder, name), entry)


def is_complete(folder: Path, shard: ShardPlan) -> bool:
    """Whether a shard has a record and sound files. Of one that is broken it says that it is built again."""
    if not is_there(record_path(folder, shard)):
        return False
    try:
        check_shard(folder, shard)
    except RnnzooError as error:
        log.warning("%s; the shard %s is built again", error, shard.name)
        return False
    return True

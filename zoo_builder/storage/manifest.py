"""zoo.json: what a finished zoo consists of. It is written last; a zoo without it is unfinished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from zoo_builder.errors import RnnzooError
from zoo_builder.rnn import RNNSpec
from zoo_builder.storage.schema import (
    BUILD_FOLDER,
    FILE_NAME,
    FORMAT_VERSION,
    MANIFEST,
    SPLITS_FILE,
    metadata_file,
)
from zoo_builder.storage.shards import write_file


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    bytes: int
    sha256: str


class SplitEntry(_Strict):
    """Counts of a split, and its shards in order (names without folder and ending)."""

    tasks: int
    runs: int
    checkpoints: int
    shards: list[str]


class Manifest(_Strict):
    """The content of zoo.json.

    layout: one entry a parameter (name, shape, offset in the flat row). encoding: how item bytes become
    inputs (see `zoo_builder.tasks.base`). built_with: kernels and library versions.
    """

    format: str
    format_version: int
    zoo: str
    config: dict[str, Any]
    spec: dict[str, Any]
    layout: list[dict[str, Any]]
    encoding: dict[str, Any]
    built_with: dict[str, Any]
    splits: dict[str, SplitEntry]
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _safe_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"found the file name {name!r}, which no zoo has")
        return files

    def rnn_spec(self) -> RNNSpec:
        return RNNSpec(**self.spec)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_json(folder / MANIFEST, manifest.model_dump())


def write_json(path: Path, values: Any) -> None:
    """JSON for people and machines: indented, one trailing newline, the same bytes for the same values."""
    write_file(path, (json.dumps(values, indent=1) + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the zoo in `folder`.

    Raises RnnzooError for a folder that is no zoo, an unfinished zoo, or another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / BUILD_FOLDER).is_dir():
            raise RnnzooError(f"{folder}: an unfinished zoo; run the same `zoo-builder build` command to continue")
        raise RnnzooError(f"{folder}: not a zoo: there is no {MANIFEST} in it")
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """A manifest from its JSON; `where` names the source in errors."""
    try:
        values = json.loads(content)
    except ValueError as error:
        raise RnnzooError(f"{where}: not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != "rnnzoo":
        raise RnnzooError(f'{where}: not the manifest of a zoo: expected the entry "format": "rnnzoo"')
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RnnzooError(
            f"{where}: format_version: found {version!r}, expected {FORMAT_VERSION}; "
            "install the rnnzoo release that writes that version"
        )
    try:
        return Manifest(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise RnnzooError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def read_metadata(folder: Path, manifest: Manifest) -> pa.Table:
    """The metadata of all splits, in order: one row a checkpoint."""
    return pa.concat_tables([pq.read_table(folder / metadata_file(split)) for split in manifest.splits])


def read_splits(folder: Path) -> dict[str, Any]:
    """The content of splits.json: "seed", "rule", "split" and "paper_split" (task id -> split)."""
    path = folder / SPLITS_FILE
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RnnzooError(f"{path}: cannot be read: {error}") from error

"""zoo.json: what a finished zoo consists of. It is written last; a zoo without it is unfinished.

Its last entry, "sha256", is the SHA-256 of all the bytes before that entry: one that was damaged is not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.digest import ZooDigest
from rnnzoo.zoo_builder.storage.files import file_in, fit, is_there, parse_json, read_bytes, read_json
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.schema import (
    BUILD_FOLDER,
    FILE_NAME,
    FORMAT_VERSION,
    MANIFEST,
    MOST_CHECKPOINTS,
    NAME,
    SPLITS_FILE,
    check_columns,
    current_names,
    metadata_file,
    shard_name,
)
from rnnzoo.zoo_builder.storage.shards import file_sha256
from rnnzoo.zoo_builder.storage.writing import write_file
from rnnzoo.zoo_builder.tasks.encodings import Encoding, encoding_of

LONGEST_SPLITS = 256_000_000
"""Bytes of a splits.json: enough for three million tasks."""
CONFIG_KINDS = {
    **{"zoo": str, "preset": str, "family": str, "source": str | None, "seed": int | None},
    **{"runs": int, "steps": int, "checkpoints": list | tuple},
}
"""What the config of any zoo says, also of one that was imported."""
OWN_HASH = "sha256"
"""The entry of zoo.json that vouches for all others."""
_OWN_KEY = f'"{OWN_HASH}"'.encode()
Count = Annotated[int, Field(ge=0, lt=2**48)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileEntry(_Strict):
    """What a manifest, and the record of a shard, say of a file."""

    bytes: Count
    sha256: Annotated[str, Field(max_length=64)]

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """That of a file that is there."""
        return cls(bytes=path.stat().st_size, sha256=file_sha256(path))


def check_file(path: Path, entry: FileEntry) -> None:
    """Raise RnnzooError unless a file is there with these bytes."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size != entry.bytes:
        raise RnnzooError(f"{path}: found {size} bytes, expected {entry.bytes}")
    if (found := file_sha256(path)) != entry.sha256:
        raise RnnzooError(f"{path}: found sha256 {found}, expected {entry.sha256}")


class SplitEntry(_Strict):
    """Counts of a split, and its shards.

    Attributes:
        tasks: How many tasks it has.
        runs: How many runs it has.
        checkpoints: How many checkpoints it has.
        shards: Names of its shards, in order, without folder and ending.
    """

    tasks: Count
    runs: Count
    checkpoints: Count
    shards: list[str]


class Manifest(_Strict):
    """The content of zoo.json.

    Attributes:
        format: "rnnzoo".
        format_version: Version of the format.
        zoo: Name of the zoo.
        config: The fields of its `ZooConfig`, or what an imported zoo has in its place.
        spec: The fields of its `RNNSpec`.
        layout: One entry for each parameter (name, shape, offset in the flat row).
        encoding: How item bytes become inputs (see `rnnzoo.zoo_builder.tasks.encodings`).
        arithmetic: Name of the arithmetic that its values were computed in; None where that is not recorded.
        digest: The text of its `ZooDigest`; None where there is no arithmetic.
        fingerprints: Hashes of what its family gave to it, by attribute or method; None where none are recorded.
        built_with: Kernels and library versions.
        splits: Counts and shards of every split.
        files: Size in bytes and sha256 of every file.
    """

    format: str
    format_version: int
    zoo: Annotated[str, Field(pattern=NAME)]
    config: dict[str, Any]
    spec: dict[str, Any]
    layout: list[dict[str, Any]]
    encoding: dict[str, Any]
    arithmetic: str | None = None
    digest: str | None = None
    fingerprints: dict[str, str] | None = None
    built_with: dict[str, str | list[str]]
    splits: dict[Annotated[str, Field(pattern="^[a-z]{1,40}$")], SplitEntry]
    files: dict[str, FileEntry]

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        spec: RNNSpec,
        encoding: Encoding,
        digest: ZooDigest,
        built_with: Mapping[str, str | list[str]],
        splits: Mapping[str, SplitEntry],
        files: Mapping[str, FileEntry],
        fingerprints: Mapping[str, str] | None = None,
    ) -> Manifest:
        """That of a zoo whose other files are written."""
        return cls(
            format="rnnzoo",
            format_version=FORMAT_VERSION,
            zoo=config["zoo"],
            config=dict(config),
            spec=spec.to_dict(),
            layout=_layout(spec),
            encoding=encoding.to_dict(),
            arithmetic=digest.arithmetic,
            digest=str(digest),
            fingerprints=None if fingerprints is None else dict(fingerprints),
            built_with=dict(built_with),
            splits=dict(splits),
            files=dict(sorted(files.items())),
        )

    @field_validator("files")
    @classmethod
    def _safe_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not FILE_NAME.fullmatch(name):
                raise ValueError(f"found the file name {name!r}, which no zoo has")
        return files

    @field_validator("config")
    @classmethod
    def _usual_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        config = current_names(config)
        for name, kind in CONFIG_KINDS.items():
            if name not in config or not isinstance(config[name], kind):
                raise ValueError(f"its {name!r} is {config.get(name)!r:.80}")
        steps = config["checkpoints"]
        if not 0 < len(steps) <= MOST_CHECKPOINTS or not all(
            type(step) is int and 0 <= step < 2**31 for step in steps
        ):
            raise ValueError(f"its 'checkpoints' are {steps!r:.80}")
        return config

    @field_validator("splits")
    @classmethod
    def _numbered_shards(cls, splits: dict[str, SplitEntry]) -> dict[str, SplitEntry]:
        for split, entry in splits.items():
            count = len(entry.shards)
            if entry.shards != [shard_name(split, index, count) for index in range(count)]:
                raise ValueError(f"the shards of {split!r} are not {count} that are numbered from 0")
        return splits

    @model_validator(mode="after")
    def _digest_of_the_arithmetic(self) -> Manifest:
        found = None if self.digest is None else ZooDigest.parse(self.digest).arithmetic
        if found != self.arithmetic:
            raise ValueError(f"the arithmetic is {self.arithmetic!r:.80}, the digest {self.digest!r:.80}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        try:
            spec, inputs = self.rnn_spec(), encoding_of(self.encoding).input_size
            found = [{**entry, "shape": list(entry["shape"])} for entry in self.layout]
        except (KeyError, TypeError) as error:
            raise ValueError(f"spec or layout: {error}") from error
        if found != _layout(spec):
            raise ValueError(f"layout: not that of the parameters of {spec}")
        if spec.input_size != inputs:
            raise ValueError(f"encoding: gives {inputs} inputs, the spec has {spec.input_size}")
        return self

    def rnn_spec(self) -> RNNSpec:
        return RNNSpec(**self.spec)

    @property
    def shards(self) -> list[str]:
        """Names of all shards, split by split."""
        return [shard for entry in self.splits.values() for shard in entry.shards]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files.values())


def _layout(spec: RNNSpec) -> list[dict[str, Any]]:
    return [{"name": p.name, "shape": list(p.shape), "offset": p.offset} for p in spec.parameters]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_file(folder / MANIFEST, encode_manifest(manifest.model_dump()))


def encode_manifest(values: Mapping[str, Any]) -> bytes:
    """The content of a zoo.json with these values, which ends with the hash of all that stands before it."""
    others = {name: value for name, value in values.items() if name != OWN_HASH}
    body = json.dumps(others | {OWN_HASH: ""}, indent=1).encode()
    body = body[: body.rindex(_OWN_KEY)]
    return body + b'%s: "%s"\n}\n' % (_OWN_KEY, hashlib.sha256(body).hexdigest().encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the zoo in `folder`.

    Raises:
        RnnzooError: The folder is no zoo, or an unfinished one, or has another format version.
    """
    path = find_manifest(folder)
    return parse_manifest(read_bytes(path), str(path))


def find_manifest(folder: Path) -> Path:
    """The file of the manifest of the zoo in `folder`. Raises RnnzooError, which says why, where there is none."""
    is_zoo = is_there(folder / MANIFEST)
    if not is_zoo and is_there(folder / BUILD_FOLDER):
        raise RnnzooError(
            f"{folder}: an unfinished zoo; run the same `zoo-builder build` or `merge` command to continue; "
            "if other folders hold its other parts, `zoo-builder merge` joins them"
        )
    if not is_zoo:
        raise RnnzooError(f"{folder}: not a zoo: there is no {MANIFEST} in it")
    return file_in(folder, MANIFEST)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """A manifest from its JSON; `where` names the source in errors."""
    values = parse_json(content, where)
    if not isinstance(values, dict) or values.get("format") != "rnnzoo":
        raise RnnzooError(f'{where}: not the manifest of a zoo: expected the entry "format": "rnnzoo"')
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RnnzooError(
            f"{where}: format_version: found {version!r}, expected {FORMAT_VERSION}; "
            "install the rnnzoo release that writes that version"
        )
    _check_own_hash(content, values, where)
    return fit(Manifest, {name: value for name, value in values.items() if name != OWN_HASH}, where)


def _check_own_hash(content: bytes, values: dict[str, Any], where: str) -> None:
    """Raise RnnzooError for a manifest that was changed. Those of zoos built before they had a hash have none."""
    if OWN_HASH in values:
        expected = hashlib.sha256(content[: content.rfind(_OWN_KEY)]).hexdigest()
        if values[OWN_HASH] != expected or list(values)[-1] != OWN_HASH:
            raise RnnzooError(
                f"{where}: was changed or damaged: its last entry {OWN_HASH!r} is {values[OWN_HASH]!r:.80}, the "
                f"bytes before it have {expected}"
            )


def read_metadata(folder: Path, manifest: Manifest, columns: Sequence[str] | None = None) -> pa.Table:
    """The metadata of all splits, in order: one row a checkpoint.

    Args:
        folder: The folder of the zoo.
        manifest: Its manifest.
        columns: Names of columns. None stands for all of them.
    """
    return join_metadata(folder, [read_split(folder, split, columns) for split in manifest.splits])


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise RnnzooError, naming the first that differs, unless all files of a zoo are as its manifest says."""
    for name, entry in manifest.files.items():
        check_file(file_in(folder, name), entry)


def read_split(folder: Path, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The metadata of a split: the columns that every zoo has are there and have the right types.

    Args:
        folder: The folder of the zoo.
        split: Name of the split.
        columns: Names of columns. None stands for all of them.
    """
    path = file_in(folder, metadata_file(split))
    table = read_table(path, columns)
    check_columns(table, str(path), columns)
    return table


def join_metadata(zoo: Path | str, tables: Iterable[pa.Table]) -> pa.Table:
    """The metadata of several splits of a zoo, in order, as one table; `zoo` names it in errors."""
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise RnnzooError(f"{zoo}: the metadata of its splits have different columns: {error}") from error


def read_splits(folder: Path) -> dict[str, Any]:
    """The content of splits.json: "seed", "rule", "split" and "paper_split" (task id -> split)."""
    path = file_in(folder, SPLITS_FILE)
    values = read_json(path, LONGEST_SPLITS)
    kinds = {"seed": int, "rule": str, "split": dict, "paper_split": dict}
    for name, kind in kinds.items():
        if not isinstance(values, dict) or not isinstance(values.get(name), kind):
            raise RnnzooError(f"{path}: found no {name!r} of the kind expected, {kind.__name__}")
    return values

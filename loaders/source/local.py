"""A finished zoo in a folder of this machine. What is opened is checked against the manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.loaders.source.base import MappedFile, TensorFile
from rnnzoo.loaders.source.checked import checked_files
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.manifest import (
    FileEntry,
    Manifest,
    SplitEntry,
    find_manifest,
    parse_manifest,
    read_split,
)
from rnnzoo.zoo_builder.storage.shards import read_shard

RECORDS_LACK = ("weights", "rollouts")
"""Folders that are absent where a zoo's metadata alone are kept, as in `dataset_cards`."""


@dataclass(frozen=True)
class LocalSource:
    """The `Source` of a zoo's folder. It pickles as its path and the manifest's sha256."""

    path: Path
    manifest: Manifest
    sha256: str
    check: str

    @classmethod
    def open(cls, path: Path, check: str) -> LocalSource:
        """Raises RnnzooError for a folder that is no zoo, an unfinished one, or another format version."""
        manifest = find_manifest(path)
        return cls.of_manifest(read_bytes(manifest), path, check, str(manifest))

    @classmethod
    def of_manifest(cls, content: bytes, path: Path, check: str, where: str) -> LocalSource:
        """The zoo in the folder `path`, whose zoo.json has this content; `where` names it in errors."""
        return cls(path.absolute(), parse_manifest(content, where), hashlib.sha256(content).hexdigest(), check)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.sha256, self.check)

    @property
    def where(self) -> str:
        return str(self.path)

    def read_metadata(self, splits: Sequence[str]) -> list[pa.Table]:
        if self.check != "off":
            self.compare([schema.metadata_file(split) for split in splits])
        return [self._read_split(split) for split in splits]

    def _read_split(self, split: str) -> pa.Table:
        table = read_split(self.path, split)
        _check_metadata(table, self.manifest.splits[split], self.path / schema.metadata_file(split))
        return table.replace_schema_metadata(None).combine_chunks()

    def check_files(self, names: Sequence[str]) -> None:
        for name in names:
            self._find(name)

    def map_files(self, names: Sequence[str]) -> list[MappedFile]:
        paths = [self._find(name) for name in names]
        if self.check == "files":
            self.compare(names)
        return [MappedFile(str(path), read_shard(path).tensors, self.check == "rows") for path in paths]

    def compare(self, names: Sequence[str]) -> None:
        """Raise RnnzooError for a file of the zoo that does not have the hash of the manifest."""
        files = [(self._find(name), entry_of(self.manifest, name, self.path)) for name in names]
        checked_files(self.path).check(files)

    @contextmanager
    def file_opener(self) -> Iterator[Callable[[str], Future[TensorFile]]]:
        yield self._open

    def _open(self, name: str) -> Future[TensorFile]:
        opened: Future[TensorFile] = Future()
        try:
            opened.set_result(self.map_files([name])[0])
        except RnnzooError as error:
            opened.set_exception(error)
        return opened

    def _find(self, name: str) -> Path:
        """The path of a file, which has the size that the manifest says."""
        expected, room = entry_of(self.manifest, name, self.path).bytes, name.partition("/")[0]
        if not os.path.lexists(self.path / room):
            self._check_missing(room)
        path = file_in(self.path, name)
        if (found := path.stat().st_size) != expected:
            raise RnnzooError(f"{path}: found {found} bytes, expected {expected}")
        return path

    def _check_missing(self, room: str) -> None:
        """Raise RnnzooError where it is not one file or folder alone that is missing, or not by mistake."""
        if not os.path.lexists(self.path / schema.MANIFEST):
            raise RnnzooError(
                f"{self.path}: found no {schema.MANIFEST} any more, expected the zoo that was opened there"
            )
        if room not in RECORDS_LACK:
            return
        there = [name for name in RECORDS_LACK if os.path.lexists(self.path / name)]
        if there:
            raise RnnzooError(
                f"{self.path}: found no folder {room!r}, expected it beside {there[0]!r}: the zoo is not whole"
            )
        raise RnnzooError(
            f"{self.path}: a record of a zoo, without weights: found no folder {room!r}; its metadata can be "
            "read, by `load_zoo` with tensors=[] and by `Zoo.metadata`"
        )


def entry_of(manifest: Manifest, name: str, folder: Path) -> FileEntry:
    """What the manifest of the zoo in a folder says of a file."""
    if name not in manifest.files:
        raise RnnzooError(f"{folder / name}: not in the manifest")
    return manifest.files[name]


def _reopen(path: Path, sha256: str, check: str) -> LocalSource:
    source = LocalSource.open(path, check)
    if source.sha256 != sha256:
        raise RnnzooError(f"{path}: the zoo was replaced while it was in use; load it again")
    return source


def _check_metadata(table: pa.Table, entry: SplitEntry, path: Path) -> None:
    """Raise RnnzooError unless a split's metadata name the shards of the manifest, and their rows in order."""
    if len(table) != entry.checkpoints:
        raise RnnzooError(f"{path}: found {len(table)} rows, expected {entry.checkpoints} as in the manifest")
    expected = [schema.weights_file(shard) for shard in entry.shards]
    found = table["shard"].unique().to_pylist()
    if found != expected:
        odd = sorted(set(found) ^ set(expected), key=str) or expected
        raise RnnzooError(
            f"{path}: its column 'shard' and the manifest differ, first in {odd[0]!r}: "
            f"found {len(found)} shards, expected {len(expected)}"
        )
    shards = pc.index_in(table["shard"], pa.array(expected, pa.string())).to_numpy()
    counts = np.bincount(shards, minlength=len(expected))
    if (np.diff(shards) < 0).any() or not np.array_equal(table["row"].to_numpy(), _numbered(counts)):
        raise RnnzooError(f"{path}: rows are not in the order of the shards and of the rows in them")


def _numbered(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """[2, 3] -> [0, 1, 0, 1, 2]"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

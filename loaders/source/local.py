"""A finished zoo on disk. What is opened is checked against the manifest, and errors name the file.

Hashes are left to `zoo-builder verify`: here only what costs nothing is compared (names, sizes, counts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import check_rollouts, check_weights, kinds_of
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, parse_manifest, read_manifest, read_split
from rnnzoo.zoo_builder.storage.shards import read_shard


@dataclass(frozen=True)
class ZooFolder:
    """A zoo's folder and manifest.

    It pickles as its path and the manifest's sha256, and unpickling refuses a folder that has since got
    another zoo: a worker never mixes one zoo's metadata with another's weights.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @staticmethod
    def open(path: Path) -> ZooFolder:
        """Raises RnnzooError for a folder that is no zoo, an unfinished one, or another format version."""
        if not (path / schema.MANIFEST).exists():
            read_manifest(path)  # says what is wrong with such a folder
        manifest = file_in(path, schema.MANIFEST)
        return ZooFolder.of_manifest(read_bytes(manifest), path, str(manifest))

    @staticmethod
    def of_manifest(content: bytes, path: Path, where: str) -> ZooFolder:
        """The zoo in the folder `path`, whose zoo.json has this content; `where` names it in errors."""
        return ZooFolder(path.absolute(), parse_manifest(content, where), hashlib.sha256(content).hexdigest())

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.sha256)

    @property
    def where(self) -> str:
        """The zoo's place, for people."""
        return str(self.path)

    @cached_property
    def spec(self) -> RNNSpec:
        return self.manifest.rnn_spec()

    def read_metadata(self, split: str) -> pa.Table:
        """The metadata of a split, one row a checkpoint, in the order of its shards and their rows."""
        table = read_split(self.path, split)
        self._check_metadata(table, split, self.path / schema.metadata_file(split))
        return table.replace_schema_metadata(None).combine_chunks()

    def _check_metadata(self, table: pa.Table, split: str, path: Path) -> None:
        entry = self.manifest.splits[split]
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
        rows, shards = (
            table["row"].to_numpy(),
            pc.index_in(table["shard"], pa.array(expected, pa.string())).to_numpy(),
        )
        counts = np.bincount(shards, minlength=len(expected))
        if (np.diff(shards) < 0).any() or not np.array_equal(rows, _numbered(counts)):
            raise RnnzooError(f"{path}: rows are not in the order of the shards and of the rows in them")

    def file_entry(self, name: str) -> FileEntry:
        """What the manifest says of a file."""
        if name not in self.manifest.files:
            raise RnnzooError(f"{self.path / name}: not in the manifest")
        return self.manifest.files[name]

    def fetch(self, names: Sequence[str]) -> None:
        """Have these files here, before they are opened one by one: on disk they are."""

    def check_sizes(self, names: Sequence[str]) -> None:
        """Raise RnnzooError, naming it, for the first of these files that is missing or of the wrong size."""
        for name in names:
            self._find(name)

    def _find(self, name: str) -> Path:
        expected, path = self.file_entry(name).bytes, file_in(self.path, name)
        if (found := path.stat().st_size) != expected:
            raise RnnzooError(f"{path}: found {found} bytes, expected {expected}")
        return path

    def open_weights(self, name: str, models: int) -> dict[str, NDArray[np.float32]]:
        """The weights in file `name`, mapped into memory: parameter name -> [N, *shape]."""
        shard = read_shard(self._find(name))
        check_weights(kinds_of(shard.tensors), self.spec, models, str(shard.path))
        return shard.tensors

    def open_rollouts(self, weights_name: str, rows: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.uint8]]:
        """The rollouts of a weights file: "inputs" [K, R, F] and, where inputs have some, "labels" [K, R].

        rows: those that the metadata name; all must be there.
        """
        name = schema.rollouts_of(weights_name)
        shard = read_shard(self._find(name))
        check_rollouts(kinds_of(shard.tensors), rows, str(shard.path))
        return shard.tensors

    def rollout_shapes(self, weights_name: str) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one row, of the rollouts that belong to a weights file."""
        rollouts = self.open_rollouts(weights_name, np.empty(0, int))
        return {name: tensor.shape[1:] for name, tensor in rollouts.items()}


def _reopen(path: Path, sha256: str) -> ZooFolder:
    folder = ZooFolder.open(path)
    if folder.sha256 != sha256:
        raise RnnzooError(f"{path}: the zoo was replaced while it was in use; load it again")
    return folder


def _numbered(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """[2, 3] -> [0, 1, 0, 1, 2]"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

"""A zoo in a dataset repository on the hub: its folder is the repository's snapshot in the cache.

Files are downloaded when they are first needed. The commit is chosen once, so that whatever is read later belongs
to the same release.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.loaders.source.local import ZooFolder
from rnnzoo.loaders.source.ranges import read_layout
from rnnzoo.loaders.source.requests import RemoteFile, Repository, download, pin
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.shards import file_sha256

DOWNLOADS = 8
"""Files downloaded at the same time."""


@dataclass(frozen=True)
class HubZoo(ZooFolder):
    """A zoo on the hub, at one commit. `path` is the snapshot, which may lack files that nobody asked for yet."""

    repository: Repository

    @classmethod
    def open_repository(cls, name: str, revision: str | None) -> HubZoo:
        """Raises RnnzooError when there is no such zoo, none of this format version, or no way to reach it."""
        repository = pin(name, revision)
        path = download(repository, schema.MANIFEST, by_revision=True)
        return cls._of_manifest(path, repository)

    @classmethod
    def _of_manifest(cls, path: Path, repository: Repository) -> HubZoo:
        content = read_bytes(file_in(path.parent, path.name))
        folder = ZooFolder.of_manifest(content, path.parent, f"{repository}: {schema.MANIFEST}")
        return cls(folder.path, folder.manifest, folder.sha256, repository)

    @property
    def where(self) -> str:
        return str(self.repository)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.sha256, self.repository)

    def read_metadata(self, split: str) -> pa.Table:
        self.fetch([schema.metadata_file(split)])
        return super().read_metadata(split)

    def open_weights(self, name: str, models: int) -> dict[str, NDArray[np.float32]]:
        self.fetch([name])
        return super().open_weights(name, models)

    def open_rollouts(self, weights_name: str, rows: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.uint8]]:
        self.fetch([schema.rollouts_of(weights_name)])
        return super().open_rollouts(weights_name, rows)

    def rollout_shapes(self, weights_name: str) -> dict[str, tuple[int, ...]]:
        name = schema.rollouts_of(weights_name)
        if self.is_cached(name):
            return super().rollout_shapes(weights_name)
        return {tensor: extent.shape for tensor, extent in read_layout(self.remote_file(name)).items()}

    def fetch(self, names: Sequence[str]) -> None:
        """Download what the cache lacks of these files, and compare it with the manifest."""
        missing = [name for name in names if not self.is_cached(name)]
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            for _ in pool.map(self._download, missing):
                pass

    def is_cached(self, name: str) -> bool:
        return (self.path / name).is_file()

    def remote_file(self, name: str) -> RemoteFile:
        """The file on the hub, to read ranges of."""
        return RemoteFile(self.repository, name, self.file_entry(name))

    def _download(self, name: str) -> None:
        entry = self.file_entry(name)
        path = download(self.repository, name)
        found, expected = path.stat().st_size, entry.bytes
        if found == expected and (sha256 := file_sha256(path)) == entry.sha256:
            return
        # Out of the cache, where the next run would take it for a file that has been compared.
        content = path.resolve()
        if content.is_relative_to(self.path.parent.parent.resolve()):
            content.unlink()
        path.unlink(missing_ok=True)
        if found != expected:
            raise RnnzooError(f"{self.repository}: {name}: found {found} bytes, expected {expected} by zoo.json")
        raise RnnzooError(f"{self.repository}: {name}: found sha256 {sha256}, expected {entry.sha256} by zoo.json")


def _reopen(path: Path, sha256: str, repository: Repository) -> HubZoo:
    zoo = HubZoo._of_manifest(path / schema.MANIFEST, repository)
    if zoo.sha256 != sha256:
        raise RnnzooError(f"{repository}: the zoo was replaced while it was in use; load it again")
    return zoo

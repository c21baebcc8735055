"""A zoo in a dataset repository on the hub, at one commit: whole files in the cache, and ranges of others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rnnzoo.loaders.source.base import MappedFile, TensorFile
from rnnzoo.loaders.source.checked import checked_files
from rnnzoo.loaders.source.local import LocalSource, entry_of
from rnnzoo.loaders.source.ranges import RemoteTensors
from rnnzoo.loaders.source.requests import RemoteFile, download
from rnnzoo.loaders.source.revisions import Repository, pin
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, read_bytes
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.storage.shards import file_sha256

log = logging.getLogger(__name__)

DOWNLOADS = 8
"""Files downloaded at the same time."""
OPENINGS = 16
"""Files whose headers are read at the same time."""
RANGES = 20
"""Ranges read at the same time."""


@dataclass(frozen=True)
class HubSource:
    """The `Source` of a repository.

    snapshot: the folder of this commit in the cache of huggingface_hub, which lacks the files that nobody has
    asked for yet. What is downloaded into it is compared with the manifest's hashes.
    """

    snapshot: LocalSource
    repository: Repository

    @classmethod
    def open(cls, name: str, revision: str | None, check: str) -> HubSource:
        """Raises RnnzooError when there is no such zoo, none of this format version, or no way to reach it."""
        repository = pin(name, revision)
        return cls._of_manifest(download(repository, schema.MANIFEST, by_revision=True), repository, check)

    @classmethod
    def _of_manifest(cls, path: Path, repository: Repository, check: str) -> HubSource:
        content, where = read_bytes(file_in(path.parent, path.name)), f"{repository}: {schema.MANIFEST}"
        return cls(LocalSource.of_manifest(content, path.parent, check, where), repository)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.snapshot.path, self.sha256, self.repository, self.check)

    @property
    def check(self) -> str:
        return self.snapshot.check

    @property
    def manifest(self) -> Manifest:
        return self.snapshot.manifest

    @property
    def sha256(self) -> str:
        return self.snapshot.sha256

    @property
    def where(self) -> str:
        return str(self.repository)

    def read_metadata(self, splits: Sequence[str]) -> list[pa.Table]:
        self._download([schema.metadata_file(split) for split in splits])
        return self.snapshot.read_metadata(splits)

    def map_files(self, names: Sequence[str]) -> list[MappedFile]:
        self._download(names)
        return self.snapshot.map_files(names)

    def check_files(self, names: Sequence[str]) -> None:
        """Nothing is known yet: sizes are compared with the first range of a file."""

    @contextmanager
    def file_opener(self) -> Iterator[Callable[[str], Future[TensorFile]]]:
        with _threads(RANGES, "rnnzoo-read") as readers, _threads(OPENINGS, "rnnzoo-open") as openers:
            yield lambda name: openers.submit(self._open, name, readers)

    def _open(self, name: str, readers: ThreadPoolExecutor) -> TensorFile:
        if self._is_cached(name):
            return self.snapshot.map_files([name])[0]
        return RemoteTensors(self.remote_file(name), readers, self.check != "off")

    def remote_file(self, name: str) -> RemoteFile:
        """The file on the hub, to read ranges of."""
        return RemoteFile(self.repository, name, entry_of(self.manifest, name, self.snapshot.path))

    def _is_cached(self, name: str) -> bool:
        """Whether a file is in the cache. One that was damaged there is taken out, if files are checked."""
        path = self.snapshot.path / name
        if path.is_file() and self.check == "files":
            try:
                self.snapshot.compare([name])
            except RnnzooError as error:
                log.warning("%s; it is read from the hub again", error)
                self._discard(path)
        return path.is_file()

    def _download(self, names: Sequence[str]) -> None:
        """Download what the cache lacks of these files."""
        with _threads(DOWNLOADS, "rnnzoo-download") as pool:
            cached = list(pool.map(self._is_cached, names))
            missing = [name for name, is_there in zip(names, cached, strict=True) if not is_there]
            for _ in pool.map(self._download_file, missing):
                pass

    def _download_file(self, name: str) -> None:
        entry = entry_of(self.manifest, name, self.snapshot.path)
        path = download(self.repository, name)
        found, expected = path.stat().st_size, entry.bytes
        if found == expected and (sha256 := file_sha256(path)) == entry.sha256:
            checked_files(self.snapshot.path).trust(path, entry)
            return
        self._discard(path)
        if found != expected:
            raise RnnzooError(f"{self.repository}: {name}: found {found} bytes, expected {expected} by zoo.json")
        raise RnnzooError(f"{self.repository}: {name}: found sha256 {sha256}, expected {entry.sha256} by zoo.json")

    def _discard(self, path: Path) -> None:
        """Take a file out of the cache, where the next run would take it for one that is whole."""
        content = path.resolve()
        if content.is_relative_to(self.snapshot.path.parent.parent.resolve()):
            content.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _reopen(path: Path, sha256: str, repository: Repository, check: str) -> HubSource:
    source = HubSource._of_manifest(path / schema.MANIFEST, repository, check)
    if source.sha256 != sha256:
        raise RnnzooError(f"{repository}: the zoo was replaced while it was in use; load it again")
    return source


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads for the block, whose end nobody waits for: after Ctrl-C what is under way goes on by itself."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

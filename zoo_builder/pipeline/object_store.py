"""Finished shards in a store that all nodes reach where they share no folder: s3://..., gs://..., file://...

The store holds what `.build` and the zoo's folders would hold. Uploads need not be atomic: a shard's record comes
last and has the hashes of its files, and what was fetched is checked against it.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import arithmetic_path, check_arithmetic, encode_arithmetic
from rnnzoo.zoo_builder.pipeline.folder.opening import (
    check_plan,
    check_same_config,
    encode_plan,
    parse_config,
    plan_path,
)
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan
from rnnzoo.zoo_builder.pipeline.shard.record import RECORD_SUFFIX, record_path, shard_files
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.writing import write_file, write_single
from rnnzoo.zoo_builder.zoos import ZooConfig


class ObjectStore:
    """The store at an fsspec URL. Its options and credentials are those of the environment, on every node."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def _place(self) -> tuple[Any, str]:
        with self._errors():
            return fsspec.core.url_to_fs(self.url)

    def prepare(self, config: ZooConfig, fingerprints: Mapping[str, str] | None = None) -> None:
        """Leave the config in an empty store, or check that it is the one left there by an earlier build.

        fingerprints: those of the plan, likewise.
        """
        if self._plan() is None:
            with self._errors():
                self._write(_PLAN, (json.dumps(encode_plan(config, fingerprints), indent=1) + "\n").encode())
        self.check_plan(config)
        with self._errors():
            content = self._read(_PLAN)
        check_plan(fingerprints or {}, content or b"{}", f"store: {self.url}: {_PLAN}")

    def check_plan(self, config: ZooConfig) -> None:
        """Raise RnnzooError unless this store holds a build of this config."""
        found = self._plan()
        if found is None:
            raise ParameterError(
                "store",
                f"{self.url}: node {platform.node()} finds no {_PLAN} there, which this build has just "
                "written; expected a store that all nodes reach",
            )
        check_same_config(config, found, f"store: {self.url}")

    def _plan(self) -> ZooConfig | None:
        with self._errors():
            content = self._read(_PLAN)
        return None if content is None else parse_config(content, f"store: {self.url}: {_PLAN}")

    def claim_arithmetic(self, arithmetic: str) -> None:
        """Leave the name of an arithmetic in a store that has none. Raises RnnzooError where it has another."""
        with self._errors():
            if self._read(_ARITHMETIC) is None:
                self._write(_ARITHMETIC, encode_arithmetic(arithmetic))
            content = self._read(_ARITHMETIC)
        if content is not None and content.endswith(b"\n"):  # else another node is just writing it
            check_arithmetic(content, arithmetic, f"store: {self.url}: {_ARITHMETIC}")

    def shards(self) -> set[str]:
        """The names of the shards that are here, in a store that is prepared."""
        files, root = self._place
        with self._errors():
            if not files.isdir(f"{root}/{schema.BUILD_FOLDER}"):
                return set()
            names = [
                str(name).rpartition("/")[2] for name in files.ls(f"{root}/{schema.BUILD_FOLDER}", detail=False)
            ]
        return {name.removesuffix(RECORD_SUFFIX) for name in names if name.endswith(RECORD_SUFFIX)}

    def send(self, folder: Path, shard: ShardPlan) -> None:
        """Upload a finished shard, its record last, and remove its state."""
        for name in [*shard_files(shard), _record(shard)]:
            self._send(folder / name, name)
        self.remove(_state(shard))

    def fetch(self, folder: Path, shard: ShardPlan) -> None:
        """Download a shard, its record last. Whether it is sound shows by its record."""
        for name in [*shard_files(shard), _record(shard)]:
            self._fetch(folder, name)

    def discard(self, shard: ShardPlan) -> None:
        """Remove a shard's record, so that it counts as not built."""
        self.remove(_record(shard))

    def send_state(self, folder: Path, shard: ShardPlan) -> None:
        self._send(folder / _state(shard), _state(shard))

    def fetch_state(self, folder: Path, shard: ShardPlan) -> None:
        """Download the saved state of a shard, if there is one."""
        self._fetch(folder, _state(shard))

    def remove(self, name: str) -> None:
        files, root = self._place
        with self._errors(), contextlib.suppress(FileNotFoundError):
            files.rm_file(f"{root}/{name}")

    def _send(self, path: Path, name: str) -> None:
        with self._errors():
            self._write(name, path.read_bytes())

    def _fetch(self, folder: Path, name: str) -> None:
        with self._errors():
            content = self._read(name)
        if content is not None:
            write_file(folder / name, content)

    def _read(self, name: str) -> bytes | None:
        files, root = self._place
        files.invalidate_cache()
        try:
            return files.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        files, root = self._place
        path = f"{root}/{name}"
        if isinstance(files, LocalFileSystem):  # which would follow links
            write_single(Path(path), content)
            return
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, content)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RnnzooError:
            raise
        except Exception as error:  # of somebody else's code: what a file system raises is of many kinds
            text = str(error) or type(error).__name__
            raise ParameterError("store", f"{self.url}: {text}") from error


_NOWHERE = Path()
_PLAN = plan_path(_NOWHERE).as_posix()
_ARITHMETIC = arithmetic_path(_NOWHERE).as_posix()


def _record(shard: ShardPlan) -> str:
    return record_path(_NOWHERE, shard).as_posix()


def _state(shard: ShardPlan) -> str:
    return state_path(_NOWHERE, shard).as_posix()

"""What the rest of `loaders` may ask of a zoo, wherever its files lie.

A zoo is a `Source`, its safetensors files are `TensorFile`s, and rows of those are asked for first and waited for
later (`PendingRows`). Whoever reads a zoo knows these three and not what stands behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.storage.shards import TensorSpec, specs_of


class Source(Protocol):
    """A finished zoo that can be read.

    All that is read belongs to one build of the zoo: what was pickled with one manifest raises when it is
    unpickled and finds another. Files have the names that the manifest gives them, such as
    "weights/train-00000-of-00002.safetensors". Every method raises RnnzooError, which names the file, for one that
    is missing, not whole, or not what the manifest says of it. Files that are downloaded have their hashes.
    """

    @property
    def check(self) -> str:
        """What is compared with hashes besides, one of `rnnzoo.loaders.source.checked.CHECKS`. Unless it is "off",
        metadata have theirs."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def sha256(self) -> str:
        """sha256 of zoo.json, which stands for the content of the whole zoo."""

    @property
    def where(self) -> str:
        """The zoo's place, for people."""

    def read_metadata(self, splits: Sequence[str]) -> list[pa.Table]:
        """A table a split, one row a checkpoint, in the order of the split's shards and of the rows in them."""

    def map_files(self, names: Sequence[str]) -> list[MappedFile]:
        """Whole files, mapped into memory. A source from afar keeps them on this machine first, several at a
        time."""

    def check_files(self, names: Sequence[str]) -> None:
        """Raise for what is known to be wrong with files before any of them is read."""

    def file_opener(self) -> AbstractContextManager[Callable[[str], Future[TensorFile]]]:
        """What opens files to read rows of them, without waiting; what it has under way ends with the `with`
        block.

        A source from afar reads no more of a file than what is asked for.
        """


class TensorFile(Protocol):
    """An open safetensors file: tensors [N, *shape], whose N rows belong to models or to sets of rollouts."""

    @property
    def where(self) -> str:
        """The file's place, for errors."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """dtype and shape of every tensor, by name."""

    @property
    def check_rows(self) -> bool:
        """Whether whoever reads rows is to compare them with their hashes in the metadata."""

    def request(self, names: Sequence[str], rows: NDArray[np.integer[Any]]) -> PendingRows:
        """Begin to read rows of some tensors, and do not wait for them.

        rows: numbers from 0 to N - 1, in any order and as often as they are needed.
        """


class PendingRows(Protocol):
    """Rows that were asked for."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take, besides what is mapped from files."""

    def wait(self) -> Rows:
        """The rows, once they are all there. Raises RnnzooError for those that cannot be read."""


@dataclass(frozen=True)
class Rows:
    """Rows of some tensors of a file.

    tensors: name -> [U, *shape], where at least the different rows stand that were asked for. places: where in the
    tensors the rows asked for are, int [B].
    """

    tensors: Mapping[str, NDArray[Any]]
    places: NDArray[np.integer[Any]]
    nbytes: int = 0

    def wait(self) -> Rows:
        return self


@dataclass(frozen=True)
class MappedFile:
    """A whole file on this machine, mapped into memory: its rows are there as soon as they are asked for."""

    where: str
    tensors: Mapping[str, NDArray[Any]]
    check_rows: bool

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return specs_of(self.tensors)

    def request(self, names: Sequence[str], rows: NDArray[np.integer[Any]]) -> Rows:
        return Rows({name: self.tensors[name] for name in names}, rows)

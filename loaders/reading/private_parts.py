"""What reading uses of `datasets` beyond what its documentation promises: nowhere else is there any of it.

pyproject.toml bounds the version, and tests/test_private_parts.py names every part: a release that changes one of
them is seen there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.config import HF_DATASETS_CACHE
from datasets.features.features import _ArrayXDExtensionType as ArrayType
from datasets.formatting import NumpyFormatter, TensorFormatter, get_formatter
from datasets.formatting import _register_formatter as register_formatter
from datasets.formatting.torch_formatter import TorchFormatter
from datasets.iterable_dataset import ArrowExamplesIterable
from datasets.table import TableBlock, table_cast, table_flatten
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import ParameterError

__all__ = [
    "HF_DATASETS_CACHE",
    "ArrayType",
    "NumpyFormatter",
    "ShardExamples",
    "TableBlock",
    "TensorFormatter",
    "TorchFormatter",
    "chosen_rows",
    "get_formatter",
    "keep_class",
    "register_formatter",
    "table_cast",
    "table_flatten",
]

ReadShards: TypeAlias = Callable[[list[Any]], AbstractContextManager[Iterator[Iterator[pa.Table]]]]
"""Given shards, a context that gives each one's tables, one shard after the other."""


def chosen_rows(dataset: Dataset) -> NDArray[np.integer[Any]] | None:
    """Which rows of its table a dataset has, in order, after `select` and the like; None: all of them."""
    return None if dataset._indices is None else dataset._indices.column(0).to_numpy()


def keep_class(ours: type, stock: type, methods: Iterable[str]) -> None:
    """Let methods of a class of `datasets` give objects of our subclass again: there they name their own class."""

    def kept(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = method(self, *args, **kwargs)
            for dataset in made.values() if isinstance(made, dict) else [made]:
                if type(dataset) is stock:
                    dataset.__class__ = ours
            return made

        return wrapped

    for name in methods:
        setattr(ours, name, kept(getattr(stock, name)))


class ShardExamples(ArrowExamplesIterable):
    """The shards of a stream. `datasets` deals them out among workers, shuffles and counts them.

    By itself it would ask for the tables of each shard separately. Here one `read` is given all the shards of an
    iteration, so that it can read those ahead that follow. A state says by `fingerprint` which shards it counts,
    in which order, and goes on with no others.
    """

    def __init__(self, read: ReadShards, shards: list[Any], fingerprint: Callable[[list[Any]], str]) -> None:
        super().__init__(_no_tables, {"read": read, "shards": shards, "fingerprint": fingerprint})

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = super()._init_state_dict() | {"fingerprint": self._fingerprint()}
        return self._state_dict

    def _fingerprint(self) -> str:
        return self.kwargs["fingerprint"](self.kwargs["shards"])

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        with self._read() as tables:
            yield from self._over(tables)

    def _iter_arrow(self) -> Iterator[tuple[Any, pa.Table]]:
        with self._read() as tables:
            yield from self._over(tables).iter_arrow()

    def _read(self) -> AbstractContextManager[Iterator[Iterator[pa.Table]]]:
        """The shards from the one on where a saved state says that iteration goes on."""
        if self._state_dict and (found := self._state_dict["fingerprint"]) != (expected := self._fingerprint()):
            problem = f"found one of other rows (fingerprint {found}), expected one of this stream ({expected})"
            raise ParameterError("state_dict", f"{problem}: the same zoo, split, filters, order and workers")
        first = self._state_dict["shard_idx"] if self._state_dict else 0
        return self.kwargs["read"](self.kwargs["shards"][first:])

    def _over(self, tables: Iterator[Iterator[pa.Table]]) -> ArrowExamplesIterable:
        """What `datasets` iterates over, shard by shard: the next shard's tables, with their numbers as keys."""
        examples = ArrowExamplesIterable(lambda **_: enumerate(next(tables, iter(()))), self.kwargs)
        examples._state_dict = self._state_dict
        return examples

    def shuffle_data_sources(self, generator: np.random.Generator) -> ShardExamples:
        return ShardExamples(**super().shuffle_data_sources(generator).kwargs)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> ShardExamples:
        return ShardExamples(**super().shard_data_sources(num_shards, index, contiguous).kwargs)

    def reshard_data_sources(self) -> ShardExamples:
        return self


def _no_tables(**kwargs: Any) -> Iterator[tuple[Any, pa.Table]]:
    raise AssertionError("ShardExamples iterates in its own way")

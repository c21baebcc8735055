"""Weights and rollouts of single checkpoints, from files that are mapped into memory and stay open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.loaders.reading.blocks import runs_of_names
from rnnzoo.loaders.source.base import MappedFile, Source
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.contents import (
    check_rollout_hashes,
    check_rollouts,
    check_weight_hashes,
    check_weights,
)
from rnnzoo.zoo_builder.storage.schema import rollouts_of

RowNumbers = NDArray[np.int64]
"""Which rows of the metadata, or of a file, are meant, int64 [M]."""
Group = tuple[str, RowNumbers, RowNumbers]
"""The file of a shard's weights, which of some checkpoints are in it, and their rows there."""


class ShardFiles:
    """The files of a zoo, opened when a checkpoint in them is asked for.

    Args:
        source: Where the zoo lies.
        metadata: One row a checkpoint, of all splits.
        spec: The RNNs'.
    """

    def __init__(self, source: Source, metadata: pa.Table, spec: RNNSpec) -> None:
        self._source, self._metadata, self._spec = source, metadata, spec
        self._weights: dict[str, MappedFile] = {}
        self._rollouts: dict[str, MappedFile] = {}

    def weights(self, rows: RowNumbers) -> dict[str, NDArray[np.float32]]:
        """Weights of the checkpoints in some rows of the metadata: parameter -> [N, *shape].

        Raises:
            RnnzooError: A file does not fit its manifest.
        """
        groups = self._by_shard(rows, "row")
        self._open_weights([name for name, _, _ in groups])
        batch = {p.name: np.empty((len(rows), *p.shape), np.float32) for p in self._spec.parameters}
        for name, places, rows_there in groups:
            file = self._weights[name]
            if self._source.check == "rows":
                metadata = self._metadata.take(pa.array(rows[places]))
                check_weight_hashes(metadata, self._spec, file.tensors, rows_there, file.where)
            for parameter, block in batch.items():
                block[places] = file.tensors[parameter][rows_there]
        return batch

    def rollouts(
        self, tensor: str, rows: RowNumbers, check: Callable[[NDArray[np.uint8]], None]
    ) -> NDArray[np.uint8]:
        """A tensor of the rollouts of the checkpoints in some rows: [N, R, F] or [N, R].

        Args:
            tensor: Its name.
            rows: The N rows.
            check: Raises RnnzooError for rollouts of one file that cannot be read; the file is then named too.

        Raises:
            ParameterError: A file has no such tensor.
            RnnzooError: A file does not fit its manifest, or does not pass the check.
        """
        groups = self._by_shard(rows, "rollout_row")
        self._open_rollouts([name for name, _, _ in groups])
        parts = []
        for name, places, rows_there in groups:
            file = self._rollouts[name]
            if tensor not in (names := list(file.tensors)):
                expected = f"expected one of {', '.join(names)}, which {file.where} has"
                raise ParameterError("tensor", f"found {tensor!r}, {expected}")
            if self._source.check == "rows":
                metadata = self._metadata.take(pa.array(rows[places]))
                check_rollout_hashes(metadata, file.tensors, rows_there, file.where)
            part = file.tensors[tensor][rows_there]
            try:
                check(part)
            except RnnzooError as error:
                raise RnnzooError(f"{file.where}: {error}") from error
            parts.append((places, part))
        values = np.empty((len(rows), *parts[0][1].shape[1:]), np.uint8)
        for places, part in parts:
            values[places] = part
        return values

    def have_rollouts(self, tensor: str, rows: RowNumbers) -> bool:
        """Whether all rollouts of the checkpoints in some rows have a tensor."""
        names = [name for name, _, _ in self._by_shard(rows, "rollout_row")]
        self._open_rollouts(names)
        return all(tensor in self._rollouts[name].tensors for name in names)

    def _by_shard(self, rows: RowNumbers, row_column: str) -> list[Group]:
        chosen = self._metadata.select(["shard", row_column]).take(pa.array(rows)).combine_chunks()
        shards, rows_there = chosen["shard"].chunk(0).dictionary_encode(), chosen[row_column].to_numpy()
        numbers = shards.indices.to_numpy()
        order = np.argsort(numbers, kind="stable")
        ends = np.cumsum(np.bincount(numbers))
        groups = zip(shards.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=True)
        return [(name, places, rows_there[places]) for name, places in groups]

    @cached_property
    def _rows_of_shard(self) -> dict[str, slice]:
        """A shard's weights file -> its rows in the metadata, which stand together."""
        names, edges = runs_of_names(self._metadata["shard"])
        return {name: slice(*ends) for name, ends in zip(names, pairwise(edges.tolist()), strict=True)}

    def _open_weights(self, names: Sequence[str]) -> None:
        new = [name for name in names if name not in self._weights]
        for name, file in zip(new, self._source.map_files(new), strict=True):
            rows = self._rows_of_shard[name]
            check_weights(file.specs, self._spec, rows.stop - rows.start, file.where)
            self._weights[name] = file

    def _open_rollouts(self, names: Sequence[str]) -> None:
        """names: of the weights' files."""
        new = [name for name in names if name not in self._rollouts]
        for name, file in zip(new, self._source.map_files([rollouts_of(name) for name in new]), strict=True):
            rows = self._metadata["rollout_row"].to_numpy()[self._rows_of_shard[name]]
            check_rollouts(file.specs, rows, file.where)
            self._rollouts[name] = file

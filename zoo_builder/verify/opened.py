"""What all checks look at: a zoo's metadata, and its shards, each opened when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, flatten_weights
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, join_metadata, read_split
from rnnzoo.zoo_builder.storage.shards import Shard, read_shard


@dataclass
class OpenedZoo:
    """What checks look at.

    Attributes:
        folder: The zoo's folder.
        manifest: Its manifest.
        metadata: Split -> its rows.
        all_rows: The rows of all splits.
    """

    folder: Path
    manifest: Manifest
    metadata: dict[str, pa.Table]
    all_rows: pa.Table

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> OpenedZoo:
        """The metadata of a folder, split by split as its manifest lists them.

        Raises:
            RnnzooError: One of them cannot be read.
        """
        metadata = {split: read_split(folder, split) for split in manifest.splits}
        return cls(folder, manifest, metadata, join_metadata(folder, metadata.values()))

    @property
    def spec(self) -> RNNSpec:
        return self.manifest.rnn_spec()

    def weights(self, shard: str) -> Shard:
        """The weights of a shard. Not all are open at once: a system lets a process map so many files."""
        return read_shard(file_in(self.folder, schema.weights_file(shard)))

    def rollouts(self, shard: str) -> Shard:
        """The rollouts of a shard, likewise."""
        return read_shard(file_in(self.folder, schema.rollouts_file(shard)))

    def rows_by_shard(self) -> Iterator[tuple[str, pa.Table]]:
        """Every shard's name, and its rows of the metadata."""
        for split, entry in self.manifest.splits.items():
            table, start = self.metadata[split], 0
            ends = pc.run_end_encode(table["shard"].combine_chunks()).run_ends.to_pylist()
            if len(ends) != len(entry.shards):
                path = self.folder / schema.metadata_file(split)
                raise RnnzooError(f"{path}: the rows of a shard do not stand together")
            for name, end in zip(entry.shards, ends, strict=True):
                yield name, table.slice(start, end - start)
                start = end

    def flat_weights(self, shard: Shard) -> NDArray[np.float32]:
        """The weights [N, P] of all models of a shard."""
        tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in shard.tensors.items()}
        return flatten_weights(self.spec, tensors).numpy()

    def weights_of(self, rows: Sequence[dict[str, Any]]) -> torch.Tensor:
        """The weights [N, P] of some rows of metadata."""
        flat = []
        for row in rows:
            tensors = self.weights(schema.shard_of(row["shard"])).tensors
            named = {name: torch.from_numpy(np.array(tensor[row["row"]])) for name, tensor in tensors.items()}
            flat.append(flatten_weights(self.spec, named))
        return torch.stack(flat)

"""A zoo in memory: what training loops draw their batches from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.population import Population
from rnnzoo.loaders.zoo import Zoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import unflatten_weights
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.family import TaskFamily

REFERENCES = 100
"""Items that encoders may know of."""

RowNumbers = NDArray[np.int64]
"""Which rows of a `LoadedZoo` are meant, int64 [M]."""


class LoadedZoo:
    """All checkpoints of a zoo that did not diverge: weights, rollouts and metadata, M rows in one order.

    A zoo of a thousand runs takes some 0.6 GB. Weights and rollouts are read when they are first asked for.

    Args:
        path_or_repo: A zoo's folder, or "org/name" for a dataset repository on the hub.
        device: Where the tensors are kept.
        revision: Tag, branch or commit of a repository; None for the newest tag of this format version.

    Attributes:
        zoo: The zoo on the disk or the hub.
        device: Where the tensors are kept.
        metadata: One row a checkpoint [M], with the columns of `Zoo.metadata`.

    Raises:
        RnnzooError: The zoo cannot be opened, or all its checkpoints diverged.
    """

    def __init__(
        self, path_or_repo: str | Path, device: torch.device | str = "cpu", revision: str | None = None
    ) -> None:
        self.zoo = Zoo(path_or_repo, revision)
        self.device = torch.device(device)
        table = self.zoo.metadata
        self._ids = np.flatnonzero(~table["diverged"].to_numpy()).tolist()
        self.metadata: pa.Table = table.take(pa.array(self._ids))
        self._columns: dict[str, NDArray[Any]] = {}
        if not self._ids:
            raise RnnzooError(f"{path_or_repo}: every checkpoint diverged, expected some that did not")

    def __len__(self) -> int:
        return len(self._ids)

    @cached_property
    def flat(self) -> Tensor:
        """Weights of all checkpoints, float32 [M, P]."""
        return self.zoo.flat(self._ids).to(self.device)

    def weights(self, rows: Tensor | NDArray[np.int64] | slice) -> dict[str, Tensor]:
        """Named weights of some checkpoints.

        Args:
            rows: Which of the M rows, as an index [N] or a slice.

        Returns:
            Parameter name -> float32 [N, *shape].
        """
        return unflatten_weights(self.zoo.spec, self.flat[rows])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the metadata as an array.

        Args:
            name: The column.

        Returns:
            Its values [M, ...]. The array is made once and shared, so it must not be changed.
        """
        if name not in self._columns:
            self._columns[name] = np.array(self.metadata[name].to_pylist())
        return self._columns[name]

    def columns(self, names: Iterable[str], rows: Tensor) -> dict[str, Tensor]:
        """Columns of the metadata of some checkpoints, as encoders take them.

        Args:
            names: The columns, of numbers or of lists of numbers of one length.
            rows: Which of the M rows, [N].

        Returns:
            Column -> [N] or [N, K], on the zoo's device.
        """
        places = rows.cpu().numpy()
        return {name: torch.from_numpy(self.column(name)[places]).to(self.device) for name in names}

    @property
    def family(self) -> type[TaskFamily[Any]]:
        """The family of the zoo's tasks; errors as in `Zoo.family`."""
        return self.zoo.family

    @cached_property
    def rollout_group(self) -> Tensor:
        """For each checkpoint, its index in the first axis of `rollouts`, int64 [M]; several checkpoints may share
        one.
        """
        shard = self.metadata["shard"].combine_chunks().dictionary_encode().indices.to_numpy()
        places = np.stack([shard, self.column("rollout_row")])
        _, groups = np.unique(places, axis=1, return_inverse=True)
        return torch.from_numpy(groups.reshape(-1)).to(self.device)

    @cached_property
    def rollouts(self) -> Tensor:
        """Rollouts as stored, uint8 [G, R, F]: G groups of checkpoints that share rollouts, R rollouts of F bytes
        each.
        """
        return torch.from_numpy(self.zoo.rollout_tensor("inputs", self._group_heads)).to(self.device)

    @cached_property
    def rollout_labels(self) -> Tensor | None:
        """Labels of the rollouts, uint8 [G, R]; None where the encoding needs none, or the zoo has none."""
        if not self.zoo.encoding.needs_labels or not self.zoo.has_labels(self._group_heads):
            return None
        return torch.from_numpy(self.zoo.rollout_tensor("labels", self._group_heads)).to(self.device)

    @property
    def knows_answers(self) -> bool:
        """Whether it is known what RNNs should have answered along the rollouts."""
        return not self.zoo.encoding.needs_labels or self.rollout_labels is not None

    @cached_property
    def population(self) -> Population:
        """What an encoder may know of this zoo."""
        encoding = self.zoo.encoding
        steps = encoding.steps(self.rollouts.shape[-1])
        return Population(self.zoo.spec, encoding, steps, self._reference_items(), self.family)

    def tasks(self, rows: NDArray[np.int64]) -> list[Any]:
        """The tasks of some checkpoints.

        Args:
            rows: Which of the M rows, [N].

        Returns:
            N tasks of `family`.

        Raises:
            RnnzooError: As in `Zoo.tasks`.
        """
        return self.zoo.tasks([self._ids[row] for row in rows])

    @cached_property
    def _group_heads(self) -> Sequence[int]:
        """The first checkpoint of every group, as `Zoo` counts."""
        _, first = np.unique(self.rollout_group.cpu().numpy(), return_index=True)
        return [self._ids[row] for row in first]

    def _reference_items(self) -> LabelledItems | None:
        """Items of runs that train under every protocol, each at its last checkpoint; None without such runs."""
        runs, steps = self.column("run_id"), self.column("step")
        training = np.flatnonzero((self.column("split") == "train") & (self.column("paper_split") == "train"))
        ordered = training[np.lexsort((steps[training], runs[training]))]
        last = ordered[np.append(runs[ordered][1:] != runs[ordered][:-1], True)] if len(ordered) else ordered
        if not len(last):
            return None
        if self.family.generates:  # what RNNs wrote is in the order of checkpoints, items are in that of runs
            last = np.sort(last)
        groups = self.rollout_group[torch.from_numpy(last)]
        labels = None if self.rollout_labels is None else self.rollout_labels[groups].cpu().numpy()
        return self.family.reference_items(
            self.tasks(last), self.rollouts[groups].cpu().numpy(), labels, REFERENCES
        )

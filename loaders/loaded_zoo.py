"""A zoo in memory: what training loops draw their batches from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.population import LabelledItems, Population
from rnnzoo.loaders.zoo import Zoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import unflatten_weights
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import turned

REFERENCES = 100


class LoadedZoo:
    """All checkpoints of a zoo that did not diverge: weights, rollouts and metadata, M rows in one order.

    A zoo of a thousand runs takes some 0.6 GB. metadata: one row a checkpoint, as in `Zoo.metadata`.
    """

    def __init__(self, path_or_repo: str | Path, device: torch.device | str = "cpu") -> None:
        self.zoo = Zoo(path_or_repo)
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
        """Named weights of some checkpoints, name -> [N, *shape]."""
        return unflatten_weights(self.zoo.spec, self.flat[rows])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the metadata as an array [M, ...], made once: not to be changed."""
        if name not in self._columns:
            self._columns[name] = np.array(self.metadata[name].to_pylist())
        return self._columns[name]

    @cached_property
    def rollout_group(self) -> Tensor:
        """Which entry of `rollouts` is checkpoint m's, int64 [M]: rollouts of images stand once a run."""
        groups = np.arange(len(self))
        if isinstance(self.zoo.encoding, TileEncoding):
            _, groups = np.unique(self.column("run_id"), return_inverse=True)
        return torch.from_numpy(groups).to(self.device)

    @cached_property
    def rollouts(self) -> Tensor:
        """Rollouts as stored, uint8 [G, R, F]."""
        return torch.from_numpy(self.zoo.rollout_tensor("inputs", self._group_heads)).to(self.device)

    @cached_property
    def rollout_labels(self) -> Tensor | None:
        """Labels of the rollouts, uint8 [G, R], where inputs have labels."""
        if not isinstance(self.zoo.encoding, TileEncoding):
            return None
        return torch.from_numpy(self.zoo.rollout_tensor("labels", self._group_heads)).to(self.device)

    @cached_property
    def population(self) -> Population:
        """What an encoder may know of this zoo."""
        encoding = self.zoo.encoding
        steps = encoding.steps(self.rollouts.shape[-1])
        reference = self._upright_images() if isinstance(encoding, TileEncoding) else self._strings()
        return Population(self.zoo.spec, encoding, steps, reference)

    @cached_property
    def _group_heads(self) -> Sequence[int]:
        """The first checkpoint of every group, as `Zoo` counts."""
        _, first = np.unique(self.rollout_group.cpu().numpy(), return_index=True)
        return [self._ids[row] for row in first]

    def _strings(self) -> LabelledItems:
        """One string of each of some training runs at their last step: [I, F]."""
        steps = self.column("step")
        rows = np.flatnonzero((self.column("split") == "train") & (steps == steps.max()))[:REFERENCES]
        return LabelledItems(self.rollouts[self.rollout_group[rows], 0].cpu())

    def _upright_images(self) -> LabelledItems:
        """One image of each of some training runs, turned back by the run's angle: [I, F] with labels.

        Turned twice by nearest neighbour they are a little rough, but need no other data than the zoo's.
        """
        groups, first = np.unique(self.rollout_group.cpu().numpy(), return_index=True)
        training = self.column("split")[first] == "train"
        angles = self.column("rotation_degrees")[first]
        items, labels = [], []
        assert self.rollout_labels is not None
        for number in range(REFERENCES):
            group = groups[training][number % training.sum()]
            entry = number // int(training.sum()) % self.rollouts.shape[1]
            angle = float(angles[training][number % training.sum()])
            items.append(turned(self.rollouts[group, entry].cpu().numpy(), -angle))
            labels.append(int(self.rollout_labels[group, entry]))
        return LabelledItems(torch.from_numpy(np.stack(items)), torch.tensor(labels, dtype=torch.uint8))

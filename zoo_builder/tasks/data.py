"""Items, and how item numbers become batches.

A family's raw material is a table of items (byte rows, shared by all runs). A run's batch is a list of item
numbers, and an optional per-run view (which byte of the item stands where: a rotation, say). The `Encoding` turns
the bytes into the network's inputs and targets. Because a batch is nothing but item numbers, the data of a run are
the same on every device and in every kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rnnzoo.zoo_builder.tasks.encodings import Encoding

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledItems:
    """Items that any RNN of a zoo might be shown.

    Attributes:
        items: uint8 [I, F], I items of F bytes.
        labels: uint8 [I], where items have some.
    """

    items: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What N models see and must answer.

    Attributes:
        inputs: float32 [N, B, T, D].
        targets: int64 [N, B, T].
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Data:
    """Everything that turns item numbers of N runs into batches.

    Attributes:
        encoding: What turns bytes into inputs and targets.
        items: uint8 [I, F], shared by all runs.
        labels: uint8 [I], or None where targets come from the item itself.
        views: int16 [N, F'], or None. Byte j of run n's view of item i is items[i, views[n, j]], and 0 where
            views[n, j] is -1.
    """

    encoding: Encoding
    items: Tensor
    labels: Tensor | None = None
    views: Tensor | None = None

    @property
    def steps(self) -> int:
        """T, steps of a sequence."""
        width = self.items.shape[1] if self.views is None else self.views.shape[1]
        return self.encoding.steps(width)

    def raw(self, item_ids: Tensor) -> Tensor:
        """The items as each run sees them.

        Args:
            item_ids: Item numbers [N, ...].

        Returns:
            The runs' views of these items, uint8 [N, ..., F'].
        """
        if self.views is None:
            return self.items[item_ids.long()]
        views = self.views.long().view(len(self.views), *[1] * (item_ids.dim() - 1), -1)
        seen = self.items[item_ids.long()].take_along_dim(views.clamp_min(0), dim=-1)
        return seen.masked_fill_(views < 0, 0)

    def batch(self, item_ids: Tensor) -> Batch:
        """Inputs and targets of items.

        Args:
            item_ids: Item numbers [N, B].

        Returns:
            Inputs [N, B, T, D] and targets [N, B, T].
        """
        raw = self.raw(item_ids)
        labels = None if self.labels is None else self.labels[item_ids.long()]
        return Batch(self.encoding.inputs(raw), self.encoding.targets(raw, labels))

    def of(self, runs: Tensor) -> Data:
        """The data of the runs with these numbers, int64 [M]."""
        return self if self.views is None else replace(self, views=self.views[runs])

    def of_runs(self, first: int, last: int) -> Data:
        """The data of runs first to last - 1."""
        return self if self.views is None else replace(self, views=self.views[first:last])

    def to(self, device: torch.device | str) -> Data:
        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(self, items=self.items.to(device), labels=move(self.labels), views=move(self.views))

"""From a network's last layer to a prediction of a target: for MLP readouts and for end-to-end training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from rnnzoo.zoo_builder.tasks.target import Target

Array = NDArray[np.float64]


class TargetHead:
    """Outputs [M, W] of a network <-> truths [M] or [M, K] of a target.

    Numbers are standardised and fitted by squared error. An angle is fitted in the same way, by its sine and
    cosine. Classes are those found in the training truth; each column is a softmax, fitted by cross-entropy.
    """

    def __init__(self, target: Target, training_truth: Array) -> None:
        self.kind = target.kind
        self._of_classes = target.kind in ("class", "classes")
        self._flat = training_truth.ndim == 1
        columns = training_truth.reshape(len(training_truth), -1)
        if self._of_classes:
            self._classes = [np.unique(column) for column in columns.T]
            self.width = sum(map(len, self._classes))
        elif self.kind == "angle":
            self.width = 2
        else:
            self._mean, self._deviation = columns.mean(axis=0), columns.std(axis=0) + 1e-12
            self.width = columns.shape[1]

    def encode(self, truth: Array) -> Tensor:
        """The truth as `loss` takes it.

        Args:
            truth: [M] or [M, K].

        Returns:
            For classes their numbers, int64 [M, K], -1 for a class that training does not have; otherwise float32
            [M, W].
        """
        if self._of_classes:
            columns = truth.reshape(len(truth), -1).T
            numbered = [self._number(column, known) for column, known in zip(columns, self._classes, strict=True)]
            return torch.from_numpy(np.stack(numbered, axis=1))
        if self.kind == "angle":
            radians = np.radians(truth)
            values = np.stack([np.sin(radians), np.cos(radians)], axis=1)
        else:
            values = (truth.reshape(len(truth), -1) - self._mean) / self._deviation
        return torch.from_numpy(values).float()

    @staticmethod
    def _number(column: Array, known: Array) -> NDArray[np.int64]:
        places = np.searchsorted(known, column).clip(max=len(known) - 1)
        return np.where(known[places] == column, places, -1)

    def loss(self, outputs: Tensor, encoded: Tensor) -> Tensor:
        """Mean loss; entries of a class that training does not have do not count.

        Args:
            outputs: Of the network, [M, W].
            encoded: What `encode` makes of the truth.

        Returns:
            A scalar.
        """
        if not self._of_classes:
            return mse_loss(outputs, encoded)
        parts = outputs.split([len(known) for known in self._classes], dim=1)
        losses = [
            cross_entropy(part, column, ignore_index=-1)
            for part, column in zip(parts, encoded.unbind(dim=1), strict=True)
            if (column >= 0).any()
        ]
        return torch.stack(losses).mean() if losses else outputs.sum() * 0

    def predict(self, outputs: Tensor) -> Array:
        """Predictions in the units of the truth, [M] or [M, K]."""
        if self._of_classes:
            parts = outputs.split([len(known) for known in self._classes], dim=1)
            chosen = zip(self._classes, parts, strict=True)
            values = np.stack([known[part.argmax(dim=1).cpu().numpy()] for known, part in chosen], axis=1)
        elif self.kind == "angle":
            sine, cosine = outputs.double().cpu().numpy().T
            return np.degrees(np.arctan2(sine, cosine)) % 360
        else:
            values = outputs.double().cpu().numpy() * self._deviation + self._mean
        return values[:, 0] if self._flat else values

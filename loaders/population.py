"""What an encoder may know of the RNNs it is made for, besides their weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.encodings import Encoding, TokenEncoding


@dataclass(frozen=True)
class LabelledItems:
    """Items any RNN of a zoo might be shown: uint8 [I, F], and their labels uint8 [I] where items have some."""

    items: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class Population:
    """What an encoder knows of the RNNs it is made for.

    spec: their sizes and parameters. encoding: what their inputs mean (tokens or tiles of an image).
    steps: T of the sequences they were trained on. reference: for languages, strings that training RNNs wrote; for
    images, upright images with labels.
    """

    spec: RNNSpec
    encoding: Encoding
    steps: int
    reference: LabelledItems | None = None

    @property
    def reads_tokens(self) -> bool:
        """Whether inputs are one-hot tokens (formal languages), not numbers (images)."""
        return isinstance(self.encoding, TokenEncoding)

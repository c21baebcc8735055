"""Which inputs an RNN may be shown: what encoders that learn inputs keep them within."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class InputRange(Protocol):
    """Unbounded numbers [..., D] onto inputs; backward takes the gradient of the inputs to that of the numbers.

    sums_to_one: whether the D inputs of every step do: then a constant may move from weights to a bias.
    """

    sums_to_one: ClassVar[bool]

    def forward(self, scores: Tensor) -> Tensor: ...

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor: ...

    def near(self, inputs: Tensor, certainty: float) -> Tensor:
        """Numbers that `forward` takes close to real inputs: `certainty` of the way from the middle."""
        ...


@dataclass(frozen=True)
class Simplex:
    """A softmax: distributions over tokens, of which one-hot inputs are the corners."""

    sums_to_one: ClassVar[bool] = True

    def forward(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        weighted = gradient * inputs
        return weighted.addcmul_(inputs, weighted.sum(dim=-1, keepdim=True), value=-1)

    def near(self, inputs: Tensor, certainty: float) -> Tensor:
        return (certainty * inputs + (1 - certainty) / inputs.shape[-1]).log()


@dataclass(frozen=True)
class Interval:
    """A sigmoid onto (least, least + width) in every input."""

    sums_to_one: ClassVar[bool] = False

    least: float
    width: float

    def forward(self, scores: Tensor) -> Tensor:
        return scores.sigmoid() * self.width + self.least

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        share = (inputs - self.least) / self.width
        return gradient * share * (1 - share) * self.width

    def near(self, inputs: Tensor, certainty: float) -> Tensor:
        return ((inputs - self.least) / self.width * certainty + (1 - certainty) / 2).logit()

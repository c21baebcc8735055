"""Sequences that are answered at every step, by something else than the next input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.encodings import CompiledForm, Encoding
from rnnzoo.zoo_builder.tasks.input_ranges import InputRange, Simplex

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AnsweredTokens(Encoding):
    """Items are T tokens and then T answers; at every step a token is read, one-hot, and an answer given.

    An item of F bytes gives T = F / 2 steps of D = vocabulary inputs.

    Attributes:
        vocabulary: How many tokens there are. Answers are numbered like tokens.
    """

    vocabulary: int

    kind = "answered_tokens"
    needs_labels = False
    every_answer = True

    @property
    def input_size(self) -> int:
        return self.vocabulary

    @property
    def input_range(self) -> InputRange:
        return Simplex()

    def steps(self, item_bytes: int) -> int:
        return item_bytes // 2

    def inputs(self, items: Tensor) -> Tensor:
        from torch.nn.functional import one_hot

        return one_hot(items[..., : self.steps(items.shape[-1])].long(), self.vocabulary).float()

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        return items[..., self.steps(items.shape[-1]) :].long()

    def check_items(self, items: Bytes) -> None:
        if items.shape[-1] % 2:
            raise RnnzooError(f"inputs: found {items.shape[-1]} bytes, expected as many tokens as answers")
        if items.size and (found := items.max()) >= self.vocabulary:
            raise RnnzooError(f"inputs: found token {found}, expected 0 to {self.vocabulary - 1}")

    def check_bounds(self) -> None:
        if type(self.vocabulary) is not int or not 0 < self.vocabulary <= 256:
            raise RnnzooError(f"encoding: found {self}, expected a vocabulary of 1 to 256")

    def compiled_form(self) -> CompiledForm:
        return CompiledForm(tokens=True)

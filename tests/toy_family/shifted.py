"""Sequences of symbols, each shifted by the task: an RNN answers which symbol stands there most often.

It reads them by an encoding of its own, which no compiled kernel knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.input_ranges import InputRange, Simplex
from rnnzoo.zoo_builder.tasks.pictures import Colouring
from rnnzoo.zoo_builder.tasks.target import Target

if TYPE_CHECKING:
    from torch import Tensor

LENGTH, SYMBOLS, ITEMS = 8, 3, 60


@dataclass(frozen=True)
class SymbolEncoding(Encoding):
    """Every byte is a one-hot input; the target of every step is the item's label."""

    symbols: int

    kind: ClassVar[str] = "symbols"
    needs_labels: ClassVar[bool] = True

    @property
    def input_size(self) -> int:
        return self.symbols

    @property
    def input_range(self) -> InputRange:
        return Simplex()

    def steps(self, item_bytes: int) -> int:
        return item_bytes

    def inputs(self, items: Tensor) -> Tensor:
        from torch.nn.functional import one_hot

        return one_hot(items.long(), self.symbols).float()

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise RnnzooError("labels: found none, expected one an item")
        return labels.long().unsqueeze(-1).expand(items.shape)

    def check_items(self, items: Bytes) -> None:
        if items.size and items.max() >= self.symbols:
            raise RnnzooError(f"inputs: found symbol {items.max()}, expected 0 to {self.symbols - 1}")

    def check_bounds(self) -> None:
        if type(self.symbols) is not int or not 0 < self.symbols <= 256:
            raise RnnzooError(f"encoding: found {self}, expected 1 to 256 symbols")


@dataclass(frozen=True)
class Shift:
    places: int

    @property
    def task_id(self) -> str:
        return f"shift-{self.places}"

    def columns(self) -> dict[str, Any]:
        return {"places": self.places}


class ShiftedSymbols(TaskFamily[Shift]):
    name = "shifted_symbols"
    zoos = {  # noqa: RUF012
        "shifted_letters": NamedZoo("RNN zoo, shifted letters", "letters", notice="The letters are Anna's.")
    }
    encoding = SymbolEncoding(SYMBOLS)
    output_size = SYMBOLS
    generates = False
    task_columns = pa.schema([column("places", pa.int8(), "how far a sequence is shifted")])
    source_column = column("alphabet", pa.string(), "what the symbols stand for")
    targets = (Target("places", "places", "number", trained_only=True),)
    colouring = Colouring("places", "places")

    def __init__(self, source: str) -> None:
        self.source = source
        self.items = np.random.default_rng(0).integers(0, SYMBOLS, (ITEMS, LENGTH), np.uint8)
        counts = np.stack([(self.items == symbol).sum(axis=1) for symbol in range(SYMBOLS)], axis=1)
        self.labels = counts.argmax(axis=1).astype(np.uint8)

    @classmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        return cls(source or "letters")

    def tasks(self, runs: int, seed: int) -> list[Shift]:
        return [Shift((seed + run) % LENGTH) for run in range(runs)]

    def view(self, task: Shift) -> np.ndarray:
        return np.roll(np.arange(LENGTH, dtype=np.int16), task.places)

    def training_items(self, task: Shift) -> np.ndarray:
        return np.arange(0, ITEMS - ITEMS // 4, dtype=np.int32)

    def evaluation_items(self, task: Shift) -> np.ndarray:
        return np.arange(ITEMS - ITEMS // 4, ITEMS, dtype=np.int32)

    @classmethod
    def task_of(cls, row: Mapping[str, Any]) -> Shift:
        return Shift(int(row["places"]))

    @classmethod
    def out_of_distribution(cls, tasks: Sequence[Shift]) -> list[Shift]:
        return [max(tasks, key=lambda task: task.places)]

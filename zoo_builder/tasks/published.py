"""What is special of a family in the arrays of the original release: one row a checkpoint in every array.

`rnnzoo.zoo_builder.published` reads and writes the arrays; a family that was published says here how its tasks,
sequences and scores stand in them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.tasks.data import Bytes


@dataclass(frozen=True)
class ArrayForm:
    """An array of `width` columns. kind: "i" (whole numbers) or "f" (floats)."""

    file: str
    kind: str
    width: int


class PublishedForm(ABC):
    """How a family stands in the arrays.

    zoo: the named zoo that they are. tasks: the array of tasks. numbers: the array whose first columns are run and
    step; its file tells the family. scores: a further array, where there is one.
    item_bytes: F of an item. sequence_type: of sequences.npy. log_softmax: whether logits.npy holds
    log-probabilities.
    columns: metadata that only an imported zoo has.
    """

    zoo: ClassVar[str]
    tasks: ClassVar[ArrayForm]
    numbers: ClassVar[ArrayForm]
    scores: ClassVar[ArrayForm | None] = None
    item_bytes: ClassVar[int]
    sequence_type: ClassVar[type[np.number]]
    log_softmax: ClassVar[bool]
    columns: ClassVar[pa.Schema] = pa.schema([])

    @abstractmethod
    def sequence_shape(self) -> tuple[int, ...]:
        """Of one stored sequence."""

    @abstractmethod
    def read_task(self, row: NDArray[Any]) -> Any:
        """The task of a row of the array of tasks. Raises ValueError, which says what was expected."""

    @abstractmethod
    def write_tasks(self, table: pa.Table) -> NDArray[Any]:
        """The array of tasks from metadata."""

    @abstractmethod
    def read_items(self, stored: NDArray[Any]) -> Bytes:
        """Stored sequences [N, R, ...] as items uint8 [N, R, F]. Raises ValueError, which says what it expects."""

    @abstractmethod
    def write_items(self, items: Bytes) -> NDArray[Any]:
        """Items [N, R, F] as stored sequences [N, R, ...]."""

    @abstractmethod
    def read_scores(self, numbers: NDArray[Any], scores: NDArray[Any] | None) -> Mapping[str, Any]:
        """Metadata that a row of the array of numbers, and one of that of scores, tell."""

    @abstractmethod
    def write_scores(self, table: pa.Table) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """From metadata: the columns of the array of numbers after run and step, and the array of scores."""

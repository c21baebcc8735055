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
    """An array of the original release.

    Attributes:
        file: Name of the file.
        kind: "i" (whole numbers) or "f" (floats).
        width: Number of columns.
    """

    file: str
    kind: str
    width: int


class PublishedForm(ABC):
    """How a family stands in the arrays.

    Attributes:
        zoo: The named zoo that the arrays hold.
        tasks: The array of tasks.
        numbers: The array whose first columns are run and step. Its file tells which family the arrays are of.
        scores: A further array, where there is one.
        item_bytes: F, bytes of an item.
        sequence_type: The dtype of sequences.npy.
        log_softmax: Whether logits.npy holds log-probabilities.
        columns: Metadata that only an imported zoo has: values as released, where others are rounded.
        damage: What the published program does to some sequences as it stores them, for people.
    """

    zoo: ClassVar[str]
    tasks: ClassVar[ArrayForm]
    numbers: ClassVar[ArrayForm]
    scores: ClassVar[ArrayForm | None] = None
    item_bytes: ClassVar[int]
    sequence_type: ClassVar[type[np.number]]
    log_softmax: ClassVar[bool]
    columns: ClassVar[pa.Schema] = pa.schema([])
    damage: ClassVar[str] = ""

    @abstractmethod
    def sequence_shape(self) -> tuple[int, ...]:
        """Of one stored sequence."""

    @abstractmethod
    def read_task(self, row: NDArray[Any]) -> Any:
        """The task of a row of the array of tasks.

        Raises:
            ValueError: The row is no task. The error says what was expected.
        """

    @abstractmethod
    def write_tasks(self, table: pa.Table) -> NDArray[Any]:
        """The array of tasks from metadata."""

    @abstractmethod
    def read_items(self, stored: NDArray[Any]) -> tuple[Bytes, int]:
        """Stored sequences [N, R, ...] as items.

        Returns:
            Items uint8 [N, R, F], and how many of them the published program had damaged as it stored them: they
            are mended.

        Raises:
            ValueError: The sequences cannot be items. The error says what was expected.
        """

    @abstractmethod
    def write_items(self, items: Bytes, damage: bool) -> NDArray[Any]:
        """Items [N, R, F] as stored sequences [N, R, ...].

        Args:
            items: The items.
            damage: Whether to damage those that the published program damages.
        """

    @abstractmethod
    def read_scores(
        self, task: NDArray[Any], numbers: NDArray[Any], scores: NDArray[Any] | None
    ) -> Mapping[str, Any]:
        """Metadata of a checkpoint, from its rows of three arrays.

        Args:
            task: A row of the array of tasks.
            numbers: A row of the array of numbers.
            scores: A row of the array of scores, where there is one.

        Returns:
            Values by metadata column.
        """

    @abstractmethod
    def write_scores(self, table: pa.Table) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """The inverse of `read_scores`, for a table of metadata.

        Returns:
            The columns of the array of numbers after run and step, and the array of scores.
            Each is None where there is none.
        """

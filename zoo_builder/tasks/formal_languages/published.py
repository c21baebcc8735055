"""The languages of the original release.

    tasks.npy               int64 [rows, 4]: a zero, and the offsets
    sequences.npy           int16 [rows, R, 42]: tokens
    logits.npy              float16 [rows, R, 41, 6]: log-softmax
    num_step_correct.npy    int [rows, 3]: run, step, correct of 1000

In a string without END that program overwrites the first token, which is BEGIN, with END before it stores the
string. Such a string is read as beginning with BEGIN again.

The accuracy and the losses of an imported zoo are computed from all words, its `count_accuracy` from the stored
strings; what the arrays say of correct strings stands in its column `published_accuracy`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.formal_languages.language import (
    BEGIN,
    END,
    OFFSETS,
    SEQUENCE_BYTES,
    FormalLanguage,
)
from rnnzoo.zoo_builder.tasks.published import ArrayForm, PublishedForm

STRINGS_SCORED = 1000
"""What the published number of correct strings is out of."""
PUBLISHED_ACCURACY = "published_accuracy"


class PublishedLanguages(PublishedForm):
    zoo = "formal_languages"
    tasks = ArrayForm("tasks.npy", "i", 4)
    numbers = ArrayForm("num_step_correct.npy", "i", 3)
    item_bytes = SEQUENCE_BYTES
    sequence_type = np.int16
    log_softmax = True
    damage = "they have no END, and had END in the place of BEGIN"
    columns = pa.schema(
        [column(PUBLISHED_ACCURACY, pa.float32(), "share of 1000 strings by the published rule, as released")]
    )

    def sequence_shape(self) -> tuple[int, ...]:
        return (SEQUENCE_BYTES,)

    def read_task(self, row: NDArray[Any]) -> FormalLanguage:
        zero, *offsets = row.tolist()
        if zero != 0 or any(offset not in OFFSETS for offset in offsets):
            raise ValueError(f"found {row.tolist()}, expected 0 and three offsets from -3 to 2")
        return FormalLanguage((offsets[0], offsets[1], offsets[2]))

    def write_tasks(self, table: pa.Table) -> NDArray[np.int64]:
        offsets = np.array(table["offsets"].to_pylist(), np.int64)
        return np.pad(offsets, ((0, 0), (1, 0)))

    def read_items(self, stored: NDArray[Any]) -> tuple[Bytes, int]:
        if stored.min() < 0 or stored.max() > END:
            raise ValueError(f"found tokens {stored.min()} to {stored.max()}, expected 0 to {END}")
        overwritten = (stored[..., 0] == END) & _unfinished(stored)
        wrong = stored[..., 0][(stored[..., 0] != BEGIN) & ~overwritten]
        if wrong.size:
            raise ValueError(
                f"found {wrong[0]} first in a string, expected {BEGIN}, or {END} in a string with no other {END}"
            )
        items = stored.astype(np.uint8)
        items[..., 0] = BEGIN
        return items, int(overwritten.sum())

    def write_items(self, items: Bytes, damage: bool) -> NDArray[Any]:
        stored = items.copy()
        if damage:
            stored[..., 0][_unfinished(items)] = END
        return stored

    def read_scores(
        self, task: NDArray[Any], numbers: NDArray[Any], scores: NDArray[Any] | None
    ) -> dict[str, Any]:
        return {PUBLISHED_ACCURACY: int(numbers[2]) / STRINGS_SCORED}

    def write_scores(self, table: pa.Table) -> tuple[NDArray[np.int64], None]:
        measured = PUBLISHED_ACCURACY if PUBLISHED_ACCURACY in table.column_names else "count_accuracy"
        correct = np.rint(np.nan_to_num(table[measured].to_numpy()) * STRINGS_SCORED).astype(np.int64)
        return correct[:, None], None


def _unfinished(strings: NDArray[Any]) -> NDArray[np.bool_]:
    """Which strings [..., 42] have no END after their first token, [...]."""
    return (strings[..., 1:] != END).all(axis=-1)

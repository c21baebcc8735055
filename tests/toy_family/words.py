"""Words a^n b^(k n + m): an RNN that has learned a task writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.encodings import TokenEncoding
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.target import Target

A, B, BEGIN, END = range(4)
WIDTH = 20
LARGEST_N = 4


@dataclass(frozen=True)
class Word:
    """a^n b^(multiple * n + more) for n >= 1."""

    multiple: int
    more: int

    @property
    def task_id(self) -> str:
        return f"a-n-b-{self.multiple}n+{self.more}"

    def columns(self) -> dict[str, Any]:
        return {"multiple": self.multiple, "more": self.more}

    def word(self, n: int) -> Bytes:
        letters = [BEGIN, *[A] * n, *[B] * (self.multiple * n + self.more)]
        return np.array([*letters, *[END] * (WIDTH - len(letters))], np.uint8)


TASKS = [Word(multiple, more) for multiple in (1, 2, 3) for more in range(4)]


class CountingWords(TaskFamily[Word]):
    name = "counting_words"
    zoos = {"counting_words": NamedZoo("RNN zoo, words that count", tags=("counting",))}  # noqa: RUF012
    encoding = TokenEncoding(vocabulary=4, begin=BEGIN)
    output_size = 4
    generates = True
    task_columns = pa.schema(
        [column("multiple", pa.int8(), "b's for each a"), column("more", pa.int8(), "further b's")]
    )
    score_columns = pa.schema([column("stopped", pa.float32(), "share of strings with an END")])
    targets = (
        Target("multiple", "multiple", "class", trained_only=True),
        Target("more", "more", "number", trained_only=True),
    )

    def __init__(self) -> None:
        self.items = np.stack([task.word(n) for task in TASKS for n in range(1, LARGEST_N + 1)])

    @classmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        return cls()

    def tasks(self, runs: int, seed: int) -> list[Word]:
        return [TASKS[(seed + run) % len(TASKS)] for run in range(runs)]

    def training_items(self, task: Word) -> np.ndarray:
        return np.arange(LARGEST_N, dtype=np.int32) + TASKS.index(task) * LARGEST_N

    def evaluation_items(self, task: Word) -> np.ndarray:
        return self.training_items(task)

    @classmethod
    def task_of(cls, row: Mapping[str, Any]) -> Word:
        return Word(int(row["multiple"]), int(row["more"]))

    @classmethod
    def out_of_distribution(cls, tasks: Sequence[Word]) -> list[Word]:
        return sorted(tasks, key=lambda task: (task.multiple, task.more))[-2:]

    @classmethod
    def score_strings(cls, task: Word, strings: Bytes) -> dict[str, float]:
        right = np.zeros(len(strings), bool)
        for n in range(1, WIDTH):
            right |= (strings == task.word(n)[:WIDTH]).all(axis=1)
        return {"accuracy": float(right.mean()), "stopped": float((strings == END).any(axis=1).mean())}

    @classmethod
    def describe(cls, sequence: Bytes) -> str:
        return "".join("ab^$"[token] for token in sequence[1:])

"""Combination locks: the RNN names the next bit of its secret for as long as its inputs follow the secret.

At BEGIN an RNN names the first bit. If the inputs after that are the bits that it named, it names all d bits in
d - 1 inputs; after the first other input it says x for ever. (After the proof in Herrmann et al. 2024 that an
interactive interrogator can need exponentially fewer questions: see `interrogation.py`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, permutation
from rnnzoo.zoo_builder.tasks.combination_locks.encoding import AnsweredTokens
from rnnzoo.zoo_builder.tasks.combination_locks.lock import (
    BEGIN,
    Lock,
    all_locks,
    all_sequences,
    answers,
    encode_text,
)
from rnnzoo.zoo_builder.tasks.data import Bytes, LabelledItems
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.hyperparameters import HYPERPARAMETERS
from rnnzoo.zoo_builder.tasks.levels import highest_levels
from rnnzoo.zoo_builder.tasks.pictures import Colouring, Example
from rnnzoo.zoo_builder.tasks.target import Target
from rnnzoo.zoo_builder.tasks.texts import encode_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from torch import nn

DEPTHS = (6, 4, 8)
LOCK = column("lock", pa.string(), "the secret as text")
SECRET = "the bits of the secret, in the order in which they are named"


class CombinationLocks(TaskFamily[Lock]):
    """The family of all 2^d locks of a depth d, the family's source, with all their sequences."""

    name = "combination_locks"
    zoos = {
        f"combination_locks_{depth}": NamedZoo(
            f"RNN zoo, combination locks of {depth} bits", str(depth), tags=("interrogation",)
        )
        for depth in DEPTHS
    } | {
        "combination_locks_6_hyperparameters": NamedZoo(
            "RNN zoo, combination locks of 6 bits with varied hyperparameters",
            "6",
            HYPERPARAMETERS,
            tags=("interrogation",),
        )
    }
    encoding = AnsweredTokens(vocabulary=3)
    output_size = 3
    output_names = ("0", "1", "x")
    generates = False
    inputs_caption = "Time runs from left to right, one row a token; brighter is more probable."
    items_text = "BEGIN and the bits that are shown, then what the lock answers (2: x)"
    task_columns = pa.schema([LOCK, column("secret", pa.list_(pa.int8()), SECRET)])
    source_column = column("depth", pa.string(), "d, bits of a secret")
    targets = (Target("secret", "secret", "classes", trained_only=True, entry="bit"),)
    colouring = Colouring("ones in the secret", "secret", "viridis", lambda secrets: secrets.sum(axis=1))

    def __init__(self, depth: int) -> None:
        self.source = str(depth)
        self.locks = all_locks(depth)
        bits = all_sequences(depth)
        secrets = np.array([lock.secret for lock in self.locks], np.uint8)[:, None]
        begins = np.full((len(bits), 1), BEGIN, np.uint8)
        shown = np.broadcast_to(np.concatenate([begins, bits], axis=1), (len(secrets), len(bits), depth))
        # Row lock * 2^(d - 1) + s is sequence s, with what this lock answers to it.
        self.items = np.concatenate([shown, answers(secrets, bits)], axis=-1).reshape(-1, 2 * depth)
        self._sequences = len(bits)

    @classmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        depth = source or str(DEPTHS[0])
        if depth not in map(str, DEPTHS):
            raise RnnzooError(f"source: found {source!r}, expected the depth of a named zoo: {sorted(DEPTHS)}")
        return cls(int(depth))

    def tasks(self, runs: int, seed: int) -> list[Lock]:
        """A seeded order of all locks, over and over: as many locks as possible, evenly."""
        order = permutation(seed, Stream.RUN_TASKS, 0, len(self.locks))
        return [self.locks[order[run % len(order)]] for run in range(runs)]

    def training_items(self, task: Lock) -> NDArray[np.int32]:
        """Sequences that follow the secret for 0 to d - 1 bits, each number of bits as often as any other."""
        return (self.locks.index(task) * self._sequences + task.ways()).astype(np.int32)

    def evaluation_items(self, task: Lock) -> NDArray[np.int32]:
        """The same: no sequence is kept from training."""
        return self.training_items(task)

    @classmethod
    def columns(cls, source: str | None) -> pa.Schema:
        """The list of bits is as long as the source says."""
        found = super().columns(source)
        kind = pa.list_(pa.int8(), int(source or DEPTHS[0]))
        return found.set(found.get_field_index("secret"), column("secret", kind, SECRET))

    @classmethod
    def task_of(cls, row: Mapping[str, Any]) -> Lock:
        return Lock(tuple(int(bit) for bit in row["secret"]))

    @classmethod
    def out_of_distribution(cls, tasks: Sequence[Lock]) -> list[Lock]:
        """The secrets with the most ones, by whole numbers of ones.

        So training sees both values of every bit, but never so many ones together.
        """
        return highest_levels(tasks, cls.paper_rank)

    @classmethod
    def paper_rank(cls, task: Lock) -> tuple[Any, ...]:
        """By the number of ones, then by the secret."""
        return (sum(task.secret), task.secret)

    @classmethod
    def behaviour_statistics(cls, steps: int, reference: LabelledItems | None) -> nn.Module:
        """Of the answers to one fixed sequence, their log-probabilities."""
        from rnnzoo.zoo_builder.tasks.combination_locks.interrogation import FixedSequence

        return FixedSequence(steps)

    @classmethod
    def task_reader(cls, steps: int) -> nn.Module:
        """An interactive interrogation: the likeliest answer is the next input."""
        from rnnzoo.zoo_builder.tasks.combination_locks.interrogation import SecretReader

        return SecretReader(steps)

    @classmethod
    def explorer_data(cls, tasks: Sequence[Lock], examples: LabelledItems) -> dict[str, Any]:
        """The secrets, and the token that opens a sequence."""
        return {"secrets": [list(map(int, task.secret)) for task in tasks], "begin": BEGIN}

    @classmethod
    def encode(cls, sequences: Any) -> Bytes:
        """Texts such as "01100" or "01100: 01xxxx", all of one length: see `encode_text`."""
        return encode_texts(encode_text, sequences)

    @classmethod
    def describe(cls, sequence: Bytes) -> str:
        """As "01100: 01xxxx": the bits that are shown, and the answers."""
        shown, answered = np.split(sequence, 2)
        return "".join(map(str, shown[1:])) + ": " + "".join("01x"[answer] for answer in answered)

    @classmethod
    def draw_examples(cls, figure: Figure, where: SubplotSpec, runs: Sequence[Sequence[Example]]) -> None:
        """What runs answer as they learn; in green what the lock answers, too."""
        from rnnzoo.zoo_builder.tasks.drawing import draw_sequences

        def right(row: Mapping[str, Any], sequences: Bytes) -> NDArray[np.bool_]:
            shown, answered = np.split(sequences, 2, axis=1)
            return (answers(np.array(cls.task_of(row).secret), shown[:, 1:]) == answered).all(axis=1)

        draw_sequences(
            figure,
            where,
            [[_with_own_answers(example) for example in checkpoints] for checkpoints in runs],
            cls.describe,
            title=lambda row: f"secret {row['lock']}   ({row['run_id']})",
            right=right,
            legend="bits that are shown: what the RNN answers; ✓ all answers are the lock's, ✗ some are not",
        )

    @classmethod
    def draw_inputs(cls, inputs: NDArray[np.float64]) -> Figure:
        from rnnzoo.zoo_builder.tasks.drawing import draw_heat_maps

        return draw_heat_maps(inputs, ("0", "1", "BEGIN"))


def _with_own_answers(example: Example) -> Example:
    """The rollouts of an example with the RNN's likeliest answers in the place of the lock's."""
    answered = example.outputs(example.inputs).argmax(axis=-1).astype(np.uint8)
    shown = example.inputs[:, : answered.shape[1]]
    return replace(example, inputs=np.concatenate([shown, answered], axis=1))

"""A batch: sequences, rows of equal ones, and groups of rows that share their beginnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from fma1.functions import Floats
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import CompiledForm

ROWS_PER_GROUP = 16


@dataclass(frozen=True)
class Inputs:
    """Of rows at a step: tokens [R], or numbers [R, D]."""

    tokens: NDArray[np.int64] | None = None
    numbers: Floats | None = None

    def of(self, rows: slice) -> Inputs:
        take = [None if part is None else part[rows] for part in (self.tokens, self.numbers)]
        return Inputs(*take)


@dataclass(frozen=True)
class Sequences:
    """What a model is shown: inputs at each of T steps of B rows, and targets [B, T]."""

    inputs: list[Inputs]
    targets: NDArray[np.int64]


def seen(data: Data, ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The bytes [B, F] of items as the one run sees them that `data` is about."""
    return data.raw(torch.from_numpy(ids)[None])[0].numpy()


def sequences_of(data: Data, ids: NDArray[np.int32]) -> Sequences:
    """Items as the sequences that the run sees."""
    raw, steps, form = seen(data, ids), data.steps, form_of(data)
    if form.tokens:
        inputs = [Inputs(tokens=raw[:, t].astype(np.int64)) for t in range(steps)]
        return Sequences(inputs, raw[:, -steps:].astype(np.int64))
    labels = data.labels.numpy()[ids].astype(np.int64)  # type: ignore[union-attr]
    scaled = raw.astype(np.float32) * np.float32(form.scale) + np.float32(form.shift)
    tile = data.encoding.input_size
    inputs = [Inputs(numbers=np.zeros((len(raw), tile), np.float32))]
    inputs += [Inputs(numbers=scaled[:, (t - 1) * tile : t * tile]) for t in range(1, steps)]
    return Sequences(inputs, np.repeat(labels[:, None], steps, axis=1))


def form_of(data: Data) -> CompiledForm:
    form = data.encoding.compiled_form()
    assert form is not None
    return form


@dataclass(frozen=True)
class Group:
    """Rows that share their beginnings, numbered by (first, order).

    Attributes:
        inputs: Of all rows, at each step.
        first: [R], rising.
        parent: [R], of the first row 0.
        counts: n_o of each row at each step, [T, R, O]; 0 where a row is not there.
    """

    inputs: list[Inputs]
    first: NDArray[np.int64]
    parent: NDArray[np.int64]
    counts: NDArray[np.int64]

    def there(self, t: int) -> int:
        """A_t."""
        return int((self.first <= t).sum())


def shared_steps(data: Data, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The number of first steps at which two sequences of bytes have the same inputs."""
    steps, tile = data.steps, data.encoding.input_size
    for t in range(steps):
        read = slice(t, t + 1) if form_of(data).tokens else slice(max(0, t - 1) * tile, t * tile)
        if not np.array_equal(one[read], other[read]):
            return t
    return steps


def groups_of(data: Data, ids: NDArray[np.int32], outputs: int) -> Iterator[Group]:
    ids = ids[sorted(range(len(ids)), key=seen(data, ids).tolist().__getitem__)]
    raw, sequences, steps = seen(data, ids), sequences_of(data, ids), data.steps
    rows: list[list[int]] = []  # the sequences of each row
    for b in range(len(raw)):
        if rows and shared_steps(data, raw[b], raw[rows[-1][0]]) == steps:
            rows[-1].append(b)
        else:
            rows.append([b])
    for start in range(0, len(rows), ROWS_PER_GROUP):
        yield group_of(data, raw, sequences, rows[start : start + ROWS_PER_GROUP], outputs)


def group_of(
    data: Data, raw: NDArray[np.uint8], sequences: Sequences, rows: list[list[int]], outputs: int
) -> Group:
    heads = [members[0] for members in rows]
    first = [0] + [shared_steps(data, raw[b], raw[a]) for a, b in pairwise(heads)]
    parent = [max((q for q in range(r) if first[q] < first[r]), default=0) for r in range(len(rows))]
    counts = np.zeros((data.steps, len(rows), outputs), np.int64)
    for t in range(data.steps):
        for r, members in enumerate(rows):
            there = r
            while first[there] > t:
                there = parent[there]
            for b in members:
                counts[t, there, sequences.targets[b, t]] += 1
    order = sorted(range(len(rows)), key=lambda r: (first[r], r))
    number = {r: place for place, r in enumerate(order)}
    inputs = [
        Inputs(
            None if at.tokens is None else at.tokens[[heads[r] for r in order]],
            None if at.numbers is None else at.numbers[[heads[r] for r in order]],
        )
        for at in sequences.inputs
    ]
    return Group(
        inputs,
        np.array([first[r] for r in order]),
        np.array([number[parent[r]] for r in order]),
        counts[:, order],
    )

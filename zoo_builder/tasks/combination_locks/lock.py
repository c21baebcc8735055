"""Locks: what they answer, and the sequences of bits that they may be shown.

A lock of depth d has a secret of d bits. Its first answer, to BEGIN, is the first of them. After that, for as long
as its inputs are the bits that it has just named, it names the next one; after the first other input it says x for
ever.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes

BEGIN = 2
"""The first input. Inputs 0 and 1 are bits."""
WRONG = 2
"""The answer x. Answers 0 and 1 are bits."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock, by its secret.

    >>> lock = Lock((0, 1, 1, 0))
    >>> lock.answer("011"), lock.answer("000"), lock.answer("100")
    ('0110', '01xx', '0xxx')
    """

    secret: tuple[int, ...]

    @property
    def task_id(self) -> str:
        return f"lock-{self.name}"

    @property
    def name(self) -> str:
        return "".join(map(str, self.secret))

    def columns(self) -> dict[str, Any]:
        return {"lock": self.name, "secret": list(self.secret)}

    def answer(self, bits: str) -> str:
        """The answers to BEGIN and these bits, as text."""
        found = answers(np.array(self.secret), np.array([int(bit) for bit in bits], np.uint8))
        return "".join("01x"[answer] for answer in found)

    def ways(self) -> NDArray[np.int64]:
        """Sequences by their numbers, some of them more than once, d 2^(d - 2) in all.

        The sequence at place j follows the secret for j mod d bits, and no further. So a share of 1 / d of all, or
        of any d that stand together, goes each way.
        """
        bits = len(self.secret) - 1
        followed = int(self.name[:-1], 2)
        rest = np.arange(2 ** (bits - 1))
        left = [bits - 1 - k for k in range(bits)]  # bits after the first wrong one
        wrong = [((followed >> more ^ 1) << more) + rest % 2**more for more in left]
        return np.stack([*wrong, np.full(len(rest), followed)], axis=1).reshape(-1)


def encode_text(text: str) -> Bytes:
    """BEGIN, some bits and answers to them as one sequence, from a text such as "011: 01xx".

    Answers may be left out: they are then all x.

    Raises:
        RnnzooError: The text has another form.

    >>> encode_text("011: 01xx").tolist(), encode_text("011").tolist()
    ([2, 0, 1, 1, 0, 1, 2, 2], [2, 0, 1, 1, 2, 2, 2, 2])
    """
    bits, _, answered = text.partition(": ")
    answered = answered or "x" * (len(bits) + 1)
    if not set(bits) <= set("01") or not set(answered) <= set("01x") or len(answered) != len(bits) + 1:
        raise RnnzooError(
            f'sequences: found {text!r:.100}, expected bits, or bits and answers such as "011: 01xx"'
        )
    return np.array([BEGIN, *map(int, bits), *map("01x".index, answered)], np.uint8)


def all_locks(depth: int) -> list[Lock]:
    """The 2^d locks of a depth, by their secrets as binary numbers."""
    return [Lock(secret) for secret in itertools.product((0, 1), repeat=depth)]


def all_sequences(depth: int) -> Bytes:
    """All sequences that may follow BEGIN, uint8 [2^(d - 1), d - 1], as binary numbers."""
    return np.array(list(itertools.product((0, 1), repeat=depth - 1)), np.uint8)


def answers(secrets: NDArray[Any], bits: NDArray[Any]) -> Bytes:
    """What locks answer to BEGIN and t bits after it.

    Args:
        secrets: [..., d].
        bits: [..., t], t < d.

    Returns:
        uint8 [..., t + 1]: bits, or WRONG.
    """
    first, others = secrets[..., :1], secrets[..., 1 : bits.shape[-1] + 1]
    follows = np.logical_and.accumulate(bits == secrets[..., : bits.shape[-1]], axis=-1)
    named = np.where(follows, others, WRONG)
    return np.concatenate([np.broadcast_to(first, (*named.shape[:-1], 1)), named], axis=-1).astype(np.uint8)

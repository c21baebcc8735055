"""Texts that stand for sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes


def encode_texts(encode: Callable[[str], Bytes], texts: str | Iterable[str]) -> Bytes:
    """The sequences of texts.

    Args:
        encode: What makes a sequence uint8 [F] of a text.
        texts: M texts, or one alone.

    Returns:
        uint8 [M, F], or [F] of one alone.

    Raises:
        RnnzooError: There are no texts, or their sequences are of several lengths.
    """
    if isinstance(texts, str):
        return encode(texts)
    found = [encode(text) for text in texts]
    lengths = sorted({len(sequence) for sequence in found})
    if len(lengths) != 1:
        raise RnnzooError(f"sequences: found {len(found)} texts of the lengths {lengths}, expected one length")
    return np.stack(found)

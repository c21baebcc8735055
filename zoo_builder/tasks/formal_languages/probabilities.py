"""What an RNN writes, from the probabilities of the words of its language: nothing is sampled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.tasks.exact import exact_exp
from rnnzoo.zoo_builder.tasks.formal_languages.language import (
    MOST_N,
    PLACES,
    FormalLanguage,
    word_lengths,
    written_words,
)


def score_written_words(language: FormalLanguage, losses: NDArray[np.float64]) -> dict[str, Any]:
    """How probable the words of a language are.

    The probability of a word w is e to minus the exact sum of the losses of its letters and of its END; of a word
    that fills all places, of its letters alone. No two words are the same string, so the probability of writing
    any word is the sum over them.

    Whether an RNN writes an END within its places at all, in whatever string, is no sum over words: only a sample
    tells, in the column `finished`. What words tell exactly is whether END comes in time once a word is written.

    Args:
        language: What the RNN learned.
        losses: -log of the probability of each token after BEGIN in each of `written_words`, in nats, [W, 41].

    Returns:
        accuracy: P(the string is in the language).
        word_probabilities: P(w END) by n, [MOST_N + 1].
        expected_n: Sum of n P(w END) / accuracy.
        end_probability: P(END | the letters of a word have been written): the sum of P(w END) over that of
            P(the letters of w). Both leave out words without room for END, and a word of nothing but a's, after
            which another one may go on.
    """
    numbers, words = written_words(language)
    lengths = word_lengths(words)
    with_end = [
        exact_exp(-math.fsum(row[: length + 1])) for row, length in zip(losses.tolist(), lengths, strict=True)
    ]
    letters = [exact_exp(-math.fsum(row[:length])) for row, length in zip(losses.tolist(), lengths, strict=True)]
    must_end = (lengths < PLACES) & (lengths > np.array(numbers))
    probabilities = np.zeros(MOST_N + 1)
    probabilities[numbers] = with_end
    accuracy = min(1.0, math.fsum(with_end))
    weighted = [n * probability for n, probability in zip(numbers, with_end, strict=True)]
    return {
        "accuracy": accuracy,
        "word_probabilities": probabilities,
        "expected_n": _ratio(math.fsum(weighted), math.fsum(with_end)),
        "end_probability": _ratio(
            math.fsum(np.array(with_end)[must_end].tolist()), math.fsum(np.array(letters)[must_end].tolist())
        ),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan

"""The languages L(m_b, m_c, m_d) = { a^n b^(n+m_b) c^(n+m_c) d^(n+m_d) : n >= 0 } and their words.

Each m is in -3..2.

(Herrmann, Faccio & Schmidhuber 2024, section 4 and appendix; after Gers & Schmidhuber 2001.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes

LETTERS = "abcd"
BEGIN, END = 4, 5
OFFSETS = range(-3, 3)
LARGEST_N = 9
SIGNS = "abcd^$"
"""What stands for each token in a text."""
PLACES = 41
"""Tokens that an RNN writes."""
SEQUENCE_BYTES = 1 + PLACES
"""BEGIN and 41 further tokens: 41 inputs, 41 targets."""
MOST_N = (PLACES - len(LETTERS[1:]) * OFFSETS[0]) // len(LETTERS)
"""The largest n of a word that can be written, in any language."""


@dataclass(frozen=True, slots=True)
class FormalLanguage:
    """One language, named by its three offsets.

    >>> language = FormalLanguage((1, -2, 2))
    >>> language.name
    'a^n b^(n+1) c^(n-2) d^(n+2)'
    >>> language.accepts("aabbbdddd"), language.accepts("aaabbbbcddddd")
    (True, True)
    >>> language.accepts("aabbbddd"), language.accepts("ababbdddd"), language.accepts("bd")
    (False, False, False)
    """

    offsets: tuple[int, int, int]

    @property
    def task_id(self) -> str:
        return "L({},{},{})".format(*self.offsets)

    @property
    def name(self) -> str:
        """Readable: 'a^n b^(n+1) c^(n-2) d^n'."""
        powers = ("n" if m == 0 else f"(n{m:+d})" for m in (0, *self.offsets))
        return " ".join(f"{letter}^{power}" for letter, power in zip(LETTERS, powers, strict=True))

    @property
    def smallest_n(self) -> int:
        """The least n for which no letter is asked for a negative number of times."""
        return max(0, -min(self.offsets))

    def counts(self, n: int) -> tuple[int, int, int, int]:
        """How often a, b, c and d stand in the word of this n."""
        b, c, d = self.offsets
        return n, n + b, n + c, n + d

    def word(self, n: int) -> str:
        """The word of this n: FormalLanguage((0, 1, 0)).word(2) == 'aabbbccdd'."""
        return "".join(letter * count for letter, count in zip(LETTERS, self.counts(n), strict=True))

    def accepts(self, word: str) -> bool:
        """Exact membership of a string of letters."""
        n = word.count("a")
        return n >= self.smallest_n and word == self.word(n)

    def columns(self) -> dict[str, Any]:
        return {"language": self.name, "offsets": list(self.offsets)}


def encode_word(word: str) -> Bytes:
    """A word as its sequence: BEGIN, letters, then END to the end; cut where it does not fit.

    >>> encode_word("ab")[:5].tolist()
    [4, 0, 1, 5, 5]
    """
    return encode_text(word[:PLACES])


def encode_text(text: str) -> Bytes:
    """The sequence of a text: the inverse of `decode_sequence`, END from the end of the text on.

    Raises:
        RnnzooError: A sign is none of a, b, c, d, ^ and, at the end, $; or the text is too long.

    >>> decode_sequence(encode_text("aab$")), decode_sequence(encode_text("a^b"))
    ('aab$', 'a^b$')
    """
    tokens = [SIGNS.find(sign) for sign in text.removesuffix(SIGNS[END])]
    if not set(tokens) <= {*range(len(LETTERS)), BEGIN} or len(tokens) > PLACES:
        raise RnnzooError(
            f"sequences: found {text!r:.100}, expected at most {PLACES} of the letters {LETTERS} and "
            f"{SIGNS[BEGIN]}, and perhaps {SIGNS[END]} at the end"
        )
    sequence = np.full(SEQUENCE_BYTES, END, dtype=np.uint8)
    sequence[: 1 + len(tokens)] = [BEGIN, *tokens]
    return sequence


def decode_sequence(sequence: Bytes) -> str:
    """A sequence as text, BEGIN left out: letters, '^' for a BEGIN in mid-string, '$' for the first END.

    >>> decode_sequence(encode_word("aabb"))
    'aabb$'
    """
    text = "".join(SIGNS[token] for token in sequence[1:])
    return text.partition(SIGNS[END])[0] + (SIGNS[END] if SIGNS[END] in text else "")


def written_words(language: FormalLanguage) -> tuple[range, Bytes]:
    """All words that can be written in 41 places.

    A word ends with END, but a word of 41 letters has no room for it: written to the last place it is a word all
    the same. Each of L(1,2,2), L(2,1,2) and L(2,2,1) trains on such a word, that of n = 9. L(2,2,2) trains on the
    first 41 letters of its word of n = 9, which has 42: they count as that word, as RNNs cannot write more of it.

    Returns:
        The n of each word, and the words as sequences uint8 [W, 42], END from their ends on.
    """
    longest = max(LARGEST_N, (PLACES - sum(language.offsets)) // len(LETTERS))
    numbers = range(language.smallest_n, longest + 1)
    return numbers, np.stack([encode_word(language.word(n)) for n in numbers])


def word_lengths(words: Bytes) -> NDArray[np.int64]:
    """How many letters stand before the END of each word uint8 [W, 42]; 41 where it has none."""
    is_end = words[:, 1:] == END
    return np.where(is_end.any(axis=1), is_end.argmax(axis=1), PLACES)


def is_member(language: FormalLanguage, strings: Bytes) -> NDArray[np.bool_]:
    """Exact membership of sequences uint8 [M, 42]: they begin with one of `written_words`, its first END included.

    Order counts, and a BEGIN in mid-string is never right. What follows the END is ignored, as it is when a word
    is read.
    """
    _, words = written_words(language)
    member = np.zeros(len(strings), dtype=bool)
    for word, length in zip(words, word_lengths(words), strict=True):
        member |= (strings[:, : length + 2] == word[: length + 2]).all(axis=1)
    return member


def counts_match(language: FormalLanguage, strings: Bytes) -> NDArray[np.bool_]:
    """The published rule for sequences uint8 [M, 42]: letters are counted up to the first END, in any order.

    It accepts 'abab' for a^n b^n, and a BEGIN in mid-string. It accepts no string without END.
    """
    tokens = strings[:, 1:]
    before_end = np.logical_and.accumulate(tokens != END, axis=1)
    a, b, c, d = (((tokens == letter) & before_end).sum(axis=1) for letter in range(4))
    m_b, m_c, m_d = language.offsets
    return (b == a + m_b) & (c == a + m_c) & (d == a + m_d) & ~before_end[:, -1]

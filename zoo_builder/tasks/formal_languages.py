"""Formal languages L(m_b, m_c, m_d) = { a^n b^(n+m_b) c^(n+m_c) d^(n+m_d) : n >= 0 }, each m in -3..2.

The RNN reads a word letter by letter and predicts the next one; it is then asked to write words itself.
(Herrmann, Faccio & Schmidhuber 2024, section 4 and appendix; after Gers & Schmidhuber 2001.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.random_streams import Stream, permutation
from rnnzoo.zoo_builder.tasks.base import Bytes, TaskFamily, TokenEncoding

LETTERS = "abcd"
BEGIN, END = 4, 5
OFFSETS = range(-3, 3)
LARGEST_N = 9
SEQUENCE_BYTES = 42
"""BEGIN and 41 further tokens: 41 inputs, 41 targets."""


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
    sequence = np.full(SEQUENCE_BYTES, END, dtype=np.uint8)
    tokens = [BEGIN, *(LETTERS.index(letter) for letter in word)][:SEQUENCE_BYTES]
    sequence[: len(tokens)] = tokens
    return sequence


def decode_sequence(sequence: Bytes) -> str:
    """A sequence as text, BEGIN left out: letters, '^' for a BEGIN in mid-string, '$' for the first END.

    >>> decode_sequence(encode_word("aabb"))
    'aabb$'
    """
    text = "".join("abcd^$"[token] for token in sequence[1:])
    return text.partition("$")[0] + ("$" if "$" in text else "")


class FormalLanguages(TaskFamily[FormalLanguage]):
    """The family of the 216 languages, with a table of all their words up to n = 9."""

    name = "formal_languages"
    output_size = 6
    encoding = TokenEncoding(vocabulary=6, begin=BEGIN)
    generates = True
    source = "generated"
    schema = pa.schema(
        [
            column("language", pa.string(), "the language, readable"),
            column("offsets", pa.list_(pa.int8(), 3), "m_b, m_c, m_d"),
            column("count_accuracy", pa.float32(), "share of strings right by the published counting rule"),
            column("finished", pa.float32(), "share of sampled strings with an END"),
        ]
    )

    def __init__(self) -> None:
        self.languages = [FormalLanguage((b, c, d)) for b, c, d in itertools.product(OFFSETS, repeat=3)]
        # Row language * 10 + n is that language's word of that n; rows of an n too small are never drawn.
        self.items = np.stack(
            [encode_word(language.word(n)) for language in self.languages for n in range(LARGEST_N + 1)]
        )

    def tasks(self, runs: int, seed: int) -> list[FormalLanguage]:
        """A seeded order of all languages, over and over: as many languages as possible, evenly."""
        order = permutation(seed, Stream.RUN_TASKS, len(self.languages))
        return [self.languages[order[run % len(order)]] for run in range(runs)]

    def training_items(self, task: FormalLanguage) -> NDArray[np.int32]:
        first = self.languages.index(task) * (LARGEST_N + 1)
        return np.arange(first + task.smallest_n, first + LARGEST_N + 1, dtype=np.int32)

    def evaluation_items(self, task: FormalLanguage) -> NDArray[np.int32]:
        """All words: there are no unseen ones, so both losses are the same expectation, exactly."""
        return self.training_items(task)

    def score(self, task: FormalLanguage, strings: Bytes) -> dict[str, float]:
        """accuracy: in the language; count_accuracy: by the published rule; finished: with an END."""
        return {
            "accuracy": float(is_member(task, strings).mean()),
            "count_accuracy": float(counts_match(task, strings).mean()),
            "finished": float((strings[:, 1:] == END).any(axis=1).mean()),
        }

    def out_of_distribution(self, tasks: Sequence[FormalLanguage]) -> list[FormalLanguage]:
        """The languages with the largest sum of offsets.

        Whole levels of the sum, as many as come closest to 15 %: so every ood language lies outside the
        convex hull of the others, and there is no tie to break. Where that would leave the other three splits
        fewer than three languages, it is the one with the largest sum and offsets.
        """
        sums = np.array([sum(task.offsets) for task in tasks])
        levels = [level for level in np.unique(sums) if (sums < level).sum() >= 3]
        if not levels:
            return [max(tasks, key=lambda task: (sum(task.offsets), task.offsets))]
        cut = min(levels, key=lambda level: (abs((sums >= level).mean() - 0.15), -level))
        return [task for task, total in zip(tasks, sums, strict=True) if total >= cut]

    def paper_rank(self, task: FormalLanguage) -> tuple[float, tuple[int, int, int]]:
        """Entropy of the shifted offsets 1 + m - min m over m = (0, m_b, m_c, m_d), as the published code."""
        shifted = np.array([0, *task.offsets]) + 1 - min(0, *task.offsets)
        share = shifted / shifted.sum()
        return round(-float((share * np.log(share)).sum()), 12), task.offsets


def is_member(language: FormalLanguage, strings: Bytes) -> NDArray[np.bool_]:
    """Exact membership of sequences uint8 [M, 42]: the letters before the first END are a word.

    Order counts, an END must be there, and a BEGIN in mid-string is never right. What follows the END is
    ignored, as it is when a word is read.
    """
    longest = (SEQUENCE_BYTES - 1 - sum(language.offsets)) // 4
    words = [encode_word(language.word(n)) for n in range(language.smallest_n, longest + 1)]
    finished = [word for word in words if word[-1] == END]
    member = np.zeros(len(strings), dtype=bool)
    for word in finished:
        length = int(np.argmax(word == END)) + 1
        member |= (strings[:, :length] == word[:length]).all(axis=1)
    return member


def counts_match(language: FormalLanguage, strings: Bytes) -> NDArray[np.bool_]:
    """The published rule for sequences uint8 [M, 42]: letters are counted up to the first END, in any order.

    It accepts 'abab' for a^n b^n, a BEGIN in mid-string, and a string without END.
    """
    tokens = strings[:, 1:]
    before_end = np.logical_and.accumulate(tokens != END, axis=1)
    a, b, c, d = (((tokens == letter) & before_end).sum(axis=1) for letter in range(4))
    m_b, m_c, m_d = language.offsets
    return (b == a + m_b) & (c == a + m_c) & (d == a + m_d)

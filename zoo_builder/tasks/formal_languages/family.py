"""Formal languages: the RNN reads words and predicts the next letter; then it writes words itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.random_streams import Stream, permutation
from rnnzoo.zoo_builder.tasks.data import Bytes, LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import TokenEncoding
from rnnzoo.zoo_builder.tasks.exact import exact_mean
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.formal_languages.language import (
    BEGIN,
    END,
    LARGEST_N,
    MOST_N,
    OFFSETS,
    PLACES,
    SIGNS,
    FormalLanguage,
    counts_match,
    decode_sequence,
    encode_text,
    encode_word,
    is_member,
    written_words,
)
from rnnzoo.zoo_builder.tasks.formal_languages.paper_order import PAPER_RANK
from rnnzoo.zoo_builder.tasks.formal_languages.probabilities import score_written_words
from rnnzoo.zoo_builder.tasks.formal_languages.published import PublishedLanguages
from rnnzoo.zoo_builder.tasks.hyperparameters import HYPERPARAMETERS
from rnnzoo.zoo_builder.tasks.levels import highest_levels
from rnnzoo.zoo_builder.tasks.pictures import Colouring, Example
from rnnzoo.zoo_builder.tasks.target import Target
from rnnzoo.zoo_builder.tasks.texts import encode_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from torch import nn

LANGUAGES = [FormalLanguage((b, c, d)) for b, c, d in itertools.product(OFFSETS, repeat=3)]


class FormalLanguages(TaskFamily[FormalLanguage]):
    """The family of the 216 languages, with a table of all their words up to n = 9."""

    name = "formal_languages"
    zoos = {  # noqa: RUF012
        "formal_languages": NamedZoo("RNN zoo, formal languages"),
        "formal_languages_hyperparameters": NamedZoo(
            "RNN zoo, formal languages with varied hyperparameters", defaults=HYPERPARAMETERS
        ),
    }
    output_size = 6
    output_names = ("a", "b", "c", "d", "BEGIN", "END")
    encoding = TokenEncoding(vocabulary=6, begin=BEGIN)
    generates = True
    probing_length = 22
    inputs_caption = "Time runs from left to right, one row a token; brighter is more probable."
    published = PublishedLanguages()
    items_text = "tokens"
    task_columns = pa.schema(
        [
            column("language", pa.string(), "the language, readable"),
            column("offsets", pa.list_(pa.int8(), 3), "m_b, m_c, m_d"),
        ]
    )
    score_columns = pa.schema(
        [
            column(
                "word_probabilities",
                pa.list_(pa.float64(), MOST_N + 1),
                "entry n: probability of writing the word of this n; 0 where no such word can be written",
            ),
            column("expected_n", pa.float64(), "expected n of a written word; NaN where none is ever written"),
            column(
                "end_probability",
                pa.float64(),
                "probability of an END right after the letters of a word; NaN where these are never written",
            ),
            column(
                "count_accuracy", pa.float32(), "share of sampled strings right by the published counting rule"
            ),
            column("finished", pa.float32(), "share of sampled strings with an END"),
        ]
    )

    targets = (Target("offsets", "offsets", "classes", trained_only=True, entry="offset"),)
    colouring = Colouring(
        "sum of the language's offsets", "offsets", "plasma", lambda offsets: offsets.sum(axis=1)
    )

    def __init__(self) -> None:
        # Row language * 10 + n is that language's word of that n; rows of an n too small are never drawn.
        self.items = np.stack(
            [encode_word(language.word(n)) for language in LANGUAGES for n in range(LARGEST_N + 1)]
        )

    @classmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        return cls()

    def tasks(self, runs: int, seed: int) -> list[FormalLanguage]:
        """A seeded order of all languages, over and over: as many languages as possible, evenly."""
        order = permutation(seed, Stream.RUN_TASKS, 0, len(LANGUAGES))
        return [LANGUAGES[order[run % len(order)]] for run in range(runs)]

    def training_items(self, task: FormalLanguage) -> NDArray[np.int32]:
        first = LANGUAGES.index(task) * (LARGEST_N + 1)
        return np.arange(first + task.smallest_n, first + LARGEST_N + 1, dtype=np.int32)

    def evaluation_items(self, task: FormalLanguage) -> NDArray[np.int32]:
        """All words: there are no unseen ones, so both losses are the same expectation, exactly."""
        return self.training_items(task)

    @classmethod
    def task_of(cls, row: Mapping[str, Any]) -> FormalLanguage:
        b, c, d = row["offsets"]
        return FormalLanguage((int(b), int(c), int(d)))

    @classmethod
    def words(cls, task: FormalLanguage) -> Bytes:
        """See `written_words`: 8 to 11 of them."""
        return written_words(task)[1]

    @classmethod
    def score_words(cls, task: FormalLanguage, losses: NDArray[np.float64]) -> dict[str, Any]:
        """See `score_written_words`."""
        return score_written_words(task, losses)

    @classmethod
    def score_strings(cls, task: FormalLanguage, strings: Bytes) -> dict[str, float]:
        """count_accuracy: by the published rule; finished: with an END."""
        return {
            "count_accuracy": exact_mean(counts_match(task, strings)),
            "finished": exact_mean((strings[:, 1:] == END).any(axis=1)),
        }

    @classmethod
    def out_of_distribution(cls, tasks: Sequence[FormalLanguage]) -> list[FormalLanguage]:
        """The languages with the largest sum of offsets, by whole levels of the sum.

        So every ood language lies outside the convex hull of the others.
        """
        return highest_levels(tasks, lambda task: (sum(task.offsets), task.offsets))

    @classmethod
    def paper_rank(cls, task: FormalLanguage) -> tuple[int]:
        """Its place by the entropy of its offsets."""
        return (PAPER_RANK[task],)

    @classmethod
    def reference_items(
        cls, tasks: Sequence[FormalLanguage], inputs: Bytes, labels: Bytes | None, count: int
    ) -> LabelledItems:
        """One string of each of some runs."""
        return super().reference_items(tasks, inputs, labels, min(count, len(tasks)))

    @classmethod
    def behaviour_statistics(cls, steps: int, reference: LabelledItems | None) -> nn.Module:
        """Of 64 strings that an RNN writes."""
        from rnnzoo.zoo_builder.tasks.formal_languages.behaviour import WrittenStrings

        return WrittenStrings(steps)

    @classmethod
    def task_reader(cls, steps: int) -> nn.Module:
        """An RNN finishes a^n, n = 4 to 8, and its letters are counted."""
        from rnnzoo.zoo_builder.tasks.formal_languages.greedy import GreedyReader

        return GreedyReader(steps)

    @classmethod
    def explorer_data(cls, tasks: Sequence[FormalLanguage], examples: LabelledItems) -> dict[str, Any]:
        """The signs of the tokens, and the words of each language as strings of them."""
        words = [[decode_sequence(word) for word in cls.words(task)] for task in tasks]
        return {"signs": SIGNS, "begin": BEGIN, "end": END, "places": PLACES, "words": words}

    @classmethod
    def encode(cls, sequences: Any) -> Bytes:
        """Texts such as "aabb$": see `encode_text`.

        >>> FormalLanguages.decode(FormalLanguages.encode(["aabb", "abc$"]))
        ['aabb$', 'abc$']
        """
        return encode_texts(encode_text, sequences)

    @classmethod
    def describe(cls, sequence: Bytes) -> str:
        return decode_sequence(sequence)

    @classmethod
    def draw_examples(cls, figure: Figure, where: SubplotSpec, runs: Sequence[Sequence[Example]]) -> None:
        """What runs write as they learn, members of the language in green."""
        from rnnzoo.zoo_builder.tasks.drawing import draw_sequences

        draw_sequences(
            figure,
            where,
            runs,
            cls.describe,
            title=lambda row: f"{row['language']}   ({row['run_id']})",
            right=lambda row, strings: is_member(cls.task_of(row), strings),
            legend="✓ in the language, ✗ not in it; $ is END, ^ is BEGIN within a string",
        )

    @classmethod
    def draw_inputs(cls, inputs: NDArray[np.float64]) -> Figure:
        from rnnzoo.zoo_builder.tasks.drawing import draw_heat_maps

        return draw_heat_maps(inputs, cls.output_names)

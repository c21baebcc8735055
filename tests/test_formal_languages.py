"""The languages: words, exact membership, the published counting rule, and which of them are far out."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rnn import RNNSpec, init_parameters
from rnnzoo.zoo_builder.rollouts import string_scores
from rnnzoo.zoo_builder.splits import assign_splits
from rnnzoo.zoo_builder.tasks.formal_languages.family import LANGUAGES, FormalLanguages
from rnnzoo.zoo_builder.tasks.formal_languages.language import (
    BEGIN,
    END,
    FormalLanguage,
    counts_match,
    decode_sequence,
    encode_word,
    is_member,
    written_words,
)
from rnnzoo.zoo_builder.training.kernels.reference import TorchKernel

FAMILY = FormalLanguages.load(None)
languages = st.sampled_from(LANGUAGES)
words = st.text("abcd", max_size=45)


def test_there_are_216_languages_with_readable_names():
    assert len(LANGUAGES) == 216
    assert FormalLanguage((1, -2, 2)).name == "a^n b^(n+1) c^(n-2) d^(n+2)"
    assert FormalLanguage((0, 0, 0)).name == "a^n b^n c^n d^n"
    assert len({language.task_id for language in LANGUAGES}) == 216


@given(languages, words)
def test_membership_against_the_definition(language, word):
    some_n = (language.word(n) for n in range(max(0, -min(language.offsets)), 50))
    in_language = any(word == candidate for candidate in some_n)
    assert language.accepts(word) == in_language
    assert is_member(language, encode_word(word)[None])[0] == (in_language and len(word) <= 41)


@given(languages, st.data())
def test_words_are_members_and_edited_words_are_not(language, data):
    n = data.draw(st.integers(language.smallest_n, 7))
    word = language.word(n)
    assert language.accepts(word)
    assert is_member(language, encode_word(word)[None])[0]
    place = data.draw(st.integers(0, len(word)))
    longer = word[:place] + data.draw(st.sampled_from("abcd")) + word[place:]
    assert not language.accepts(longer)
    assert not is_member(language, encode_word(longer)[None])[0]


def test_what_the_two_rules_say_of_odd_strings():
    language = FormalLanguage((0, 0, 0))
    cases = {
        "aabbccdd": (True, True),
        "": (True, True),
        "abcdabcd": (False, True),  # the published rule never looks at the order
        "aabbccd": (False, False),
    }
    for word, (member, by_count) in cases.items():
        sequence = encode_word(word)[None]
        assert (is_member(language, sequence)[0], counts_match(language, sequence)[0]) == (member, by_count)
    with_begin = encode_word("aabbccdd")
    with_begin = np.insert(with_begin, 3, BEGIN)[None, :42]
    assert (is_member(language, with_begin)[0], counts_match(language, with_begin)[0]) == (False, True)
    after_end = encode_word("abcd")
    after_end[10] = 0  # what follows the first END does not matter
    assert is_member(language, after_end[None])[0]


@given(languages, st.lists(st.integers(0, 5), min_size=41, max_size=41), st.data())
def test_the_published_rule_counts_the_letters_of_finished_strings(language, tokens, data):
    """Against the definition, and with right counts more often than chance gives them."""
    if data.draw(st.booleans()):
        word = data.draw(st.permutations(language.word(data.draw(st.integers(language.smallest_n, 9)))))
        extra = [BEGIN] * data.draw(st.integers(0, 3))
        end = [END] * data.draw(st.integers(0, 1))
        tokens = ["abcd".index(letter) for letter in word]
        tokens = (data.draw(st.permutations(tokens + extra)) + end + [BEGIN] * 41)[:41]
    a, *others = (tokens[: tokens.index(END)].count(letter) if END in tokens else -1 for letter in range(4))
    accepted = END in tokens and tuple(other - a for other in others) == language.offsets
    assert counts_match(language, np.array([[BEGIN, *tokens]], dtype=np.uint8))[0] == accepted


@pytest.mark.parametrize("language", [task for task in LANGUAGES if sum(task.offsets) >= 5], ids=str)
def test_a_trained_word_that_leaves_no_room_for_its_end_is_a_word(language):
    """By the published rule it is none."""
    word = encode_word(language.word(9))[None]
    assert END not in word
    assert is_member(language, word)[0]
    assert not counts_match(language, word)[0]
    assert not is_member(language, np.where(word == 3, 2, word))[0]
    shorter = encode_word(language.word(8))[None]
    assert is_member(language, shorter)[0]
    assert counts_match(language, shorter)[0]


def test_words_that_fill_all_places():
    full = {
        language: [n for n, word in zip(*written_words(language), strict=True) if END not in word]
        for language in LANGUAGES
    }
    assert max(map(len, full.values())) == 1
    trained = [language.task_id for language, numbers in full.items() if numbers and numbers[0] <= 9]
    assert trained == ["L(1,2,2)", "L(2,1,2)", "L(2,2,1)", "L(2,2,2)"]
    longer = FormalLanguage((0, 0, 0)).word(11)
    assert not is_member(FormalLanguage((0, 0, 0)), encode_word(longer)[None])[0]
    assert not is_member(FormalLanguage((2, 2, 2)), encode_word(FormalLanguage((2, 2, 2)).word(10))[None])[0]


class TestExactScores:
    """Against strings whose every token is drawn from probabilities that do not look at the string."""

    @pytest.mark.parametrize("offsets", [(0, 0, 0), (-3, -3, -3), (1, 2, 2), (2, 2, 2), (-1, 0, 2)])
    def test_scores_are_sums_over_words(self, offsets):
        language = FormalLanguage(offsets)
        numbers, words = written_words(language)
        probabilities = np.array([0.3, 0.2, 0.15, 0.1, 0.05, 0.2])
        found = FAMILY.score_words(language, -np.log(probabilities)[words[:, 1:]])
        expected, written, of_letters = {}, 0.0, 0.0
        for n in numbers:
            letters = language.word(n)[:41]
            of_n = math.prod(probabilities["abcd".index(letter)] for letter in letters)
            expected[n] = of_n * (probabilities[END] if len(letters) < 41 else 1)
            must_end = len(letters) < 41 and letters != "a" * n
            written += expected[n] * must_end
            of_letters += of_n * must_end
        assert found["accuracy"] == pytest.approx(sum(expected.values()), rel=1e-12)
        assert found["word_probabilities"] == pytest.approx([expected.get(n, 0) for n in range(13)], rel=1e-12)
        mean = sum(n * p for n, p in expected.items()) / sum(expected.values())
        assert found["expected_n"] == pytest.approx(mean, rel=1e-12)
        assert found["end_probability"] == pytest.approx(written / of_letters, rel=1e-12)

    def test_a_network_that_is_not_finite_writes_nothing(self):
        language = FormalLanguage((0, 0, 0))
        found = FAMILY.score_words(language, np.full((len(written_words(language)[0]), 41), np.nan))
        assert found["accuracy"] == 0
        assert not found["word_probabilities"].any()
        assert math.isnan(found["expected_n"])
        assert math.isnan(found["end_probability"])

    def test_accuracy_is_what_sampled_strings_come_to(self):
        """5000 strings of small networks, within five standard errors."""
        spec = RNNSpec(6, 4, 6, 1, "lstm")
        weights = 2 * init_parameters(spec, [0, 3, 6])
        weights[:, -1] += 1  # END is likely
        tasks = [FormalLanguage((0, 0, 0)), FormalLanguage((-1, -1, -1)), FormalLanguage((0, 0, 0))]
        uniforms = torch.from_numpy(uniform(0, Stream.STRINGS, 0, 3 * 5_000 * 41).reshape(3, -1, 41))
        strings = TorchKernel().sample_strings(spec, weights, BEGIN, uniforms).numpy()
        for task, score, text in zip(
            tasks, string_scores(TorchKernel(), spec, FAMILY, tasks, weights, strings), strings, strict=True
        ):
            member = is_member(task, text)
            assert score["accuracy_error"] == 0
            assert 0.01 < score["accuracy"] < 0.99
            error = math.sqrt(score["accuracy"] * (1 - score["accuracy"]) / len(text))
            assert abs(member.mean() - score["accuracy"]) < 5 * error


def test_sequences_are_as_the_paper_says():
    assert encode_word("abcd")[:7].tolist() == [4, 0, 1, 2, 3, 5, 5]
    assert len(encode_word("abcd")) == 42
    assert decode_sequence(encode_word("abcd")) == "abcd$"
    too_long = FormalLanguage((2, 2, 2)).word(9)
    assert len(too_long) == 42
    assert decode_sequence(encode_word(too_long)) == too_long[:41]


def test_training_items_are_the_words_of_the_language():
    for language in LANGUAGES:
        items = FAMILY.items[FAMILY.training_items(language)]
        expected = [encode_word(language.word(n)) for n in range(language.smallest_n, 10)]
        assert np.array_equal(items, expected)


def test_every_language_is_used_before_one_is_used_twice():
    tasks = FAMILY.tasks(432, seed=3)
    assert set(tasks[:216]) == set(LANGUAGES)
    assert tasks[:216] == tasks[216:]
    assert FAMILY.tasks(20, seed=3) == tasks[:20]
    assert FAMILY.tasks(20, seed=4) != tasks[:20]


def test_score_counts_fractions_of_all_samples():
    language = FormalLanguage((0, 0, 0))
    strings = np.stack([encode_word(word) for word in ("abcd", "aabbccdd", "dcba", "abc")])
    assert FAMILY.score_strings(language, strings) == {"count_accuracy": 0.75, "finished": 1.0}


@pytest.mark.parametrize("runs", [216, 64, 24, 8])
def test_ood_languages_lie_outside_the_hull_of_the_others(runs):
    tasks = FAMILY.tasks(runs, seed=0)
    ood = FAMILY.out_of_distribution(tasks)
    inner = [task.offsets for task in tasks if task not in ood]
    assert 0.05 * runs <= len(ood) <= 0.3 * runs
    if runs >= 24:
        hull = Delaunay(np.array(inner))
        assert (hull.find_simplex(np.array([task.offsets for task in ood])) < 0).all()


def test_the_published_rule_picks_33_languages_mostly_inside_the_hull():
    splits = assign_splits(FAMILY, LANGUAGES, seed=0)
    by_id = {language.task_id: language.offsets for language in LANGUAGES}
    ood = [by_id[task] for task, split in splits.paper_split.items() if split == "ood"]
    inner = [by_id[task] for task, split in splits.paper_split.items() if split != "ood"]
    assert (len(ood), len(inner)) == (33, 183)
    inside = Delaunay(np.array(inner)).find_simplex(np.array(ood)) >= 0
    assert inside.sum() == 32
    distances = [min(np.abs(np.subtract(o, i)).sum() for i in inner) for o in ood]
    assert sum(distance == 1 for distance in distances) == 27


def test_the_published_order_is_one_of_growing_entropy():
    def entropy(language):
        shifted = [1 + m - min(0, *language.offsets) for m in (0, *language.offsets)]
        return -sum(m / sum(shifted) * math.log(m / sum(shifted)) for m in shifted)

    ranked = sorted(LANGUAGES, key=FAMILY.paper_rank)
    assert [FAMILY.paper_rank(language) for language in ranked] == [(rank,) for rank in range(216)]
    entropies = [entropy(language) for language in ranked]
    assert all(after > before - 1e-12 for before, after in itertools.pairwise(entropies))


def test_all_offsets_are_there():
    expected = set(itertools.product(range(-3, 3), repeat=3))
    assert {language.offsets for language in LANGUAGES} == expected

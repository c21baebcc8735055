"""The languages: words, exact membership, the published counting rule, and which of them are far out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

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
)

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
    sequence = encode_word(word)[None]
    finished = END in sequence
    assert is_member(language, sequence)[0] == (in_language and finished)


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
def test_no_rule_accepts_a_word_that_leaves_no_room_for_its_end(language):
    word = encode_word(language.word(9))[None]
    assert END not in word
    assert not is_member(language, word)[0]
    assert not counts_match(language, word)[0]
    shorter = encode_word(language.word(8))[None]
    assert is_member(language, shorter)[0]
    assert counts_match(language, shorter)[0]


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
    assert FAMILY.score_strings(language, strings) == {"accuracy": 0.5, "count_accuracy": 0.75, "finished": 1.0}


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

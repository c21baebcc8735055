"""Splits go by task, are stable, and have the shares they should."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnzoo.zoo_builder.splits import SPLITS, assign_splits, count_tasks, empty_splits
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import bundled_digits

LANGUAGES = FormalLanguages.load(None)
IMAGES = SequentialImages(bundled_digits())


def test_shares_over_all_languages():
    counts = count_tasks(assign_splits(LANGUAGES, LANGUAGES.tasks(216, 0), seed=0))
    # ood is whole levels of the sum of offsets: 35 of 216, the level count closest to 15 %
    assert counts == {"train": 148, "validation": 11, "test": 22, "ood": 35}


def test_shares_over_a_thousand_angles():
    splits = assign_splits(IMAGES, IMAGES.tasks(1000, seed=0), seed=0)
    assert count_tasks(splits) == {"train": 700, "validation": 50, "test": 100, "ood": 150}
    paper = list(splits.paper_split.values())
    assert (paper.count("train"), paper.count("validation"), paper.count("ood")) == (700, 150, 150)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([LANGUAGES, IMAGES]), st.integers(4, 60), st.integers(0, 2**40))
def test_no_split_is_empty_from_four_tasks_on(family, runs, seed):
    tasks = family.tasks(runs, seed)
    splits = assign_splits(family, tasks, seed)
    assert not empty_splits(splits)
    assert set(splits.split) == set(splits.paper_split) == {task.task_id for task in tasks}
    assert set(splits.split.values()) == set(SPLITS)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_fewer_tasks_are_said_to_leave_splits_empty(runs):
    splits = assign_splits(LANGUAGES, LANGUAGES.tasks(runs, 0), seed=0)
    assert "train" in splits.split.values() or runs == 1
    assert len(empty_splits(splits)) >= 4 - runs


def test_a_function_of_the_set_of_tasks_and_the_seed():
    tasks = LANGUAGES.tasks(100, seed=1)
    assert assign_splits(LANGUAGES, tasks, 5) == assign_splits(LANGUAGES, tasks[::-1] + tasks, 5)
    assert assign_splits(LANGUAGES, tasks, 5) != assign_splits(LANGUAGES, tasks, 6)

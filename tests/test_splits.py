"""Splits go by task, are stable, and have the shares they should."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnzoo.zoo_builder.splits import SPLITS, assign_splits, count_tasks, empty_splits
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import bundled_digits
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import Rotation

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


PUBLISHED_LANGUAGES = {
    "validation": """
        002 010 012 021 052 054 121 131 144 151 154 214 224 225 241 245 320 350 412 415 450 452 453 500 504 513
        515 542 550 552 553 554
    """,
    "ood": """
        122 133 212 213 221 222 223 232 233 234 243 244 313 322 323 324 331 332 333 334 342 343 344 423 432 433
        434 443 444 445 454 544 555
    """,
}
"""What the published code with NumPy 1.23 makes of all languages, each as its three offsets + 3."""


@pytest.mark.parametrize("seed", [0, 5])
def test_the_paper_split_of_all_languages_is_the_published_one(seed):
    splits = assign_splits(LANGUAGES, LANGUAGES.tasks(216, seed), seed)
    for name, published in PUBLISHED_LANGUAGES.items():
        offsets = ([int(digit) - 3 for digit in digits] for digits in published.split())
        assert {"L({},{},{})".format(*m) for m in offsets} == {
            task for task, split in splits.paper_split.items() if split == name
        }
    assert list(splits.paper_split.values()).count("train") == 151


@pytest.mark.parametrize(
    ("count", "train", "validation", "first", "squares"),
    [
        (64, 44, 9, [0, 5, 8, 9, 11, 12, 15, 37], 3878),
        (256, 179, 38, [1, 7, 8, 20, 22, 25, 37, 50], 558218),
        (1000, 700, 150, [7, 10, 15, 22, 25, 26, 37, 43], 35693184),
    ],
)
def test_the_paper_split_of_angles_is_the_published_one(count, train, validation, first, squares):
    """By what the published code makes of this many angles: its least validation angles, and a checksum."""
    tasks = [Rotation(rank / 4) for rank in range(count)]
    paper = assign_splits(IMAGES, tasks[::-1], seed=3).paper_split
    by_rank = [paper[task.task_id] for task in tasks]
    chosen = [rank for rank, split in enumerate(by_rank) if split == "validation"]
    assert (by_rank.count("train"), len(chosen)) == (train, validation)
    assert chosen[:8] == first
    assert sum(rank**2 for rank in chosen) == squares
    assert by_rank[train + validation :] == ["ood"] * (count - train - validation)


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

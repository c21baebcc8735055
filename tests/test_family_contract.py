"""A slip in a family of tasks is named before anything is trained."""

import dataclasses
import itertools
import math
import sys

import numpy as np
import pyarrow as pa
import pytest

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.pipeline.plan.contract import check_family
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.schema import column
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.combination_locks.family import CombinationLocks
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.tasks.target import Target
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

LOCAL = [name for name, (_, zoo) in ZOOS.items() if not zoo.derived_from]
"""Zoos whose items need no download."""


def plan_of(zoo, **changes):
    """The plan of a small zoo whose family has attributes changed; a function that is given gets the family."""
    config = resolve_config(zoo, "smoke", {"runs": 12})
    family = config.make_family()
    made = type("Changed", (type(family),), {"__module__": type(family).__module__})
    changed = made.__new__(made)
    vars(changed).update(vars(family))
    for name, value in changes.items():
        setattr(made, name, value)
        vars(changed).pop(name, None)
    return ZooPlan(config, changed)


@pytest.mark.parametrize("zoo", LOCAL)
@pytest.mark.parametrize("runs", [1, 3, 4, 40])
def test_the_families_of_this_package_keep_it(zoo, runs):
    config = resolve_config(zoo, "smoke", {"runs": runs})
    check_family(ZooPlan(config, config.make_family()))


@dataclasses.dataclass(frozen=True)
class Alike:
    """A task whose id does not say which one it is."""

    number: int
    task_id = "one"

    def columns(self):
        return {"number": self.number}


def alike(self, runs, seed):
    return [Alike(number) for number in range(runs)]


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A task whose id is a number."""

    task_id = 3


def shifted(self, runs, seed):
    return [self.locks[run + runs] for run in range(runs)]


def drawn_anew(self, runs, seed, counter=itertools.count()):  # noqa: B008 (it counts)
    return [self.locks[next(counter)] for run in range(runs)]


def scores(method, **changes):
    """A class method whose scores are changed."""

    def changed(cls, *given):
        return getattr(super(cls, cls), method)(*given) | changes

    return {method: classmethod(changed)}


IMAGES, TOKENS, LOCK_ZOO = "sequential_digits", "formal_languages", "combination_locks_6"
LOCKS = CombinationLocks(6)
IN_ORDER = np.arange(784, dtype=np.int16)
OFFSETS = pa.schema([column("offsets", pa.list_(pa.int8(), 3), "m_b, m_c, m_d")])
FLOATING = pa.schema([column("language", pa.string(), "its name"), column("offsets", pa.float32(), "one number")])
STEP = pa.schema([column("step", pa.int32(), "one that all zoos have")])
FLOATS = TokenEncoding(vocabulary=6.0, begin=4)  # type: ignore[arg-type]
SLIPS = {
    "bytes that are no whole tiles": (IMAGES, {"encoding": TileEncoding(15, 0.1, 0.2)}, "found 784 bytes"),
    "whole numbers as scale": (IMAGES, {"encoding": TileEncoding(16, 1, 0)}, "expected a tile of"),
    "no labels": (IMAGES, {"labels": None}, "labels: found none, expected one for each of"),
    "too few labels": (IMAGES, {"labels": np.zeros(3, np.uint8)}, "labels: found 3, expected one for each of"),
    "large labels": (IMAGES, {"output_size": 3}, "labels: found 9, expected 0 to 2"),
    "items of whole numbers": (TOKENS, {"items": np.zeros((4, 42), np.int64)}, "items: found int64"),
    "tokens beyond the vocabulary": (TOKENS, {"encoding": TokenEncoding(5, 4)}, "found token 5"),
    "a vocabulary of 6.0": (TOKENS, {"encoding": FLOATS}, "expected 0 <= begin < vocabulary"),
    "numbers of no items": (TOKENS, {"training_items": lambda *_: np.array([10**6])}, "training_items: of"),
    "no items": (TOKENS, {"evaluation_items": lambda *_: np.array([], np.int32)}, "evaluation_items: of"),
    "other numbers of items that are shown": (
        IMAGES,
        {"evaluation_items": lambda _, task: np.arange(3 + int(task.degrees) % 5)},
        "expected one number for all tasks",
    ),
    "items by fractions": (TOKENS, {"training_items": lambda *_: np.array([0.5])}, "training_items: of"),
    "a column that all zoos have": (TOKENS, {"score_columns": STEP}, "'step'"),
    "a column left out": (TOKENS, {"task_columns": OFFSETS}, "expected those of the task: language, offsets"),
    "a column of another type": (
        TOKENS,
        {"task_columns": FLOATING},
        "task_columns: offsets: found",
    ),
    "a target without its column": (TOKENS, {"targets": (Target("x", "none", "class"),)}, "no column 'none'"),
    "another task": (TOKENS, {"task_of": classmethod(lambda cls, row: "other")}, "task_of: found 'other' for"),
    "one id for two tasks": (TOKENS, {"tasks": alike}, "two that differ with the task_id 'one'"),
    "a generator of tasks": (
        TOKENS,
        {"tasks": lambda *_: iter(())},
        "tasks: found a tuple_iterator, expected a list",
    ),
    "too few tasks": (
        TOKENS,
        {"tasks": lambda self, runs, seed: LOCKS.tasks(runs - 2, seed)},
        "found 10 tasks for 12",
    ),
    "tasks that hang on the number of runs": (LOCK_ZOO, {"tasks": shifted}, "however many runs there are"),
    "tasks that are drawn anew": (LOCK_ZOO, {"tasks": drawn_anew}, "however many runs there are"),
    "tasks with no hash": (TOKENS, {"tasks": lambda *_: [[]] * 12}, "tasks: unhashable type: 'list'"),
    "no text as an id": (TOKENS, {"tasks": lambda *_: [Numbered()] * 12}, "with the task_id 3, expected a text"),
    "numbers of items in a list": (TOKENS, {"training_items": lambda *_: [0]}, "found a list, expected an array"),
    "items in a list": (TOKENS, {"items": [[4, 0]]}, "items: found a list, expected uint8 of 2 axes"),
    "items of one byte": (
        TOKENS,
        {"items": np.full((3, 1), 4, np.uint8)},
        "items: found 1 bytes of each, which are 0 steps",
    ),
    "items that open with another token": (
        TOKENS,
        {"items": np.zeros((3, 5), np.uint8)},
        "item 0 to open with 0, expected 4",
    ),
    "more outputs than tokens": (
        TOKENS,
        {"output_size": 7},
        "output_size: found 7, expected at most the 6 inputs",
    ),
    "writers that open with nothing": (LOCK_ZOO, {"generates": True}, "expected one with an opening byte"),
    "views of int64": (IMAGES, {"view": lambda *_: np.arange(784)}, "found int64 of shape [784], expected int16"),
    "views in lists": (IMAGES, {"view": lambda *_: [0]}, "view: of rotation-"),
    "views of no whole tiles": (
        IMAGES,
        {"view": lambda *_: IN_ORDER[:-1]},
        "found 783 bytes, expected whole tiles of 16",
    ),
    "views beyond the item": (
        IMAGES,
        {"view": lambda *_: IN_ORDER + 1},
        "found places 1 to 784, expected -1, for zero, to 783",
    ),
    "views before the item": (IMAGES, {"view": lambda *_: IN_ORDER - 2}, "found places -2 to 781"),
    "views of several lengths": (
        IMAGES,
        {"view": lambda _, task: IN_ORDER[: 16 * (1 + int(task.degrees) % 2)]},
        "view: found 16 bytes of",
    ),
    "views shorter than what has none": (
        IMAGES,
        {"view": lambda _, task: IN_ORDER[:16] if int(task.degrees) % 2 else None},
        " and 784 bytes of",
    ),
    "a target of every zoo": (
        TOKENS,
        {"targets": (Target("step", "step", "class"),)},
        "'step', which every zoo has",
    ),
    "two targets of a name": (TOKENS, {"targets": 2 * (Target("x", "language", "class"),)}, "'x', a second time"),
    "a score that is not said": (IMAGES, scores("score_answers", more=1.0), "score_answers: of rotation-"),
    "a score that is not given": (
        IMAGES,
        {"score_answers": classmethod(lambda *_: {"accuracy": 0.5})},
        "found accuracy, expected",
    ),
    "no accuracy": (LOCK_ZOO, {"score_answers": classmethod(lambda *_: {})}, "found none, expected accuracy"),
    "no scores": (LOCK_ZOO, {"score_answers": classmethod(lambda *_: None)}, "found a NoneType, expected a score"),
    "an accuracy of 17": (
        LOCK_ZOO,
        scores("score_answers", accuracy=17),
        "found the accuracy 17, expected a number from 0 to 1",
    ),
    "an accuracy that is no number": (
        LOCK_ZOO,
        scores("score_answers", accuracy=math.nan),
        "found the accuracy nan",
    ),
    "an accuracy in words": (LOCK_ZOO, scores("score_answers", accuracy="all"), "found the accuracy 'all'"),
    "accuracies": (LOCK_ZOO, scores("score_answers", accuracy=np.ones(2)), "expected a number from 0 to 1"),
    "a list that is too short": (
        TOKENS,
        scores("score_words", word_probabilities=[1.0]),
        "word_probabilities: found [1.0], expected fixed",
    ),
    "words that nobody scores": (
        TOKENS,
        {"score_words": vars(TaskFamily)["score_words"]},
        "formal_languages has no list of its words",
    ),
    "words of another width": (
        TOKENS,
        {"words": classmethod(lambda *_: np.zeros((2, 3), np.uint8))},
        "words: of ",
    ),
    "all tasks far out": (TOKENS, {"out_of_distribution": classmethod(lambda _, all: all)}, "found 12 of 12"),
    "no task far out": (TOKENS, {"out_of_distribution": classmethod(lambda *_: [])}, "found 0 of 12 tasks"),
}


@pytest.mark.parametrize(("zoo", "changes", "message"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_named(zoo, changes, message):
    plan = plan_of(zoo, **changes)
    with pytest.raises(RnnzooError, match=r"^family '.*': ") as raised:
        check_family(plan)
    assert message in str(raised.value)


def test_a_build_looks_before_it_trains(tmp_path, monkeypatch):
    plan = plan_of(TOKENS, out_of_distribution=classmethod(lambda cls, tasks: []))
    monkeypatch.setattr(ZooConfig, "make_family", lambda *_: plan.family)
    kernel = TorchKernel()
    monkeypatch.setattr(kernel, "train_steps", lambda *_: pytest.fail("trained"))
    with pytest.raises(RnnzooError, match="out_of_distribution"):
        build_zoo(plan.config, tmp_path / "zoo", kernel, Unwatched())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python finds files beside any module")
def test_a_family_in_a_single_file_is_told_to_be_a_package():
    plan = plan_of(TOKENS)
    type(plan.family).__module__ = __name__
    with pytest.raises(
        RnnzooError, match=r"module: found test_family_contract, .* expected the family in a package"
    ):
        check_family(plan)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64])
def test_what_a_family_may_give_besides(kind):
    """Item numbers of any whole type, views of some tasks alone, and NumPy's numbers as scores."""
    some = {use: lambda *_: np.arange(5).astype(kind) for use in ("training_items", "evaluation_items")}
    view = {"view": lambda _, task: IN_ORDER if int(task.degrees) % 2 else None}
    check_family(plan_of(IMAGES, **some, **view))
    check_family(plan_of(LOCK_ZOO, **scores("score_answers", accuracy=np.float32(0.5))))

"""A slip in a family of tasks is named before anything is trained."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.pipeline.plan.contract import check_family
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.schema import column
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.target import Target
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

LOCAL = [name for name, (_, zoo) in ZOOS.items() if not zoo.derived_from]
"""Zoos whose items need no download."""


def plan_of(zoo, **changes):
    """The plan of a small zoo whose family has attributes changed; a function that is given gets the family."""
    config = resolve_config(zoo, "smoke", {"runs": 12})
    family = config.make_family()
    made = type("Changed", (type(family),), {})
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


IMAGES, TOKENS = "sequential_digits", "formal_languages"
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

"""A slip in a family of tasks is named before anything is trained."""

import dataclasses
import itertools
import math
import sys

import numpy as np
import pyarrow as pa
import pytest
from commands import exit_code

from rnnzoo.zoo_builder.columns import column
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.pipeline.plan.contract import check_family, checked_plan
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.combination_locks.family import CombinationLocks
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.input_ranges import Interval
from rnnzoo.zoo_builder.tasks.pictures import Colouring
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


def failing(*_):
    return {}["kk"]


def drawn(*_):
    return np.random.default_rng().permutation(60)[:9]


@dataclasses.dataclass(frozen=True)
class Pixels(TileEncoding):
    """Tiles under a name of its own; what is overridden here, compiled kernels do not know."""

    kind = "pixels"

    def compiled_form(self):
        return None


class Backwards(Interval):
    """Its gradient has the wrong sign."""

    def backward(self, gradient, inputs):
        return -super().backward(gradient, inputs)


def pixels(**changes):
    """An encoding of tiles like that of the images, with methods changed."""
    made = dataclasses.dataclass(frozen=True)(type("Changed", (Pixels,), changes | {"__annotations__": {}}))
    return {"encoding": made(16, 2 / 255, -1.0)}


def answer(change):
    return pixels(targets=lambda self, items, labels: change(TileEncoding.targets(self, items, labels)))


def read(change):
    return pixels(inputs=lambda self, items: change(TileEncoding.inputs(self, items)))


class Mine(TokenEncoding):
    """Named like that of the product, whose bytes it reads otherwise."""

    def targets(self, items, labels):
        return items[..., :-1].long()


class Lossy(Pixels):
    """What a manifest stores of it is not what it is."""

    def to_dict(self):
        return super().to_dict() | {"shift": 0.0}


@dataclasses.dataclass(frozen=True)
class Odd:
    """A task that says nothing of itself but its id."""

    task_id: str
    columns = None


def scored(kind, value):
    """A score column of a type, and the score that it gets."""
    return {"score_columns": pa.schema([column("n", kind, "n")]), **scores("score_answers", n=value)}


def named(name, kind=pa.int8()):  # noqa: B008 (a type)
    """A score column of a name."""
    changes = {"score_columns": pa.schema([column(name, kind, "n")])}
    return changes | scores("score_answers", **{name: 1})


def target(*given, **changes):
    return {"targets": (Target(*given, **changes),)}


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
        "score_words: found none, expected one, as its tasks have words",
    ),
    "words of another width": (
        TOKENS,
        {"words": classmethod(lambda *_: np.zeros((2, 3), np.uint8))},
        "words: of ",
    ),
    "all tasks far out": (TOKENS, {"out_of_distribution": classmethod(lambda _, all: all)}, "found 12 of 12"),
    "no task far out": (TOKENS, {"out_of_distribution": classmethod(lambda *_: [])}, "found 0 of 12 tasks"),
    "none as tasks": (TOKENS, {"tasks": lambda *_: None}, "tasks: found a NoneType, expected a list of 12"),
    "an empty list of tasks": (TOKENS, {"tasks": lambda *_: []}, "tasks: found 0 tasks for 12 runs"),
    "none far out": (
        TOKENS,
        {"out_of_distribution": classmethod(lambda *_: None)},
        "found a NoneType, expected a",
    ),
    "strangers far out": (TOKENS, {"out_of_distribution": classmethod(lambda *_: ["p3"])}, "found 'p3', expected"),
    "tasks with arrays": (TOKENS, {"tasks": lambda *_: [np.arange(2)] * 12}, "tasks: The truth value of an array"),
    "a torn letter in an id": (
        LOCK_ZOO,
        {"tasks": lambda *_: [Odd("\ud800")] * 12},
        "found the task_id '\\ud800', which is no Unicode",
    ),
    "tasks without columns": (
        TOKENS,
        {"tasks": lambda *_: [Odd("a")] * 12},
        "columns of a: TypeError: 'NoneType'",
    ),
    **{
        f"an exception in {method}": (zoo, {method: failing}, f"{method}: KeyError: 'kk' ({__file__}:")
        for zoo, method in [
            *((IMAGES, name) for name in ("tasks", "training_items", "evaluation_items", "view", "describe")),
            *(
                (IMAGES, name)
                for name in ("task_of", "out_of_distribution", "score_answers", "paper_rank", "show")
            ),
            *((TOKENS, name) for name in ("words", "score_words", "score_strings")),
        ]
    },
    "strings that nobody scores": (
        TOKENS,
        {"score_strings": vars(TaskFamily)["score_strings"]},
        "score_strings: found none, expected one, as its RNNs write",
    ),
    "no items at all": (TOKENS, {"items": np.zeros((0, 42), np.uint8)}, "items: found uint8 of shape [0, 42]"),
    "items drawn anew": (LOCK_ZOO, {"training_items": drawn}, "training_items: found others when"),
    "scores drawn anew": (
        LOCK_ZOO,
        {"score_answers": classmethod(lambda *_: {"accuracy": np.random.default_rng().random()})},
        "found other scores when asked a second time",
    ),
    "an encoding in the name of another": (TOKENS, {"encoding": Mine(6, 4)}, "found 'tokens' of Mine, which is"),
    "an encoding that its kernels do not know": (
        IMAGES,
        pixels(compiled_form=TileEncoding.compiled_form, inputs=lambda self, x: 0 * TileEncoding.inputs(self, x)),
        "encoding: inputs: found others than CompiledForm",
    ),
    "an encoding whose values are lost": (IMAGES, {"encoding": Lossy(16, 2 / 255, -1.0)}, "a frozen dataclass"),
    "no kind": (IMAGES, pixels(kind=None), "encoding: kind: found None"),
    "no needs_labels": (IMAGES, pixels(needs_labels=None), "encoding: needs_labels: found None"),
    "steps that do not fit": (IMAGES, pixels(steps=lambda *_: 7), "inputs: found float32 of shape [8, 50, 16]"),
    "half a step": (IMAGES, pixels(steps=lambda *_: 49.5), "encoding: steps: found 49.5 for 784 bytes"),
    "inputs of one axis": (IMAGES, read(lambda x: x[..., 0]), "inputs: found float32 of shape [8, 50], expected"),
    "inputs of bytes": (IMAGES, read(lambda x: x.byte()), "inputs: found uint8"),
    "inputs of doubles": (IMAGES, read(lambda x: x.double()), "inputs: found float64"),
    "inputs of NumPy": (IMAGES, read(lambda x: x.numpy()), "a tensor"),
    "inputs without end": (IMAGES, read(lambda x: x / 0), "inputs: found some that are not finite"),
    "targets of int32": (IMAGES, answer(lambda x: x.int()), "targets: found int32"),
    "targets of sequences": (IMAGES, answer(lambda x: x[..., 0]), "targets: found int64 of shape ["),
    "targets beyond the outputs": (IMAGES, answer(lambda x: x + 1), "targets: found 1 to 10, expected 0 to 9"),
    "targets before the outputs": (IMAGES, answer(lambda x: x - 1), "targets: found -1 to 8, expected 0 to 9"),
    "inputs in any range": (IMAGES, pixels(input_range=(-1, 1)), "input_range: found (-1, 1), which has no sums"),
    "a judge that kernels do not know": (
        IMAGES,
        pixels(compiled_form=TileEncoding.compiled_form, judge=lambda self, right: right.float().mean(-1) > 0.5),
        "judge: found others than CompiledForm",
    ),
    "a gradient of another function": (
        IMAGES,
        pixels(input_range=Backwards(-1.0, 2.0)),
        "input_range: backward: found another gradient than that of forward",
    ),
    "a judge of answers": (IMAGES, pixels(judge=lambda self, right: right), "judge: found bool of shape [2, 3]"),
    **{
        f"{value} in {kind}": (LOCK_ZOO, scored(kind, value), f"n: found {float(value)}, expected {kind}")
        for kind, value in [(pa.int8(), 300), (pa.int8(), 0.25), (pa.uint8(), -1), (pa.bool_(), 0.5)]
    },
    **{
        f"a column called {name}": (
            LOCK_ZOO,
            named(name),
            f"columns: found {name!r}, as tensors of a row are called",
        )
        for name in (
            "head.weight",
            "lstm.weight_ih_l0",
            "rollout_inputs",
            "rollout_x",
            "weights",
            "inputs",
            "labels",
        )
    },
    **{
        f"a column called {name}": (LOCK_ZOO, named(name), f"columns: found the name {name!r}, expected letters")
        for name in ("my mask", "a/b", "", "x" * 81)
    },
    **{
        f"a column of {kind}": (LOCK_ZOO, named("n", kind), "found " + str(kind))
        for kind in (pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.date32(), pa.string())
    },
    "a target of no kind": (
        IMAGES,
        target("x", "rotation_degrees", "numbr"),
        "x: found the kind 'numbr', expected",
    ),
    "a number of lists": (LOCK_ZOO, target("x", "secret", "number"), "in its column, which is no number"),
    "classes of a number": (
        IMAGES,
        target("x", "rotation_degrees", "classes"),
        "in its column, which is no classes",
    ),
    "a target with slashes": (IMAGES, target("a/b|c", "step", "class"), "targets: found the name 'a/b|c'"),
    "an error of a class": (IMAGES, target("x", "step", "class", error="accuracy"), "as the error of a class"),
    "a target alone": (IMAGES, {"targets": Target("x", "step", "class")}, "targets: found Target("),
    "a target's name alone": (IMAGES, {"targets": ("step",)}, "targets: found 'step', expected a tuple of Target"),
    "zoos in a list": (IMAGES, {"zoos": ["a"]}, "zoos: found ['a'], expected a dict"),
    "zoos as texts": (IMAGES, {"zoos": {"a": "b"}}, "zoos: 'a': found 'b', expected"),
    **{
        f"a zoo with {attribute} of {type(value).__name__}": (
            IMAGES,
            {"zoos": {IMAGES: NamedZoo(**{"title": "a", attribute: value})}},
            f"zoos: {IMAGES!r}: {attribute}: found {value!r}, expected a",
        )
        for attribute, value in [
            ("title", None),
            ("defaults", ["cell"]),
            ("defaults", {3: "gru"}),
            ("licenses", "mit"),
            ("licenses", None),
            ("tags", "mine"),
            ("tags", (1,)),
            ("notice", None),
            ("derived_from", 3),
            ("personal", b"none"),
        ]
    },
    **{
        f"{attribute} that is no text": (IMAGES, {attribute: None}, f"{attribute}: found None, expected a text")
        for attribute in ("inputs_caption", "items_text", "labels_text")
    },
    "items of others that a program has made": (
        IMAGES,
        {"zoos": {IMAGES: NamedZoo("a", "digits", derived_from="https://example.org")}},
        f"zoos: {IMAGES!r}: personal: found 'No personal data",
    ),
    "columns in a dict": (IMAGES, {"task_columns": {"k": pa.int8()}}, "task_columns: found {'k'"),
    "an encoding's class": (IMAGES, {"encoding": TileEncoding}, "encoding: found <class"),
    "outputs by halves": (IMAGES, {"output_size": 2.5}, "output_size: found 2.5"),
    "a description of none": (IMAGES, {"describe": classmethod(lambda *_: None)}, "describe: found None"),
    "a picture of another type": (
        TOKENS,
        {"show": classmethod(lambda *_: 3.5)},
        "show: text: found 3.5, expected",
    ),
    "too few names of outputs": (IMAGES, {"output_names": ("a",)}, "output_names: found 1, expected one for each"),
    "names of outputs in a text": (IMAGES, {"output_names": "abcdefghij"}, "output_names: found 'abcdefghij'"),
    **{
        f"colours: {message}": (IMAGES, {"colouring": Colouring("x", *given)}, f"colouring: {message}")
        for message, given in {
            "found no column 'none'": ("none",),
            "found the palette 'none'": ("rotation_degrees", "none"),
            "value of 'rotation_degrees': KeyError": ("rotation_degrees", "turbo", failing),
            "value of 'rotation_degrees': found float64 of": (
                "rotation_degrees",
                "turbo",
                lambda x: x[:, None] + 0.0,
            ),
            "limits: found (1, 0)": ("rotation_degrees", "turbo", lambda x: x, (1, 0)),
        }.items()
    },
}


@pytest.mark.parametrize(("zoo", "changes", "message"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_named(zoo, changes, message):
    plan = plan_of(zoo, **changes)
    with pytest.raises(RnnzooError, match=r"^family '.*': ") as raised:
        check_family(plan)
    assert message in str(raised.value)


@pytest.mark.parametrize("dry", [False, True], ids=["build", "dry run"])
@pytest.mark.parametrize(("zoo", "changes", "message"), SLIPS.values(), ids=SLIPS)
def test_a_slip_ends_the_command(zoo, changes, message, dry, tmp_path, monkeypatch, capsys):
    family = plan_of(zoo, **changes).family
    monkeypatch.setattr(ZooConfig, "make_family", lambda *_: family)
    words = ["build", zoo, "--runs", "12", "--out", str(tmp_path / "zoo"), "--kernel", "torch"]
    assert exit_code("zoo-builder", *words, *["--dry-run"] * dry) == 2
    assert "zoo-builder: family '" in (said := capsys.readouterr().err)
    assert message.encode("unicode_escape").decode()[:20] in said.encode("unicode_escape").decode()
    assert not (tmp_path / "zoo").exists()  # a mended family may have another config


def test_what_a_method_raised_is_the_cause():
    with pytest.raises(RnnzooError) as raised:
        check_family(plan_of(TOKENS, training_items=failing))
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda cls, source, folder=None: failing(), "load: KeyError: 'kk'"),
        (lambda cls, source, folder=None: None, "load: found None, expected the family with its items"),
        (lambda cls, source: cls(), "load: TypeError"),
    ],
)
def test_a_slip_in_load_is_named(load, message, monkeypatch):
    monkeypatch.setattr(type(LOCKS), "load", classmethod(load))
    with pytest.raises(RnnzooError, match=r"^family 'combination_locks': ") as raised:
        resolve_config(LOCK_ZOO, "smoke").make_family()
    assert message in str(raised.value)


def test_items_that_are_drawn_anew_are_found_out(monkeypatch):
    def init(self, positions=6, made=CombinationLocks.__init__):
        made(self, positions)
        self.items = self.items[np.random.default_rng().permutation(len(self.items))]

    monkeypatch.setattr(CombinationLocks, "__init__", init)
    with pytest.raises(RnnzooError, match="items: found others when the family was loaded"):
        checked_plan(resolve_config(LOCK_ZOO, "smoke", {"runs": 12}))


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

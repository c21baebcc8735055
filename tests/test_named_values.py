"""Values that the running program has changed belong to a result: globals of functions, attributes of classes."""

import functools
import itertools
import sys
import types

import pytest
from users_modules import asked_for, define_in_a_cell, in_a_new_process, place_of

from rnnzoo.loaders.benchmark.code import code_here, code_of
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.encoders.base import find_encoder, importing_from
from rnnzoo.zoo_builder.errors import RnnzooError

pytestmark = pytest.mark.usefixtures("short_readouts")

place = pytest.fixture(place_of)

VALUES = """
import dataclasses, functools, logging, threading, types
import numpy as np
import torch
import helper

S, TEXT, ARRAY, TENSOR, TABLE, PAIRS = 1.0, "a", np.ones(3), torch.ones(3), {"s": 1.0}, [(1, {2})]
NAMES = types.SimpleNamespace(s=1.0)
LOG, LOCK, CACHE, COUNTER, NET = logging.getLogger(), threading.Lock(), {}, [0], torch.nn.Linear(2, 2)
UNNAMED = 3

@dataclasses.dataclass
class Config:
    scale: float = 1.0

CONFIG = Config()

def twice(weights):
    return weights

def other(weights):
    return weights

part = functools.partial(twice, weights=1)

@functools.cache
def cached():
    return TEXT

class Base:
    scale = 1.0
    made = 0

    def __call__(self, weights):
        Base.made += 1
        LOG.info(1), LOCK, NET
        COUNTER[0] += 1
        CACHE[1], S, ARRAY, TENSOR, TABLE["s"], PAIRS, NAMES.s, CONFIG.scale, part
        CACHE.setdefault(2, 3)
        return helper.scaled(twice(weights)) if cached() else helper.FACTOR

class Mine(Base):
    def __init__(self, population):
        self.size = 3

    def forward(self):
        return 1
"""
HELPER = "FACTOR = 2\nUNNAMED = 3\ndef scaled(x):\n    return x * FACTOR\n"
CHANGES = {
    "a number": "mine.S = 0.0",
    "a text that a cached function names": "mine.TEXT = 'b'",
    "an array": "mine.ARRAY[1] = 0",
    "a tensor": "mine.TENSOR[1] = 0",
    "an entry": "mine.TABLE['s'] = 0.0",
    "a part of a part": "mine.PAIRS[0][1].add(3)",
    "an attribute": "mine.NAMES.s = 0.0",
    "a data class": "mine.CONFIG.scale = 0.0",
    "a class attribute": "mine.Mine.scale = 0.0",
    "one of a base": "mine.Base.scale = 0.0",
    "a method": "mine.Mine.forward = mine.twice",
    "a method without a name": "mine.Mine.forward = lambda self: 2",
    "a function": "mine.twice = mine.other",
    "a function of an imported module": "mine.helper.scaled = mine.other",
    "the arguments of a function": "mine.part = functools.partial(mine.twice, weights=2)",
    "a value of an imported module": "mine.helper.FACTOR = 3",
    "a value that was none": "mine.S = None",
}
NO_CHANGES = {
    "nothing": "",
    "a cache": "mine.CACHE[5] = 6; mine.COUNTER[0] = 4; mine.Base.made = 5",
    "what says nothing of itself": "mine.LOCK = mine.threading.Lock()",
    "an object of another package": "mine.NET.bias.data.zero_()",
    "what no function names": "mine.UNNAMED = 4; mine.helper.UNNAMED = 5; mine.unnamed = 6",
}


@pytest.fixture
def mine(place):
    """A module of the user's with values, which their encoder names."""
    (place / "my_encoder.py").write_text(VALUES)
    (place / "helper.py").write_text(HELPER)
    find_encoder("my_encoder:Mine")
    return sys.modules["my_encoder"]


@pytest.mark.parametrize(
    ("change", "differs"), [*((c, True) for c in CHANGES.values()), *((c, False) for c in NO_CHANGES.values())]
)
def test_values_that_the_running_program_changes_are_in_the_code(change, differs, mine, monkeypatch):
    encoder = mine.Mine(None)
    before = code_of("my_encoder:Mine", encoder)
    exec(change, {"mine": mine, "functools": functools})
    after = code_of("my_encoder:Mine", encoder)
    assert (after != before) is differs
    assert after[1] == before[1]
    in_a_new_process(monkeypatch)  # where the values are those of the files
    assert (code_here("my_encoder:Mine", after[0]) != after[0]) is differs
    assert code_here("my_encoder:Mine", before[0]) == before[0]


REDEFINITIONS = [
    "def twice(weights):\n    return -weights",
    "twice = lambda weights: -weights",
    "@functools.cache\ndef cached():\n    return 2",
    "part = functools.partial(lambda weights: weights, 1)",
    "class Mine(Base):\n    def forward(self):\n        return 2",
    "class Mine(Base):\n    def forward(self):\n        return 1\n    def more(self):\n        return 2",
]


@pytest.mark.parametrize("change", [*CHANGES.values(), *REDEFINITIONS])
def test_values_that_a_script_changes_are_in_the_code(change, place, monkeypatch):
    (place / "helper.py").write_text(HELPER)
    script = place / "script.py"
    script.write_text(VALUES)
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with importing_from():
        exec(compile(script.read_text(), script, "exec"), vars(main))
    before, _ = code_of(None, main.Mine, main.Mine(None))
    vars(main)["mine"] = main
    exec(change, vars(main))
    after, _ = code_of(None, main.Mine, main.Mine.__new__(main.Mine))
    assert before != after
    assert {file for file in after if "(notebook" in file} == set()


def test_a_changed_value_does_not_get_the_old_score(language_zoo, place):
    request = asked_for(language_zoo, place)
    edited = (place / "helper.py").read_text()
    (place / "helper.py").write_text("FACTOR = 2\n" + edited.replace("x * 2", "x * FACTOR"))
    (path,) = run_benchmark(request)
    before = path.read_bytes()
    run_benchmark(request)
    sys.modules["helper"].FACTOR = 0
    with pytest.raises(RnnzooError, match=r"was made otherwise: source of helper:FACTOR \(value\): found"):
        run_benchmark(request)
    assert path.read_bytes() == before


def test_changed_classes_of_a_notebook(monkeypatch):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = "class Mine:\n    scale = 1.0\n    def __init__(self, population): pass\n"
    define_in_a_cell(main, 1, text + "    def __call__(self, weights): return weights['head.bias'] * self.scale\n")
    met = [code_of("__main__:Mine", main.Mine(None))]
    for number, change in enumerate(
        (
            "",
            "Mine.scale = 0.0",
            "FACTOR = 1\ndef call(self, weights): return weights['head.bias'] * FACTOR\nMine.__call__ = call",
            "FACTOR = 2",
            "Mine.__call__ = lambda self, weights: weights['head.bias']",
            "Mine.more = [1]",
        )
    ):
        define_in_a_cell(main, 2 + number, change)
        met.append(code_of("__main__:Mine", main.Mine(None)))
    assert met[0] == met[1]
    assert all(one != other for one, other in itertools.combinations(met[1:], 2))
    assert met[-1] == code_of("__main__:Mine", main.Mine(None))

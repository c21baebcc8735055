"""A result belongs to the code, data, versions and settings that made it; nothing made otherwise is mixed in."""

import functools
import importlib
import itertools
import json
import linecache
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic_results import make_result, make_rows, write_results
from test_imports import imported

from rnnzoo.loaders.benchmark.code import DECIDING, JOB, REGISTRIES, code_here, code_of
from rnnzoo.loaders.benchmark.evaluation import evaluate
from rnnzoo.loaders.benchmark.report.baselines import baselines_markdown, commit_results
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.committed import committed_folder, merge_committed
from rnnzoo.loaders.benchmark.results.files import leaderboard_folder, read_result, write_result
from rnnzoo.loaders.benchmark.results.kept import read_kept, write_kept
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.benchmark.tracks import supervised
from rnnzoo.loaders.encoders.base import find_encoder, importing_from
from rnnzoo.loaders.encoders.names import encoder_location
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks import find_family

pytestmark = pytest.mark.usefixtures("short_readouts")

ROOT = Path(__file__).parent.parent
ENCODER = """
import torch
from helper import scaled

class Mine(torch.nn.Module):
    def __init__(self, population, width=3):
        super().__init__()
        self.width = width

    def forward(self, weights):
        return scaled(weights["head.bias"][:, : self.width])

class Learned(Mine):
    def __init__(self, population):
        super().__init__(population)
        self.head = torch.nn.Linear(3, 16)

    def forward(self, weights):
        return self.head(super().forward(weights))
"""
SHORT = (("steps", 2), ("validate_every", 1), ("models", 4), ("emulator_hidden", 8))


def in_a_new_process(monkeypatch):
    """Forget what is imported of the user's files."""
    for name in ("my_encoder", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a user's encoder, in which they stand."""
    (tmp_path / "my_encoder.py").write_text(ENCODER)
    (tmp_path / "helper.py").write_text("def scaled(x):\n    return x * 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnnzoo.loaders.benchmark.request.FITTED", ("linear",))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a second edit within a second has the same time stamp
    in_a_new_process(monkeypatch)
    yield tmp_path
    in_a_new_process(monkeypatch)


def edit(path, old, new, monkeypatch):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    in_a_new_process(monkeypatch)


def asked_for(zoo, place, encoder="my_encoder:Mine", **fields):
    return Request(str(zoo), encoder, place / "results", **{"targets": ("step",), "seeds": 1, **fields})


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("my_encoder.py", "width=3", "width=2"),  # the default of an option
        ("my_encoder.py", "scaled(weights", "-scaled(weights"),
        ("helper.py", "x * 2", "x * 3"),  # a file that the encoder imports
    ],
)
def test_an_edited_encoder_does_not_get_its_old_score(file, old, new, language_zoo, place, monkeypatch):
    request = asked_for(language_zoo, place)
    (path,) = run_benchmark(request)
    before = path.read_bytes()
    in_a_new_process(monkeypatch)
    run_benchmark(request)
    assert path.read_bytes() == before

    edit(place / file, old, new, monkeypatch)
    for more in (request, replace(request, targets=("accuracy",)), replace(request, tracks=("features",))):
        with pytest.raises(
            RnnzooError, match=rf"overwrite: .*step-seed0.json was made otherwise: source of {file}: found"
        ):
            run_benchmark(more)
    assert path.read_bytes() == before
    run_benchmark(replace(request, overwrite=True))
    after = read_result(path)
    assert after.key.digest != read_key(before).digest
    assert next(iter(after.key.code)) == "my_encoder.py"
    assert after.key.code["helper.py"]
    run_benchmark(request)


def read_key(content: bytes) -> ResultKey:
    return ResultKey.model_validate(json.loads(content)["key"])


@pytest.mark.parametrize(
    ("track", "change", "part"),
    [
        (
            "frozen",
            {"overrides": (*SHORT, ("models", 5))},
            "setting models: found 4, expected 5",
        ),
        ("supervised", {"overrides": (*SHORT, ("steps", 3))}, "setting steps: found 2, expected 3"),
        ("supervised", {"preset": "paper"}, 'setting preset: found "quick", expected "paper"'),
    ],
)
def test_settings_are_part_of_the_key(track, change, part, language_zoo, place):
    request = asked_for(language_zoo, place, "my_encoder:Learned", tracks=(track,), overrides=SHORT)
    (path,) = run_benchmark(request)
    key = read_result(path).key
    assert key.settings["steps"] == 2
    assert key.settings["track"] == track
    assert {"rnnzoo", "torch", "scikit-learn"} <= key.versions.keys()
    with pytest.raises(RnnzooError, match=part):
        run_benchmark(replace(request, **change))


def test_kept_emulations_and_half_done_trainings_are_of_one_program(language_zoo, place, monkeypatch):
    request = asked_for(language_zoo, place, "my_encoder:Learned", tracks=("frozen",), overrides=SHORT)
    (path,) = run_benchmark(request)
    kept = path.parents[1] / "emulation" / "seed0.safetensors"
    path.unlink()  # the emulation alone is left
    edit(place / "helper.py", "x * 2", "x * 3", monkeypatch)
    with pytest.raises(RnnzooError, match=r"emulation/seed0.json was made otherwise: source of helper.py"):
        run_benchmark(request)
    before = kept.read_bytes()
    run_benchmark(replace(request, overwrite=True))
    assert kept.read_bytes() != before

    monkeypatch.setattr("rnnzoo.loaders.training.SAVE_SECONDS", 0)
    stopped = replace(request, tracks=("supervised",))
    with monkeypatch.context() as patched:
        stop_at_the_second_validation(patched)
        with pytest.raises(KeyboardInterrupt):
            run_benchmark(stopped)
    (state,) = path.parents[1].rglob("*.pt")
    edit(place / "helper.py", "x * 3", "x * 4", monkeypatch)
    with pytest.raises(RnnzooError, match=rf"{state.name} was made otherwise: source of helper.py"):
        run_benchmark(stopped)
    run_benchmark(replace(stopped, overwrite=True))
    assert not state.exists()


def stop_at_the_second_validation(patched):
    outputs, calls = supervised._outputs, []

    def call(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return outputs(*arguments)

    patched.setattr(supervised, "_outputs", call)


@pytest.mark.parametrize("edited", ["def scaled(x):\n    return x * 5\n", "FACTOR = 5\n"])
def test_a_file_that_is_edited_while_it_is_in_use_is_told(edited, language_zoo, place):
    """As in a notebook: the module was imported before, so that its old code would run under the new key."""
    request = asked_for(language_zoo, place)
    run_benchmark(request)
    (place / "helper.py").write_text(edited)
    with pytest.raises(RnnzooError, match=r"helper.py: was edited after this process imported it"):
        run_benchmark(request)


def test_a_module_that_was_imported_and_then_edited(place):
    find_encoder("my_encoder:Mine")
    (place / "my_encoder.py").write_text(ENCODER.replace("scaled(weights", "-scaled(weights"))
    with pytest.raises(RnnzooError, match=r"my_encoder.py: was edited after"):
        code_of("my_encoder:Mine", find_family("formal_languages"))


@pytest.mark.parametrize(
    "line",
    [
        "from torch import Tensor",
        "from numpy import ndarray",
        "from collections import OrderedDict, deque",
        "from pathlib import Path",
        "import functools; size = functools.wraps(len)(lambda x: len(x))",
        "class Node: pass\nNode.kind = Node",
    ],
)
def test_what_an_encoder_s_file_may_import_and_define(line, place, monkeypatch):
    edit(place / "helper.py", "def scaled", f"{line}\ndef scaled", monkeypatch)
    find_encoder("my_encoder:Mine")
    assert "helper.py" in code_of("my_encoder:Mine", find_family("formal_languages"))[0]
    (place / "helper.py").write_text(f"{line}\ndef scaled(x):\n    return x * 5\n")
    with pytest.raises(RnnzooError, match=r"helper.py: was edited after"):
        code_of("my_encoder:Mine", find_family("formal_languages"))


def define_in_a_cell(main, number, text):
    """As IPython does: its own name for a cell, whose text stands in linecache."""
    name = f"<ipython-input-{number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), vars(main))


def test_classes_of_a_notebook(monkeypatch):
    def code(factor, width="3", known=True):
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        define_in_a_cell(main, 1, "import torch\n" + f"WIDTH = {width}\n")
        define_in_a_cell(main, 2, f"def scaled(x):\n    return x * {factor}\n")
        text = "class Mine(torch.nn.Module):\n    def forward(self, weights):\n"
        text += "        return scaled(weights['head.bias'][:, :WIDTH])\n"
        if known:
            define_in_a_cell(main, 3, text)
        else:
            exec(text, vars(main))
        found, packages = code_of("__main__:Mine", main.Mine())
        assert "torch" in packages or not known
        return {file: digest for file, digest in found.items() if "notebook" in file}

    assert code(2) == code(2)
    assert code(2).keys() == {"Mine (notebook)", "scaled (notebook)", "WIDTH (notebook)"}
    assert code(2) != code(3)
    assert code(2) != code(2, "4")
    assert code(2, "torch.ones(1)") == code(2, "torch.ones(1)") != code(2, "torch.zeros(1)")
    assert code(2, "(n for n in [3])") != code(2, "(n for n in [3])")  # tells nothing of itself
    assert code(2, known=False) != code(2, known=False)


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


@pytest.mark.parametrize("change", CHANGES.values())
def test_values_that_a_script_changes_are_in_the_code(change, place, monkeypatch):
    (place / "helper.py").write_text(HELPER)
    script = place / "script.py"
    script.write_text(VALUES)
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with importing_from():
        exec(compile(script.read_text(), script, "exec"), vars(main))
    made = main.Mine(None)
    before, _ = code_of(None, main.Mine, made)
    exec(change, {"mine": main, "functools": functools})
    after, _ = code_of(None, main.Mine, made)
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


def test_packages_imports_within_functions_and_relative_ones_are_followed(tmp_path, monkeypatch):
    package = tmp_path / "wide"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inner" / "__init__.py").write_text("from ..base import Base\n")
    (package / "base.py").write_text("class Base: pass\n")
    (package / "late.py").touch()
    (package / "unused.py").touch()
    (package / "encoder.py").write_text(
        "import numpy, nowhere\nfrom .inner import Base\n"
        "class Mine(Base):\n    def f(self):\n        from . import late\n"
    )
    monkeypatch.chdir(tmp_path)
    code, packages = code_of("wide.encoder:Mine")
    own = [file for file in code if file.startswith("wide")]
    assert sorted(own) == [
        "wide/__init__.py", "wide/base.py", "wide/encoder.py", "wide/inner/__init__.py", "wide/late.py",
    ]  # fmt: skip
    assert packages.keys() == {"numpy"}


def closure(name: str) -> set[str]:
    """All modules of this package that a module imports, and those that they import."""
    found, waiting = set(), [name]
    while waiting:
        parts = waiting.pop().split(".")
        path = ROOT.joinpath(*parts[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        module = ".".join(parts)
        if path.is_file() and module not in found:
            found.add(module)
            waiting += [f"rnnzoo.{each}" for each in imported(path)]
    return found


DECIDES_NOTHING = (
    "rnnzoo.loaders.benchmark.code",
    "rnnzoo.loaders.benchmark.given_values",
    "rnnzoo.loaders.benchmark.named_values",
    "rnnzoo.loaders.benchmark.request",
    "rnnzoo.loaders.benchmark.results",
    "rnnzoo.loaders.reading",
    "rnnzoo.loaders.result_key",
    "rnnzoo.loaders.source",
    "rnnzoo.loaders.zoo",
    "rnnzoo.zoo_builder.errors",
    "rnnzoo.zoo_builder.storage",
)
"""What a job imports, and cannot change a score: it reads, writes, and checks what was asked for."""


def test_every_module_that_a_job_imports_is_known_to_decide_scores_or_not_to():
    for module in closure(JOB):
        rooms = [room for room in (*DECIDING, *DECIDES_NOTHING) if f"{module}.".startswith(f"{room}.")]
        assert rooms or module in REGISTRIES or (module.count(".") == 2 and module.endswith("benchmark")), module


@pytest.mark.parametrize("encoder", ["flat_mlp", "completion_probing", "behaviour_statistics"])
def test_the_code_of_an_installed_encoder(encoder):
    code, packages = code_of(encoder_location(encoder), find_family("formal_languages"))
    home = encoder_location(encoder).partition(":")[0].replace(".", "/") + ".py"
    assert next(iter(code)) == home
    assert packages == {}
    assert not [file for file in code if file.endswith(")")]  # only users' values are told
    scoring = {"rnnzoo/loaders/benchmark/prediction/scores.py", "rnnzoo/loaders/training.py"}
    assert scoring | {"rnnzoo/zoo_builder/tasks/formal_languages/family.py"} <= code.keys()
    assert not [file for file in code if "report" in file or "release" in file or "sequential_images" in file]
    others = [file for file in code if file.startswith("rnnzoo/loaders/encoders/") and file != home]
    assert not [
        file for file in others if file.endswith(("flat_mlp.py", "graph_network.py", "encoders/__init__.py"))
    ]
    assert any(file.endswith(".cpp") for file in code)


def test_a_leaderboard_does_not_mix_programs(tmp_path):
    board = write_results(tmp_path, "formal_languages", seeds=2, encoders=("greedy_decode",))
    other = make_result(make_rows("formal_languages"), "greedy_decode", "offsets", 1)
    code = {**other.key.code, "greedy_decode.py": "ffff456789abcdef"}
    write_result(board, other.model_copy(update={"key": other.key.model_copy(update={"code": code})}))
    message = r"offsets-seed1.json: made otherwise than .*: source of greedy_decode.py: found ffff456789abcdef"
    with pytest.raises(RnnzooError, match=message):
        read_results(tmp_path)


@pytest.mark.parametrize("part", ["code", "versions"])
def test_a_table_says_when_baselines_were_made_by_other_code(part, tmp_path):
    rows = make_rows("formal_languages")
    write_results(tmp_path / "own", "formal_languages", seeds=1, encoders=("greedy_decode",))
    write_results(tmp_path / "more", "formal_languages", seeds=1, encoders=("flat_mlp",))
    commit_results(tmp_path / "more", tmp_path / "cards")

    (own,) = read_results(tmp_path / "own")
    beside = tmp_path / "cards"

    assert merge_committed(own, beside)[0].notes == ()
    name = {"code": "rnnzoo/loaders/training.py", "versions": "torch"}[part]
    for target in ("offsets", "accuracy"):
        made = make_result(rows, "flat_mlp", target, 0)
        changed = getattr(made.key, part) | {name: "other"}
        made = made.model_copy(update={"key": made.key.model_copy(update={part: changed})})
        write_result(leaderboard_folder(tmp_path / "more", rows.zoo, rows.protocol), made)
    commit_results(tmp_path / "more", tmp_path / "cards")
    (joined,) = merge_committed(own, beside)
    assert joined.notes == (f"Code of the baselines, and of these results: `{name}` differ.",)

    commit_results(tmp_path / "own", tmp_path / "cards")  # now the baselines themselves are of two
    (committed,) = read_results(committed_folder(beside, rows).parent)
    assert committed.notes == (f"Code of these results: `{name}` differ.",)
    none_left = replace(committed, results=(), emulations=())
    assert committed.notes[0] in baselines_markdown(LeaderboardTables.of(none_left, None))


def test_a_kept_encoder_is_whole_and_of_its_key(tmp_path):
    path = tmp_path / "seed0.safetensors"
    key = ResultKey(
        code={"a.py": "1"}, versions={}, zoo_digest="z", settings={"steps": 1, "readouts": ("linear",)}
    )
    state = {"b": torch.arange(3.0), "a": torch.ones(2, 2).T}
    write_kept(path, state, key)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    for name, tensor in read_kept(path, key).items():
        assert torch.equal(tensor, state[name])
    contents = {path.read_bytes()}
    for _ in range(8):
        write_kept(path, state, key)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    with pytest.raises(RnnzooError, match=r"seed0.safetensors: key: found"):
        read_kept(path, key.model_copy(update={"code": {"a.py": "2"}}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RnnzooError, match=r"sha256: found"):
        read_kept(path, key)
    path.write_bytes(whole[:-4])
    with pytest.raises(RnnzooError, match="no safetensors file"):
        read_kept(path, key)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RnnzooError, match="found a pipe"):
        read_kept(path, key)


def test_tied_weights_are_kept(tmp_path):
    key = ResultKey(code={}, versions={}, zoo_digest="z", settings={})
    numbers = torch.arange(6.0)
    state = {
        "whole": numbers,
        "again": numbers,
        "part": numbers[2:],
        "turned": numbers.view(2, 3).T,
        "none": numbers[:0],
    }
    write_kept(tmp_path / "state.safetensors", state, key)
    found = read_kept(tmp_path / "state.safetensors", key)
    assert found.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self, population):
        super().__init__()
        width = population.spec.hidden_size
        self.first, self.second = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, weights):
        return self.second(torch.relu(self.first(weights["head.weight"].mean(dim=1))))


@pytest.mark.parametrize("track", ["frozen", "supervised"])
def test_an_encoder_with_tied_weights_is_trained_and_given_back(track, language_zoo, tmp_path):
    found = evaluate(Tied, language_zoo, track, "step", 1, dict(SHORT), tmp_path, quiet=True)
    encoder = found.encoder_of(found.results[0])
    assert torch.equal(encoder.first.weight, encoder.second.weight)

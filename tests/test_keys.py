"""A result belongs to the code, data, versions and settings that made it; nothing made otherwise is mixed in."""

import itertools
import json
import sys
import textwrap
import types
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_results import make_result, make_rows, write_results
from test_imports import imported
from users_modules import ENCODER, SHORT, asked_for, define_in_a_cell, edit, in_a_new_process, place_of

from rnnzoo.loaders.benchmark.code import DECIDING, JOB, REGISTRIES, code_of
from rnnzoo.loaders.benchmark.given_values import digest_values
from rnnzoo.loaders.benchmark.report.baselines import baselines_markdown, commit_results
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.results.committed import committed_folder, merge_committed
from rnnzoo.loaders.benchmark.results.files import leaderboard_folder, read_result, write_result
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.benchmark.tracks import supervised
from rnnzoo.loaders.encoders.base import find_encoder
from rnnzoo.loaders.encoders.names import encoder_location
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks import find_family

pytestmark = pytest.mark.usefixtures("short_readouts")

ROOT = Path(__file__).parent.parent
place = pytest.fixture(place_of)


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


def test_classes_of_a_notebook(monkeypatch):
    def code(factor, width="3", known=True, within=False):
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        define_in_a_cell(main, 1, "import torch\n" + f"WIDTH = {width}\n")
        define_in_a_cell(main, 2, f"def scaled(x):\n    return x * {factor}\n")
        text = "class Mine(torch.nn.Module):\n    def forward(self, weights):\n"
        text += "        return scaled(weights['head.bias'][:, :WIDTH])\n"
        if within:
            text = f"def make():\n{textwrap.indent(text, '    ')}    return Mine\nMine = make()\n"
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
    for way in ({"known": False}, {"within": True}, {"known": False, "within": True}):
        assert code(2, **way) == code(2, **way)
        assert len({json.dumps(each) for each in (code(2, **way), code(3, **way), code(2, "4", **way))}) == 3


CLASSES = {
    "a data class": "import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    width: int = {}\n",
    "a list for each": "from dataclasses import *\n@dataclass\nclass Mine:\n"
    "    widths: list = field(default_factory=lambda: [{}])\n",
    "an enum": "import enum\nclass Mine(enum.Enum):\n    WIDE = {}\n",
    "a named tuple": "import typing\nclass Mine(typing.NamedTuple):\n    width: int = {}\n",
    "values alone": "class Mine:\n    width = {}\n",
    "slots": "class Mine:\n    __slots__ = ('width', 'w{}')\n",
    "nothing but a base": "class Base{0}:\n    def width(self): return {0}\nclass Mine(Base{0}): pass\n",
    "within a class": "class Outer:\n  class Mine:\n    def width(self):\n      return {}\nMine = Outer.Mine\n",
    "after an if": "if True:\n  class Mine:\n    text = '''\nflush left'''\n    def width(self): return {}\n",
}


@pytest.mark.parametrize("text", CLASSES.values(), ids=CLASSES)
def test_a_class_of_a_notebook_is_known_again(text, monkeypatch):
    numbers = itertools.count(1)

    def code(width):
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        define_in_a_cell(main, next(numbers), text.format(width))
        define_in_a_cell(main, next(numbers), "def encoder(weights):\n    return Mine\n")
        return json.dumps(code_of(None, main.encoder))

    assert code(3) == code(3) != code(4)


def test_functions_of_a_notebook(monkeypatch):
    """A cell that is run again gives the same key, whatever else stands in it; another function does not."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    numbers = itertools.count(1)

    def code(*cells, name="encoder"):
        for text in cells:
            define_in_a_cell(main, next(numbers), text)
        given = vars(main)[name]
        found, _ = code_of(None, *digest_values(given)[1], given)
        return digest_values(given)[0], {file: digest for file, digest in found.items() if "notebook" in file}

    cell = "found = [encoder := lambda w: w * factor, object(), (n for n in [1])]; factor = 2"
    first = code("import torch\nfactor = 2\ndef helper(w):\n    return w", cell)
    assert first == code(cell) == code(f"import os\n{cell}")
    assert first[1].keys() == {"<lambda> (notebook)", "factor (notebook)"}
    others = [
        code("factor = 3"),
        code(cell.replace("w * factor", "w - factor")),
        code("encoder = lambda w: helper(w)"),
        code("def helper(w):\n    return -w"),
        code("def helper(w):\n    return -w\ndef old():\n    pass\ndef helper(w):\n    return w + 1"),
        code("def helper(w, by=2):\n    return w + 1"),
        code("def helper(w):\n    import torch\n    return torch.sin(w)"),
        code("class Two:\n    def __call__(self, w): return w\nfirst = Two()\nencoder = lambda w: first(w)"),
        code("class Two:\n    def __call__(self, w): return -w\nfirst = Two()"),
        code("a, b = (lambda w: w), (lambda w: -w)\nencoder = lambda w: a(b(w))"),
        code("a, b = (lambda w: w), (lambda w: w / 2)"),
        code("import functools\na = functools.cache(lambda w: w * 5)"),
        code("a = functools.cache(lambda w: w + 1)"),
    ]
    told = [json.dumps(each) for each in [first, *others]]
    assert len(set(told)) == len(told)


def test_modules_that_functions_of_a_notebook_import(tmp_path, monkeypatch):
    """Also a module of a package, which only its name in the function tells."""
    (tmp_path / "narrow").mkdir()
    for name in ("__init__", "inner", "other"):
        (tmp_path / "narrow" / f"{name}.py").touch()
    monkeypatch.chdir(tmp_path)
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    define_in_a_cell(
        main,
        1,
        "def encoder(w):\n"
        "    from narrow import inner\n"
        "    def last():\n"
        "        import narrow.other\n"
        "    return w\n",
    )
    files = {file for file in code_of(None, main.encoder)[0] if file.startswith("narrow")}
    assert files == {"narrow/__init__.py", "narrow/inner.py", "narrow/other.py"}


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
    assert committed.notes[0] in baselines_markdown([LeaderboardTables.of(none_left, None)])

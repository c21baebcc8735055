"""`evaluate`: encoders of every kind from a program, what it returns, and what its results belong to."""

import functools
import gc
import importlib
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Dict  # noqa: UP035 (TorchScript knows no other)

import numpy as np
import pytest
import torch
from conftest import build
from threadpoolctl import threadpool_info
from torch import nn

import rnnzoo
from rnnzoo import Zoo, evaluate
from rnnzoo.loaders.benchmark import executors
from rnnzoo.loaders.benchmark.given_values import digest_values
from rnnzoo.loaders.benchmark.jobs import run_job
from rnnzoo.loaders.encoders.base import load_encoder
from rnnzoo.loaders.encoders.flat_mlp import FlatMLP
from rnnzoo.loaders.encoders.recipe import GivenEncoder, recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.zoos import resolve_config

pytestmark = pytest.mark.usefixtures("short_readouts")

TORCH = Path(torch.__file__).parent
SHORT = {"steps": 2, "validate_every": 1, "models": 4, "emulator_hidden": 8}


def head_bias(weights):
    return weights["head.bias"]


class HeadBias:
    def __init__(self, population):
        self.size = population.spec.output_size

    def __call__(self, weights):
        return weights["head.bias"][:, : self.size]


class Learned(nn.Module):
    def __init__(self, population=None, width=4):
        super().__init__()
        self.head = nn.Linear(6, width)

    def forward(self, weights):
        return self.head(weights["head.bias"])


class Changed(Learned):
    """A `Learned` whose embeddings go through a function."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, weights):
        return self.change(super().forward(weights))


class Compiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, weights: Dict[str, torch.Tensor]) -> torch.Tensor:  # noqa: UP006
        return self.head(weights["head.bias"])


@pytest.fixture(autouse=True)
def linear_readouts(monkeypatch):
    monkeypatch.setattr("rnnzoo.loaders.benchmark.request.FITTED", ("linear",))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in, with an encoder and its helper in a folder within."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "people_helper.py").write_text("def first(weights):\n    return weights['head.bias']\n")
    (folder / "people_encoder.py").write_text(
        "from people_helper import first\n"
        "class Mine:\n"
        "    def __init__(self, population, factor=1):\n"
        "        self.factor = factor\n"
        "    def __call__(self, weights):\n"
        "        return first(weights) * self.factor\n"
    )
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in ("people_helper", "people_encoder"):
        sys.modules.pop(name, None)


KINDS = {
    "function": head_bias,
    "function of arrays": lambda weights: weights["head.bias"].numpy(),
    "class": HeadBias,
    "factory": lambda population: HeadBias(population),
    "options": functools.partial(lambda population, size: lambda weights: weights["head.bias"][:, :size], size=6),
    "object": HeadBias(types.SimpleNamespace(spec=types.SimpleNamespace(output_size=6))),
    "module": nn.Sequential(),
    "file": "mine/people_encoder.py:Mine",
    "file with options": "./mine/people_encoder.py:Mine(factor=1)",
}


@pytest.fixture(scope="module")
def loaded(language_zoo):
    return LoadedZoo(language_zoo)


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_of_every_kind(kind, loaded, place):
    KINDS["module"].forward = head_bias
    recipe = recipe_of(KINDS[kind], None if isinstance(KINDS[kind], str) else kind.replace(" ", "_"))
    weights = loaded.weights(slice(0, 5))
    assert torch.equal(recipe.make(loaded.population)(weights), weights["head.bias"])


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (head_bias, "test_evaluate:head_bias"),
        (HeadBias, "test_evaluate:HeadBias"),
        (FlatMLP, "flat_mlp"),
        (lambda weights: weights["head.bias"], "lambda"),
        (Learned(), "Learned"),
        ("flat_mlp(hidden=3)", "flat_mlp(hidden=3)"),
    ],
)
def test_an_encoder_is_called_as_other_processes_find_it(encoder, expected):
    assert recipe_of(encoder).name == expected


def test_all_tracks_of_a_module_that_goes_on_from_its_own_parameters(language_zoo, tmp_path):
    encoder = Learned()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    given = {"targets": ["step", "accuracy"], "seeds": 1, "settings": SHORT, "out": tmp_path, "quiet": True}
    found = evaluate(encoder, Zoo(language_zoo), ["frozen", "supervised"], name="mine", **given)
    assert {tuple(key) for key in found.table[["track", "target"]].to_numpy()} == {
        (track, target) for track in ("frozen", "supervised") for target in given["targets"]
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    frozen = evaluate(encoder.requires_grad_(False), language_zoo, name="as_it_is", **given)
    untrained = found.table.query("score == 'accuracy'").groupby("split")["untrained"].first()
    as_it_is = frozen.table.query("score == 'accuracy'").groupby("split")["mean"].first()
    assert np.allclose(untrained, as_it_is)
    report = found.report(baselines=False)
    assert {"mine", "as_it_is"} <= {word for line in str(report).splitlines() for word in line.split()[:1]}
    assert "<iframe" in report._repr_html_()
    assert "&lt;html" in report._repr_html_()
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("encoder", ["layer_statistics(hidden=(8,))", Learned], ids=["a name", "a class"])
def test_the_encoder_that_was_trained_is_at_hand(encoder, language_zoo, tmp_path):
    given = {"targets": "step", "seeds": 2, "settings": SHORT, "out": tmp_path, "quiet": True}
    found = evaluate(encoder, language_zoo, ["frozen", "supervised"], **given)
    loaded = LoadedZoo(language_zoo)
    weights = loaded.weights(np.arange(5))
    states = []
    for result in found.results:
        trained = found.encoder_of(result)
        assert trained(weights).shape == (5, result.embedding_size)
        states.append(torch.cat([tensor.flatten() for tensor in trained.state_dict().values()]))
        untrained = recipe_of(encoder).make(loaded.population, result.seed)
        begun = torch.cat([tensor.flatten() for tensor in untrained.state_dict().values()])
        assert 0 < (states[-1] - begun).abs().max() < 0.1, "two steps from where its seed begins"
    assert len({tuple(state.tolist()) for state in states}) == len(found.results) == 4


def test_a_zoo_of_which_only_untrained_rnns_can_be_used(tmp_path):
    """Its task cannot be predicted, and nothing of it leaks; the training step can."""
    small = {"evaluation_items": 8, "sampled_strings": 8, "rollouts": 4, "hidden_size": 4, "num_layers": 1}
    build(resolve_config("formal_languages", "smoke", {"runs": 8, "steps": 1} | small), tmp_path / "zoo")
    found = evaluate(head_bias, tmp_path / "zoo", targets="step", seeds=1, out=tmp_path / "results")
    assert set(found.table["target"]) == {"step"}
    assert not list((tmp_path / "results").rglob("leakage.json"))
    assert "accuracy" in found.report()._repr_html_()


def test_an_encoder_that_nothing_was_trained_of_or_that_is_lost(language_zoo, tmp_path):
    given = {"targets": "step", "seeds": 1, "out": tmp_path, "quiet": True}
    fixed = evaluate(head_bias, language_zoo, **given)
    with pytest.raises(ParameterError, match="result: found the track 'features', which trains nothing"):
        fixed.encoder_of(fixed.results[0])
    found = evaluate(Learned, language_zoo, "supervised", settings=SHORT, **given)
    found.paths[0].with_suffix(".safetensors").unlink()
    with pytest.raises(RnnzooError, match=r"what was trained is missing; delete step-seed0\.json and run"):
        found.encoder_of(found.results[0])


def test_the_table_has_the_scores_with_their_intervals(language_zoo):
    found = evaluate(head_bias, language_zoo, targets=("step", "accuracy"), seeds=1, quiet=True)
    table = found.table
    assert set(table["target"]) == {"step", "accuracy"}
    known = table.dropna(subset=["low", "high"])
    assert len(known)
    assert ((known["low"] <= known["mean"]) & (known["mean"] <= known["high"])).all()
    for result in found.results:
        for split, scores in result.scores.items():
            rows = table[(table["target"] == result.target) & (table["split"] == split)].set_index("score")
            for name, value in scores.items():
                assert value is None or rows.loc[name, "mean"] == pytest.approx(
                    value, rel=1e-4
                )  # files have 7 digits
    assert {result.command for result in found.results} == {
        f"rnnzoo.evaluate(test_evaluate:head_bias, {str(language_zoo)!r}, targets=('step', 'accuracy'), seeds=1)"
    }
    assert "head_bias" in found._repr_html_()
    assert "head_bias" in repr(found)


def test_results_without_a_folder_live_as_long_as_what_is_returned(language_zoo, tmp_path):
    found = evaluate(head_bias, language_zoo, targets="step", seeds=1, quiet=True)
    folder = found.folder.parent  # fresh zoos stand there, too
    assert found.folder.exists()
    del found
    gc.collect()
    assert not folder.exists()


def scaled(factor):
    return lambda weights: weights["head.bias"] * factor


def test_results_belong_to_the_values_of_an_object(language_zoo, tmp_path):
    given = {"targets": "step", "seeds": 1, "out": tmp_path, "name": "scaled", "quiet": True}
    (path,) = evaluate(scaled(2.0), language_zoo, **given).paths
    written = path.stat().st_mtime_ns
    evaluate(scaled(2.0), language_zoo, **given)
    assert path.stat().st_mtime_ns == written
    with pytest.raises(ParameterError, match=r"^overwrite: .*was made otherwise: setting values: found"):
        evaluate(scaled(3.0), language_zoo, **given)
    evaluate(scaled(3.0), language_zoo, overwrite=True, **given)
    assert path.stat().st_mtime_ns != written


def chosen(kind, sign=0):
    """Functions and classes of one name."""
    if kind == "double":

        def encode(weights):
            return weights["head.bias"] * 2
    elif kind == "half":

        def encode(weights):
            return weights["head.bias"] / 2
    elif sign:

        class encode:
            def __call__(self, weights):
                return weights["head.bias"]
    else:

        class encode:
            def __call__(self, weights):
                return -weights["head.bias"]

    return encode


def test_one_lambda_does_not_get_the_results_of_another(language_zoo, tmp_path):
    given = {"targets": "step", "seeds": 1, "out": tmp_path, "quiet": True}
    evaluate(lambda w: w["head.weight"].flatten(1), language_zoo, **given)
    with pytest.raises(ParameterError, match=r"^overwrite: .*setting values: found .*another name"):
        evaluate(lambda w: w["head.bias"], language_zoo, **given)
    assert evaluate(lambda w: w["head.bias"], language_zoo, name="bias", **given).results[0].embedding_size == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scaled(2), scaled(3)),
        (functools.partial(head_bias, 1), functools.partial(head_bias, 2)),
        ({"a": [1, (2.0, "x")]}, {"a": [1, (2.0, "y")]}),
        (torch.ones(2, 3), torch.ones(3, 2)),
        (np.arange(3), np.arange(3.0)),
        (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
        ({1, 2}, {1, 3}),
        (Learned, HeadBias),
        (nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)),
        (types.SimpleNamespace(width=3), types.SimpleNamespace(width=4)),
        (lambda w: w["head.bias"], lambda w: w["head.weight"]),
        (lambda w: w["head.bias"] * 2, lambda w: w["head.bias"] * 3),
        (lambda w: [w, w], lambda w: [w for _ in w]),
        (lambda w, power=2: w, lambda w, power=3: w),
        (chosen("double"), chosen("half")),
        (functools.partial(chosen("double"), 1), functools.partial(chosen("half"), 1)),
        (chosen("class"), chosen("class", 1)),
        (chosen("class")(), chosen("class", 1)()),
        ({"encoder": chosen("double")}, {"encoder": chosen("half")}),
    ],
)
def test_values_are_told_apart(one, other):
    assert digest_values(one)[0] == digest_values(pickle.loads(cloudpickled(one)))[0] != digest_values(other)[0]


def cloudpickled(value):
    import cloudpickle

    return cloudpickle.dumps(value)


def test_what_a_cached_function_does_is_told():
    assert digest_values(functools.cache(chosen("double"))) != digest_values(functools.cache(chosen("half")))
    assert digest_values(functools.cache(chosen("half")))[0] == digest_values(functools.cache(chosen("half")))[0]


def test_what_tells_nothing_of_itself_never_has_the_same_digest():
    hidden = (n for n in range(3))
    assert digest_values([hidden])[0] != digest_values([hidden])[0]


def test_an_object_that_refers_to_itself_has_a_digest():
    loop: list = []
    loop.append(loop)
    assert digest_values(loop)[0] == digest_values(loop)[0]


def test_an_object_reaches_a_process_that_cannot_import_it(loaded, tmp_path):
    """As a class of a notebook, whose program is no file."""
    text = (
        "import sys, torch, pickle\n"
        "from rnnzoo.loaders.encoders.recipe import recipe_of\n"
        "FACTOR = 3\n"
        "class Mine(torch.nn.Module):\n"
        "    def forward(self, weights):\n"
        "        return weights['head.bias'] * FACTOR\n"
        "open('recipe.pickle', 'wb').write(pickle.dumps(recipe_of(lambda population: Mine(), 'mine')))\n"
    )
    subprocess.run([sys.executable, "-"], input=text, text=True, check=True, cwd=tmp_path, timeout=120)
    recipe = pickle.loads((tmp_path / "recipe.pickle").read_bytes())
    weights = loaded.weights(slice(0, 5))
    assert torch.equal(recipe.make(loaded.population)(weights), weights["head.bias"] * 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "no file"])
def test_workers_score_what_the_program_itself_defines(kind, language_zoo, tmp_path):
    """A notebook is no file; and no worker begins the program again."""
    program = (
        "import sys, torch\n"
        "from rnnzoo import evaluate\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, population):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(6, 16)\n"
        "    def forward(self, weights):\n"
        "        return self.head(weights['head.bias'])\n"
        f"given = dict(tracks='supervised', targets='step', seeds=2, settings={SHORT}, threads=1)\n"
        f"one, two = (evaluate(Mine, {str(language_zoo)!r}, workers=n, **given).table for n in (1, 2))\n"
        "assert one.equals(two) and set(one['encoder']) == {'Mine'}\n"
    )
    (tmp_path / "program.py").write_text(program)
    words, given = (["program.py"], None) if kind == "file" else (["-"], program)
    done = subprocess.run([sys.executable, *words], input=given, text=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("encoder", "fields", "message"),
    [
        (
            3,
            {},
            "encoder: found int, a int; expected a name, a class, a module of torch, or a function of weights",
        ),
        (lambda x: None, {}, r"encoder: found lambda; .* it gave a NoneType; .* but it gave a NoneType"),
        (lambda x: x["no"], {}, r"it gave KeyError: 'no'; or an encoder of a Population, but it gave TypeError"),
        (lambda weights: torch.zeros(3), {}, r"expected \[4, E\]"),
        (lambda weights: weights["head.bias"][:, :0], {}, "found embeddings of width 0"),
        (
            lambda weights: torch.fft.fft(weights["head.bias"]),
            {},
            "found embeddings of torch.complex64, expected real",
        ),
        (Changed(torch.fft.fft), {}, "found embeddings of torch.complex64"),
        (
            Changed(torch.Tensor.half),
            {},
            "it learns, and its embeddings are torch.float16, expected torch.float32",
        ),
        (Changed(torch.Tensor.double), {}, "it learns, and its embeddings are torch.float64"),
        (torch.jit.script(Compiled()), {}, r"found in 'head.weight' no parameter that torch can train"),
        (nn.Sequential(torch.jit.script(Compiled())), {}, r"found in '0.head.weight' no parameter"),
        (head_bias, {"name": "flat_mlp"}, "name: found 'flat_mlp', the name of an installed encoder"),
        (head_bias, {"name": "a/b"}, "name: found 'a/b', expected at most 80 letters"),
        ("flat_mlp", {"name": "mine"}, "name: found 'mine' for the encoder 'flat_mlp', which has a name"),
        (head_bias, {"tracks": "frozen"}, "tracks: found 'frozen', but test_evaluate:head_bias has no parameters"),
        (Learned(), {"tracks": ["frozen", "fast"]}, "tracks: found 'fast', expected one of features"),
        (Learned(), {"tracks": "features"}, "or an encoder whose parameters require no gradient"),
        (Learned(), {"steps": 3}, "steps: found as an option, expected settings={'steps': ...}"),
        (Learned(), {"worker": 3}, "worker: found as an option, expected one of protocol, preset"),
        (head_bias, {"name": "mine.json"}, "name: found 'mine.json', expected a name that is none of a file"),
        (head_bias, {"preset": "slow"}, "preset: found 'slow', expected one of quick, paper"),
        (head_bias, {"settings": {"speed": 3}}, "settings: found 'speed', expected one of steps"),
        (":", {}, "encoder: found ':', expected one of layer_statistics"),
        ("mine.py", {}, "encoder: found 'mine.py', expected mine.py:Class"),
        (Learned(), {"settings": {"speed": 3}}, "settings: found 'speed', expected one of steps"),
        (head_bias, {"targets": "rotation"}, "targets: found 'rotation'"),
        ("mine/nothing.py:Mine", {}, "encoder: found 'mine/nothing.py:Mine', which could not be imported"),
        (
            "mine/pickle.py:Mine",
            {},
            r"which could not be imported|the module 'pickle' is .*pickle.py in this process",
        ),
    ],
)
def test_what_cannot_be_scored_is_an_error_before_any_work(encoder, fields, message, language_zoo, place):
    with pytest.raises(RnnzooError, match=message):
        evaluate(encoder, language_zoo, out=place / "results", quiet=True, **fields)
    assert not (place / "results").exists()


def test_none_stands_for_all_targets_and_the_usual_track(language_zoo):
    found = evaluate("step_only", language_zoo, None, None, seeds=1, quiet=True)
    assert [(one.track, one.target) for one in found.results] == [
        ("features", name) for name in ("offsets", "accuracy", "step")
    ]


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_features_may_be_of_any_real_kind(kind, language_zoo):
    evaluate(lambda weights: weights["head.bias"].to(kind), language_zoo, targets="step", seeds=1, quiet=True)


def test_another_module_of_the_name_is_not_taken_for_the_file(place):
    (place / "mine" / "pickle.py").write_text("dumps = 3\n")
    with pytest.raises(ParameterError, match=r"but the module 'pickle' is .*expected another file name"):
        load_encoder("mine/pickle.py:dumps", None)


def test_it_is_a_name_of_the_package():
    assert "evaluate" in dir(rnnzoo)
    assert Path(sys.modules[evaluate.__module__].__file__).name == "evaluation.py"
    assert isinstance(recipe_of(lambda weights: weights), GivenEncoder)


@pytest.mark.parametrize("threads", [None, 3])
def test_only_torch_uses_many_threads(threads, language_zoo, monkeypatch):
    """Readouts gain nothing by threads, and wait for them where another program holds a core."""
    found = []

    def spy(*job):
        found.append((torch.get_num_threads(), threadpool_info()))
        run_job(*job)

    monkeypatch.setattr(executors, "run_job", spy)
    before, pools_before = torch.get_num_threads(), threadpool_info()
    evaluate(head_bias, language_zoo, targets="step", threads=threads)
    ((of_torch, pools),) = found
    assert of_torch == (threads or before)
    others = [pool["num_threads"] for pool in pools if not Path(pool["filepath"]).is_relative_to(TORCH)]
    assert others
    assert set(others) == {1}
    assert (torch.get_num_threads(), threadpool_info()) == (before, pools_before)

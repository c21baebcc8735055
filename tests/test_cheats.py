"""Encoders that score without looking at weights: each is refused, told, or shown by a number in its result."""

import ast
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import labels_of, zoo_targets
from rnnzoo.loaders.benchmark.report.checks import check_cells
from rnnzoo.loaders.benchmark.request import Request, resolve
from rnnzoo.loaders.benchmark.results.content import as_stored
from rnnzoo.loaders.benchmark.results.files import read_emulation, read_result
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.benchmark.tracks.fresh_rows import score_fresh
from rnnzoo.loaders.benchmark.tracks.soundness import compute_soundly
from rnnzoo.loaders.encoders.base import check_encoder, load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError

LOADERS = Path(__file__).parent.parent / "loaders"
SHORT = (("steps", 2), ("validate_every", 1), ("models", 4), ("emulator_hidden", 8))
CHEATS = """
import hashlib
import torch
from torch import nn
from rnnzoo import Zoo
from rnnzoo.zoo_builder.rnn import flatten_weights


class Columns(nn.Module):
    group = "mechanistic"
    columns = ("step",)

    def __init__(self, population):
        super().__init__()

    def forward(self, weights, step):
        return step.float().unsqueeze(1)


class Place(nn.Module):
    '''Goes by the order of rows, once it has seen a real batch.'''

    def __init__(self, population):
        super().__init__()
        self.seen = 0

    def forward(self, weights):
        count = len(weights["head.bias"])
        if count <= 4:
            return torch.zeros(count, 1)
        self.seen += count
        return torch.arange(self.seen - count, self.seen).float().unsqueeze(1)


class Narrow(nn.Module):
    def __init__(self, population, width=5):
        super().__init__()
        self.head = nn.Linear(population.spec.output_size, width)

    def forward(self, weights):
        return self.head(weights["head.bias"])


class Lookup:
    def __init__(self, population, zoo=""):
        rows = Zoo(zoo).metadata.to_pylist()
        self.spec, self.known = population.spec, {row["sha256"]: row["step"] for row in rows}

    def __call__(self, weights):
        flat = flatten_weights(self.spec, weights).numpy()
        keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in flat]
        steps = sorted(set(self.known.values()))
        return torch.tensor([[float(self.known.get(key) == step) for step in steps] for key in keys])
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with `cheats.py`, in which the user stands."""
    (tmp_path / "cheats.py").write_text(CHEATS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnnzoo.loaders.benchmark.request.FITTED", ("linear",))
    monkeypatch.delitem(sys.modules, "cheats", raising=False)
    yield tmp_path
    sys.modules.pop("cheats", None)


@pytest.fixture(scope="module")
def loaded(language_zoo):
    return LoadedZoo(language_zoo)


def asked_for(zoo, place, encoder, **fields):
    return Request(str(zoo), encoder, place / "results", **{"targets": ("step",), "seeds": 1, **fields})


@pytest.mark.parametrize("encoder", ["cheats:Columns", "theirs", "rnnzoo.loaders.encoders.step_only:StepOnly"])
def test_metadata_are_for_controls_of_the_package_alone(encoder, language_zoo, loaded, place, monkeypatch):
    """Of a user's module, of an installed package, and by the location of a control."""
    point = SimpleNamespace(name="theirs", value="cheats:Columns")
    monkeypatch.setattr("rnnzoo.zoo_builder.plugins.entry_points", lambda group: [point])
    with pytest.raises(
        RnnzooError, match=r"encoder: .* reads the metadata step, which only controls of rnnzoo may"
    ):
        resolve(asked_for(language_zoo, place, encoder), loaded)


@pytest.mark.parametrize("name", ["step_only", "step", "oracle"])
def test_the_controls_may_read_them(name, language_zoo, loaded, place):
    (setting,), _ = resolve(asked_for(language_zoo, place, name), loaded)
    assert "step" in setting.columns
    assert setting.group == "control"


def test_an_encoder_that_goes_by_the_order_of_rows_gets_no_score(language_zoo, place):
    with pytest.raises(
        RnnzooError, match=r"encoder: found other outputs for .* checkpoints when they are computed again"
    ):
        run_benchmark(asked_for(language_zoo, place, "cheats:Place"))
    assert not list((place / "results").rglob("step-seed0.json"))


def counting(calls=[0]):  # noqa: B006 (it is the cheat)
    def compute(weights, rows):
        calls[0] += 1
        return weights["head.bias"] + calls[0]

    return compute


def remembering():
    """The n-th row of the first time is the n-th of the second."""
    kept, seen = [], [0]

    def compute(weights, rows):
        if seen[0] < 36:
            kept.extend(weights["head.bias"])
        found = torch.stack(kept[seen[0] % 36 :][: len(rows)])
        seen[0] += len(rows)
        return found

    return compute


UNSOUND = {
    "counts its calls": (counting(), "computed again"),
    "keeps a cache by place": (remembering(), "computed again"),
    "draws at random": (lambda weights, rows: torch.rand(len(rows), 3), "computed again"),
    "is random a little": (
        lambda weights, rows: weights["head.bias"] * (1 + 0.1 * torch.randn(len(rows), 1)),
        "computed again",
    ),
    "looks at the batch": (
        lambda weights, rows: weights["head.bias"] - weights["head.bias"].mean(0),
        "computed one",
    ),
    "ranks the batch": (lambda weights, rows: weights["head.bias"].argsort(dim=0).argsort(dim=0), "computed one"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_outputs_that_are_no_function_of_the_weights_are_told(name, loaded):
    compute, when = UNSOUND[name]
    with pytest.raises(RnnzooError, match=rf"other outputs for \d+ of \d+ checkpoints when they are {when}"):
        compute_soundly(loaded, compute, torch.arange(36).numpy(), seed=0)


@pytest.mark.parametrize(
    ("encoder", "least", "most"),
    [
        ("behaviour_statistics", 0, 0.05),
        ("weight_norm", 0.1, 3),
        ("flat_mlp", 0.3, 3),
        ("layer_statistics", 0.1, 3),
    ],
)
def test_how_far_function_preserving_copies_move_an_embedding(encoder, least, most, loaded):
    module = load_encoder(encoder, loaded.population).eval()
    rows = torch.arange(5, 36).numpy()
    outputs, moved = compute_soundly(loaded, lambda weights, rows: module(weights), rows, seed=0)
    assert torch.equal(torch.from_numpy(outputs[:1]).float(), torch.from_numpy(outputs[:1]).float())
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(outputs).float(), module(loaded.weights(rows)), rtol=1e-4, atol=1e-5
        )
    assert least <= moved <= most


@pytest.mark.parametrize("track", ["features", "frozen", "supervised"])
def test_results_say_how_far_copies_move_them(track, language_zoo, place):
    encoder = "weight_norm" if track == "features" else "cheats:Narrow"
    request = asked_for(
        language_zoo, place, encoder, tracks=(track,), overrides=() if track == "features" else SHORT
    )
    (path,) = run_benchmark(request)
    assert read_result(path).moves >= 0
    if track == "frozen":  # an embedding of five numbers drives the emulator
        assert read_result(path).embedding_size == 5
        assert read_emulation(path.parents[1] / "emulation" / "seed0.json").losses["ood"] > 0
        path.unlink()
        assert run_benchmark(request) == [path]


def test_a_batch_statistic_is_seen_before_any_work(loaded):
    with pytest.raises(RnnzooError, match="depends on the other models"):
        check_encoder(lambda w: w["head.bias"] - w["head.bias"].mean(dim=0), loaded.population)


def test_an_encoder_that_learns_gets_no_score_as_it_was_initialised(language_zoo, loaded, place):
    request = asked_for(language_zoo, place, "flat_mlp", tracks=("features",))
    with pytest.raises(
        RnnzooError, match=r"tracks: found 'features', but flat_mlp learns; expected frozen or supervised"
    ):
        resolve(request, loaded)


def test_a_lookup_of_published_weights_fails_on_a_fresh_zoo(language_zoo, place):
    lookup = asked_for(language_zoo, place, f"cheats:Lookup(zoo={str(language_zoo)!r})", fresh_seed=5)
    (path,) = run_benchmark(lookup)
    found = read_result(path)
    main = next(iter(found.scores["ood"]))
    assert found.scores["ood"][main] == 1
    assert found.fresh.seed == 5
    assert found.fresh.scores["ood"][main] == pytest.approx(1 / 3)
    assert found.fresh.gap["ood"] == pytest.approx(2 / 3)
    (board,) = read_results(place / "results")
    (line,) = check_cells(board)[1:]
    assert line[-1] == "0.333 (+0.667)"
    assert run_benchmark(lookup) == [path]
    with pytest.raises(RnnzooError, match="fresh_seed: found 0, the seed of the zoo itself"):
        run_benchmark(replace(lookup, fresh_seed=0))
    # The fresh zoo is kept beside the results; an honest control does as well on it, and is made anew for it.
    honest = asked_for(language_zoo, place, "weight_norm")
    (path,) = run_benchmark(honest)
    before = read_result(path)
    (path,) = run_benchmark(replace(honest, fresh_seed=5))
    after = read_result(path)
    assert before.fresh is None
    assert after.scores == before.scores
    assert abs(after.fresh.gap["ood"]) < 0.5
    (zoo,) = (place / "results-fresh").iterdir()
    run_benchmark(replace(honest, fresh_seed=5, protocol="paper"))  # which reports other tasks
    assert len(list((place / "results-fresh").iterdir())) == 2
    fresh = LoadedZoo(zoo)
    assert fresh.zoo.manifest.config["seed"] == 5
    assert set(fresh.column("split")) <= {"test", "ood"}
    published = LoadedZoo(language_zoo)
    trained = published.column("task_id")[published.column("split") == "train"]
    assert not set(fresh.column("task_id")) & set(trained)


def test_input_is_not_guarded_by_what_python_leaves_out():
    """`python -O` runs no assert."""
    found = {
        f"{path.relative_to(LOADERS)}:{node.lineno}"
        for path in LOADERS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    }
    assert not found


def test_a_zoo_has_no_gap_to_itself(digits_zoo):
    """Both sides are scored by one rule, also where a step is left out because nothing can be measured at it."""
    loaded = LoadedZoo(digits_zoo)
    target = next(target for target in zoo_targets(loaded) if target.name == "generalization_gap")
    noise = np.random.default_rng(0).normal(size=len(loaded))
    published = {}
    for split in ("test", "ood"):
        truth, steps, measured = labels_of(loaded, target, np.flatnonzero(loaded.column("split") == split))
        assert not measured.all()
        rows = np.flatnonzero(loaded.column("split") == split)
        published[split] = score(target, as_stored(truth), as_stored(noise[rows]), steps, measured=measured)
    found = score_fresh(loaded, target, lambda split, rows: noise[rows], published)
    for split, scores in published.items():
        known = {name: None if np.isnan(value) else value for name, value in scores.items()}
        assert found.scores[split] == known
    assert set(found.gap.values()) <= {0.0, None}

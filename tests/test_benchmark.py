"""The benchmark: partitions without leaks, readouts that find what is there, runs that resume, clear errors."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rnnzoo import Zoo
from rnnzoo.loaders.benchmark import executors
from rnnzoo.loaders.benchmark.evaluation import evaluate
from rnnzoo.loaders.benchmark.prediction.heads import TargetHead
from rnnzoo.loaders.benchmark.prediction.leakage import measure_leakage
from rnnzoo.loaders.benchmark.prediction.readout import fit_readout
from rnnzoo.loaders.benchmark.prediction.scores import score
from rnnzoo.loaders.benchmark.prediction.targets import choose_targets
from rnnzoo.loaders.benchmark.protocol import partition
from rnnzoo.loaders.benchmark.report.tables import target_tables
from rnnzoo.loaders.benchmark.request import Request, resolve
from rnnzoo.loaders.benchmark.results.content import SplitRows, Untrained, as_stored
from rnnzoo.loaders.benchmark.results.files import read_emulation, read_leakage, read_result, read_rows
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import WHOLE_NUMBERS, run_benchmark
from rnnzoo.loaders.benchmark.tracks.embedding import embed_parts, read_out
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import check_encoder, find_encoder, load_encoder, parse_encoder_name
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.splits import assign_splits
from rnnzoo.zoo_builder.tasks.formal_languages.family import LANGUAGES, FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import Rotation
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS, Target

SPEC = RNNSpec(6, 8, 6)
POPULATION = Population(SPEC, FormalLanguages.encoding, 41, family=FormalLanguages)
TARGETS = {kind: Target(kind, kind, kind) for kind in ("number", "class", "classes", "angle")}
RANDOM = np.random.default_rng(0)
SHORT = (("steps", 6), ("validate_every", 3), ("models", 8), ("emulator_hidden", 8))


@pytest.fixture(autouse=True)
def _short_but_for_the_test_of_how_good_they_are(request):
    if "readouts_find" not in request.node.name and "processes" not in request.node.name:
        request.getfixturevalue("short_readouts")


def request(zoo, tmp_path, encoder="layer_statistics", **fields):
    return Request(zoo=str(zoo), encoder=encoder, out=tmp_path / "results", **fields)


@pytest.mark.parametrize("zoo_name", ["language_zoo", "digits_zoo"])
def test_a_report_gives_the_scores_that_the_run_gave(request, zoo_name, tmp_path):
    """Also where a class is a float32 without a short decimal, as a weight decay is."""
    zoo = request.getfixturevalue(zoo_name)
    run_benchmark(Request(zoo=str(zoo), encoder="weight_norm", out=tmp_path, seeds=1))
    (board,) = read_results(tmp_path)
    results = {result.target: result for result in board.results}
    tables = target_tables(board, None)
    assert len(tables) == len(results) == (3 if zoo_name == "language_zoo" else 5)
    for table in tables:
        for split, scores in results[table.target.name].scores.items():
            for name, value in scores.items():
                estimate = table.lines[0].scores[split][name]
                if value is None:
                    assert estimate is None
                else:
                    assert estimate.mean == pytest.approx(value, rel=1e-5, abs=1e-6), (table.target.name, name)


def test_a_report_scores_against_the_truth_that_the_run_scored_against():
    """Accuracies of RNNs that have just begun differ by less than results tell apart."""
    accuracy = [4.2e-9, 5.4e-7, 2e-9, 0.03, 0.47]
    count = len(accuracy)
    rows = SplitRows(run=["r"] * count, task=["t"] * count, step=[0] * count, targets={"accuracy": accuracy})
    (target,) = (target for target in COMMON_TARGETS if target.name == "accuracy")
    assert rows.truth(target).tolist() == as_stored(np.array(accuracy)).tolist()
    assert len(set(rows.truth(target))) == count - 1


@pytest.mark.parametrize("large", [1e101, 1e300, -1e200])
def test_embeddings_that_readouts_cannot_square_are_refused(large, language_zoo, tmp_path):
    def encoder(weights):
        return large * weights["head.weight"].double().flatten(1)

    with pytest.raises(
        RnnzooError, match=r"found values of up to .*e\+\d+ in the embeddings, expected none beyond"
    ):
        evaluate(encoder, language_zoo, targets="step", seeds=1)


@pytest.mark.parametrize(
    ("encoder", "track", "expected"),
    [
        ("flat_mlp", "frozen", 'flat_mlp(form="published")'),
        ("flat_mlp", "supervised", 'flat_mlp(form="published")'),
        ("interactive_probing(length=4)", "frozen", 'interactive_probing(form="published", length=4)'),
        ('flat_mlp(form="own")', "frozen", 'flat_mlp(form="own")'),
        ("graph_network(channels=4)", "frozen", "graph_network(channels=4)"),
        ("weight_norm", "features", "weight_norm"),
    ],
)
def test_the_preset_paper_takes_published_forms(encoder, track, expected, language_zoo, tmp_path):
    for preset, named in [("paper", expected), ("quick", encoder)]:
        asked = request(language_zoo, tmp_path, encoder, tracks=(track,), preset=preset)
        (setting,), _ = resolve(asked, LoadedZoo(language_zoo))
        assert setting.encoder == named


def test_a_benchmark_as_in_the_paper_runs(language_zoo, tmp_path):
    settings = (("steps", 2), ("models", 4), ("validate_every", 1))
    given = {"preset": "paper", "overrides": settings, "targets": ("step",), "seeds": 1}
    asked = request(language_zoo, tmp_path, "noninteractive_probing(length=3)", **given)
    (path,) = run_benchmark(asked)
    result = read_result(path)
    assert result.encoder == 'noninteractive_probing(form="published", length=3)'
    assert result.published
    assert result.parameters > 1_100_000
    chosen = ("clipping", "draws", "emulator_form", "validation_draws", "validation_rollouts", "emulator_hidden")
    assert [result.training[field] for field in chosen] == ["apart", "epochs", "published", "random", 1, 256]
    assert run_benchmark(asked) == [path]  # nothing is made again


@pytest.mark.parametrize("readout", ["linear", "mlp", "trees"])
@pytest.mark.parametrize("kind", ["number", "class", "classes", "angle"])
def test_readouts_find_what_is_there(kind, readout):
    features = RANDOM.normal(size=(400, 5))
    truth = {
        "number": features @ np.array([1.0, -2, 0, 0, 3]),
        "class": 0.001 * (features[:, 0] > 0),
        "classes": np.stack([features[:, 0] > 0, 2.0 * (features[:, 1] > 0)], axis=1).astype(float),
        "angle": np.degrees(np.arctan2(features[:, 1], features[:, 2])) % 360,
    }[kind]
    target = TARGETS[kind]
    train, validation = (features[:300], truth[:300]), (features[300:350], truth[300:350])
    predictor, distance = fit_readout(readout, target, train, validation)
    prediction = predictor.predict(features[350:])
    assert prediction.shape == truth[350:].shape
    if kind.startswith("class"):
        assert (prediction == truth[350:]).mean() > 0.9
        assert distance < 0.1
    elif kind == "angle":
        assert score(target, truth[350:], prediction, np.zeros(50))["mean error (deg)"] < 15
    else:
        residual = np.var(prediction - truth[350:]) / np.var(truth[350:])
        assert residual < {"linear": 1e-4, "mlp": 0.05, "trees": 0.25}[readout]


def test_heads_turn_truths_into_outputs_and_back():
    offsets = np.array([[-3.0, 0], [2, 1], [2, 0]])
    head = TargetHead(TARGETS["classes"], offsets)
    assert head.width == 4
    certain = torch.tensor([[9.0, 0, 0, 9], [0, 9, 9, 0]])
    np.testing.assert_array_equal(head.predict(certain), [[-3, 1], [2, 0]])
    assert head.loss(certain, head.encode(np.array([[-3.0, 1], [2, 0]]))) < 0.01
    unseen = head.loss(certain, head.encode(np.array([[5.0, 1], [5, 0]])))  # 5 is no class of training
    assert unseen < 0.01
    angles = np.array([10.0, 350])
    head = TargetHead(TARGETS["angle"], angles)
    np.testing.assert_allclose(head.predict(head.encode(angles)), angles, atol=1e-4)
    numbers = np.array([0.2, 0.4, 0.9])
    head = TargetHead(TARGETS["number"], numbers)
    np.testing.assert_allclose(head.predict(head.encode(numbers)), numbers, atol=1e-6)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("name", ["language_zoo", "digits_zoo"])
def test_no_task_is_on_two_sides(name, protocol, request):
    loaded = LoadedZoo(request.getfixturevalue(name))
    parts = partition(loaded, protocol)
    tasks = loaded.column("task_id")
    sides = [parts.readout, parts.validation, *parts.reported.values()]
    names = [set(tasks[rows]) for rows in sides]
    assert sum(map(len, names)) == len(set.union(*names))
    assert set(parts.train) <= set(parts.readout)
    if protocol == "paper":
        assert set(loaded.column("paper_split")[parts.reported["ood"]]) == {"ood"}
        assert (loaded.column("paper_split")[parts.readout] == "ood").any()
    else:
        assert set(loaded.column("split")[parts.readout]) == {"train"}


def test_the_rim_of_the_training_tasks_lies_as_ood_does(language_zoo):
    loaded = LoadedZoo(language_zoo)
    parts = partition(loaded, "strict")
    sums, tasks = loaded.column("offsets").sum(axis=1), loaded.column("task_id")
    inner = np.setdiff1d(parts.readout, parts.rim)
    assert set(parts.rim) < set(parts.readout)
    assert not set(tasks[parts.rim]) & set(tasks[inner])
    assert sums[inner].max() < sums[parts.rim].min() <= sums[parts.rim].max() < sums[parts.reported["ood"]].min()
    assert not len(partition(loaded, "paper").rim)


def test_readouts_for_ood_are_chosen_on_the_rim(language_zoo, tmp_path):
    for path in run_benchmark(request(language_zoo, tmp_path, "invariant_statistics", seeds=1)):
        result = read_result(path)
        chosen = {"test": result.readout, "ood": result.ood_readout}
        for split, measured in (("test", "validation"), ("ood", "rim")):
            least = min(result.readouts, key=lambda name: getattr(result.readouts[name], measured))
            assert chosen[split] == least
            assert result.scores[split] == result.readouts[least].scores[split]
    (path,) = run_benchmark(request(language_zoo, tmp_path, "greedy_decode", seeds=1))
    assert set(read_result(path).readouts) == {"identity"}


class OneCheckpointATask:
    """What `partition` asks of a `LoadedZoo`."""

    def __init__(self, family, tasks):
        self.family, self.every = family, tasks
        self.splits = assign_splits(family, tasks, seed=0)

    def column(self, name):
        ids = [task.task_id for task in self.every]
        return np.array(ids if name == "task_id" else [getattr(self.splits, name)[task] for task in ids])

    def tasks(self, rows):
        return [self.every[row] for row in rows]


def test_the_paper_reports_the_half_of_the_ood_tasks_that_its_code_does():
    """Languages as their three offsets + 3."""
    tasks = LANGUAGES[::-1]
    reported = partition(OneCheckpointATask(FormalLanguages, tasks), "paper").reported["ood"]
    found = sorted("".join(str(m + 3) for m in tasks[row].offsets) for row in reported)
    assert " ".join(found) == "212 213 232 233 244 313 322 324 332 334 344 432 433 443 445 544"
    angles = [Rotation(rank / 4) for rank in range(64)]
    assert sorted(partition(OneCheckpointATask(SequentialImages, angles), "paper").reported["ood"]) == [
        53,
        54,
        57,
        58,
        62,
    ]


@pytest.mark.parametrize("name", ["language_zoo", "digits_zoo"])
@pytest.mark.parametrize("track", ["frozen", "supervised"])
def test_a_learned_encoder_from_training_to_results(name, track, tmp_path, request):
    zoo = request.getfixturevalue(name)
    asked = Request(str(zoo), "flat_mlp", tmp_path / "results", tracks=(track,), seeds=2, overrides=SHORT)
    paths = run_benchmark(asked)
    targets = choose_targets(LoadedZoo(zoo))
    assert len(paths) == len(set(paths)) == 2 * len(targets)
    rows = read_rows(paths[0].parents[2])
    for path in paths:
        result = read_result(path)
        assert result.training["steps"] == 6
        assert result.parameters == sum(
            p.numel() for p in find_encoder("flat_mlp")(LoadedZoo(zoo).population).parameters()
        )
        trained_only = rows.target(result.target).trained_only
        for split, predictions in result.predictions.items():
            assert len(predictions) == sum(step > 0 or not trained_only for step in rows.splits[split].step)
        assert result.readout in result.readouts
        assert [point.step for point in result.curve] == ([3, 6] if track == "supervised" else [])
        assert set(result.twin.readouts) == {"linear", "mlp", "trees"}
        assert result.twin.predictions.keys() == result.predictions.keys()
    if track == "frozen":
        found = read_emulation(paths[0].parents[1] / "emulation" / "seed0.json")
        assert set(found.losses) == {"validation", "test", "ood"}
        assert len(found.map["ood"]) == len(rows.splits["ood"].step)
    assert not list((tmp_path / "results").rglob("*.pt"))


@pytest.mark.parametrize("track", ["frozen", "supervised"])
def test_the_untrained_twin_is_the_encoder_of_the_seed_under_the_same_readouts(track, language_zoo, tmp_path):
    asked = request(language_zoo, tmp_path, targets=("accuracy",), overrides=SHORT, seeds=1)
    trained = read_result(run_benchmark(dataclasses.replace(asked, tracks=(track,)))[0])
    loaded = LoadedZoo(language_zoo)
    (setting,), (target,) = resolve(dataclasses.replace(asked, tracks=(track,)), loaded)
    embedded = embed_parts(loaded, setting, load_encoder(asked.encoder, loaded.population, 0), 0)
    found = read_out(loaded, setting, target, embedded, 0)
    assert Untrained(**{name: found[name] for name in Untrained.model_fields}) == trained.twin
    assert trained.twin.predictions != trained.predictions


def test_a_worker_opens_the_zoo_that_the_benchmark_began_with(language_zoo, digits_zoo, tmp_path):
    """A cluster keeps its workers, and the zoo that they have in memory, from one benchmark to the next."""
    folder = tmp_path / "zoo"
    folder.symlink_to(language_zoo)
    (before, after) = (str(Zoo(path).manifest.digest) for path in (language_zoo, digits_zoo))
    assert str(executors._open_zoo(str(folder), "cpu", None, before).zoo.manifest.digest) == before
    folder.unlink()
    folder.symlink_to(digits_zoo)
    assert str(executors._open_zoo(str(folder), "cpu", None, after).zoo.manifest.digest) == after
    with pytest.raises(RnnzooError, match=f"found the zoo {after}, expected something, with which"):
        executors._open_zoo(str(folder), "cpu", None, "something")


def test_the_same_request_does_nothing_twice_and_the_same_again_elsewhere(language_zoo, tmp_path, monkeypatch):
    asked = request(language_zoo, tmp_path, tracks=("frozen",), seeds=1, targets=("accuracy",), overrides=SHORT)
    (path,) = run_benchmark(asked)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("rnnzoo.loaders.benchmark.executors.run_job", lambda *_: pytest.fail("done again"))
        run_benchmark(asked)
    assert path.read_bytes() == before

    # More targets need no new training: the encoder is read back, and gives the same results.
    path.unlink()
    monkeypatch.setattr(
        "rnnzoo.loaders.benchmark.tracks.emulation.train_emulation", lambda *_: pytest.fail("trained again")
    )
    run_benchmark(dataclasses.replace(asked, targets=("accuracy", "step")))
    first, second = json.loads(before), json.loads(path.read_bytes())
    assert first["predictions"] == second["predictions"]


@pytest.mark.slow
def test_processes_give_the_same_results(language_zoo, tmp_path):
    asked = request(language_zoo, tmp_path, encoder="flat_mlp", tracks=("supervised",), targets=("accuracy",))
    asked = dataclasses.replace(asked, seeds=2, overrides=SHORT, threads=1)
    alone = [read_result(path) for path in run_benchmark(asked)]
    elsewhere = dataclasses.replace(asked, out=tmp_path / "others", workers=2)
    for ours, theirs in zip(alone, map(read_result, run_benchmark(elsewhere)), strict=True):
        assert ours.predictions == theirs.predictions


def test_results_made_otherwise_are_not_overwritten(language_zoo, tmp_path):
    asked = request(language_zoo, tmp_path, tracks=("supervised",), seeds=1, targets=("step",), overrides=SHORT)
    (path,) = run_benchmark(asked)
    before = path.read_bytes()
    with pytest.raises(RnnzooError, match=r"step-seed0\.json was made otherwise: setting models: found 8, exp"):
        run_benchmark(dataclasses.replace(asked, overrides=(*SHORT, ("models", 4))))
    assert path.read_bytes() == before


def test_an_encoder_that_knows_the_answer_is_seen_to_know_it(digits_zoo, tmp_path, monkeypatch):
    """A user's encoder by module:Class, here one that looks the accuracy up: the scores must show it."""
    (tmp_path / "oracle.py").write_text(
        "import hashlib, torch\n"
        "from rnnzoo import Zoo\n"
        "from rnnzoo.zoo_builder.rnn import flatten_weights\n"
        "class Oracle:\n"
        f"    rows = Zoo({str(digits_zoo)!r}).metadata.to_pylist()\n"
        "    known = {row['sha256']: row['accuracy'] for row in rows}\n"
        "    def __init__(self, population):\n"
        "        self.spec = population.spec\n"
        "    def __call__(self, weights):\n"
        "        flat = flatten_weights(self.spec, weights).numpy()\n"
        "        keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in flat]\n"
        "        return torch.tensor([[self.known.get(key, 0.0)] for key in keys])\n"
    )
    monkeypatch.chdir(tmp_path)
    known, guessed = (
        read_result(run_benchmark(request(digits_zoo, tmp_path, name, targets=("accuracy",), seeds=1))[0])
        for name in ("oracle:Oracle", "weight_norm")
    )
    assert known.track == guessed.track == "features"
    assert known.group == "user"
    assert known.scores["ood"]["R2"] > 0.99 > guessed.scores["ood"]["R2"]


def test_leakage_is_there_to_be_seen(language_zoo, tmp_path):
    loaded = LoadedZoo(language_zoo)
    scores = measure_leakage(loaded, FormalLanguages.targets[0])
    assert scores["checkpoint"]["exact task"] > 0.5  # the neighbour is a checkpoint of the same run
    assert scores["task"]["exact task"] == 0
    (path, *_) = run_benchmark(request(language_zoo, tmp_path, "weight_norm", targets=("step",)))
    assert read_leakage(path.parents[2]).scores == scores


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targets": ("rotation",)}, r"targets: found 'rotation', expected one of offsets"),
        ({"tracks": ("fast",)}, r"tracks: found 'fast', expected one of features, frozen, supervised"),
        ({"encoder": "step_only", "tracks": ("frozen",)}, "has no parameters to train; expected features"),
        ({"protocol": "lax"}, r"protocol: found 'lax', expected one of strict, paper"),
        ({"preset": "huge"}, r"preset: found 'huge', expected one of quick, paper"),
        ({"encoder": "nothing"}, "encoder: found 'nothing', expected one of layer_statistics"),
        ({"encoder": "flat_mlp(widths=3)"}, "could not be made"),
        ({"encoder": "flat_mlp(hidden=(-1,))"}, "could not be made: RuntimeError"),
        ({"encoder": "parameter_transformer(heads=0)"}, "could not be made: ZeroDivisionError"),
        (
            {"encoder": "universal_functional(layers=0)"},
            "(could not be made|failed on fresh models): RuntimeError",
        ),
        ({"encoder": "nowhere:Class"}, "could not be imported"),
        ({"encoder": "greedy_decode", "targets": ("step",)}, "can only say something of offsets"),
        ({"seeds": 0}, "seeds: found 0"),
        *(
            ({name: value}, f"{name}: found {value!r}, expected a whole number from")
            for name in WHOLE_NUMBERS
            for value in ("2", 2.5, -1, True)
        ),
        ({"seeds": None}, "seeds: found None, expected a whole number"),
        ({"threads": 0}, "threads: found 0, expected a whole number from 1 on"),
        ({"device": "tpu"}, "device: found 'tpu'"),
        ({"overrides": (("steps", 0),)}, "steps: found 0"),
        ({"overrides": (("loss", "l2"), *SHORT)}, "loss: found 'l2', expected one of total_variation"),
    ],
)
def test_requests_that_cannot_be_met(language_zoo, tmp_path, fields, message):
    with pytest.raises(RnnzooError, match=message):
        run_benchmark(request(language_zoo, tmp_path, **fields))


def test_a_zoo_an_encoder_cannot_take(digits_zoo, tmp_path):
    with pytest.raises(RnnzooError, match=r"greedy_decode|languages|tokens"):
        run_benchmark(request(digits_zoo, tmp_path, "greedy_decode"))


class Silent(torch.nn.Module):
    """Has a parameter that its output does not depend on."""

    def __init__(self):
        super().__init__()
        self.heard, self.unheard = (torch.nn.Parameter(torch.ones(6)) for _ in range(2))

    def forward(self, weights):
        return weights["head.bias"] * self.heard


class Detached(Silent):
    def forward(self, weights):
        return super().forward(weights).detach()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda w: w["head.bias"][0], "found an output of shape"),
        (lambda w: "text", "found an output of shape str"),
        (lambda w: w["head.bias"] * float("nan"), "not finite"),
        (lambda w: w["head.bias"].cumsum(dim=0), "depends on the other models"),
        (Silent(), "parameter 'unheard' takes no gradient"),
        (Detached(), "its output takes no gradient"),
    ],
)
def test_encoders_that_break_their_word(encoder, message):
    with pytest.raises(RnnzooError, match=message):
        check_encoder(encoder, POPULATION)


def test_names_with_options():
    assert parse_encoder_name("flat_mlp") == ("flat_mlp", {})
    assert parse_encoder_name("a:B(x=1, y='z')") == ("a:B", {"x": 1, "y": "z"})
    for text in ("flat_mlp(", "flat_mlp(3)", "flat_mlp(x=print())"):
        with pytest.raises(RnnzooError, match="encoder: found"):
            parse_encoder_name(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("x=1, x=2", "which says x twice; expected it once"),
        ("x=true", "in place of x=true: a number"),
        ("x=1, way=closed_loop", "in place of way=closed_loop: a number"),
        ("x={[]: 1}", "in place of x={[]: 1}: a number"),
        ("x=1)(y=2", "expected name or name(option=value"),
        ("x=1).a(y=2", "expected name or name(option=value"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(options, message):
    with pytest.raises(RnnzooError) as raised:
        parse_encoder_name(f"mine({options})")
    assert f"found 'mine({options})'" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_keeps_its_word(name, language_zoo, digits_zoo):
    for zoo in (language_zoo, digits_zoo):
        population = LoadedZoo(zoo).population
        if name in ("greedy_decode", "completion_probing") and not population.generates:
            continue
        first, again = (load_encoder(name, population, seed=1) for _ in range(2))
        assert check_encoder(first, population) > 0
        for one, other in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
            assert torch.equal(one, other)  # made from its seed

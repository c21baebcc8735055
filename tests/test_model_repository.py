"""Encoders and their scores on a hub: what is published, that it is checked, and that nothing else is touched."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from loopback_hub import WRITE_TOKEN, LoopbackHub
from safetensors.torch import load

from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.files import read_result
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.encoders.flat_mlp import FlatMLP
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.model_repository import push_results
from rnnzoo.loaders.model_repository.subject import find_dataset
from rnnzoo.zoo_builder.errors import RnnzooError

MODEL, DATASET = "org/encoder", "org/zoo"
SHORT = (("steps", 2), ("validate_every", 1), ("models", 4))
FROZEN = (*SHORT, ("emulator_hidden", 8))

pytestmark = pytest.mark.usefixtures("short_readouts")


@pytest.fixture
def hub(tmp_path, monkeypatch, language_release, digits_release):
    """A hub with both zoos, that this process's client talks to, with the right to write."""
    with LoopbackHub() as hub:
        hub.add_folder(DATASET, language_release, tags=["v1.0.0"])
        hub.add_folder("org/digits", digits_release, tags=["v1.0.0"])
        hub.take_over(monkeypatch, tmp_path / "home", WRITE_TOKEN)
        yield hub


@pytest.fixture(scope="module")
def measured(tmp_path_factory, language_zoo, digits_zoo):
    """Results of several encoders and tracks on both zoos."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.loaders.benchmark.request.FITTED", ("linear",))
        out = tmp_path_factory.mktemp("results")
        for zoo, encoder, track, overrides in (
            (language_zoo, "weight_norm", "features", ()),
            (language_zoo, "flat_mlp", "frozen", FROZEN),
            (language_zoo, "flat_mlp", "supervised", SHORT),
            (digits_zoo, "weight_norm", "features", ()),
        ):
            command = f"zoo-bench run --zoo {DATASET} --encoder {encoder}"
            made = {"tracks": (track,), "out": out, "seeds": 2, "overrides": overrides, "command": command}
            run_benchmark(Request(str(zoo), encoder, **made))
    return out


@pytest.fixture
def results(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "results")


def published(hub):
    return hub.files(MODEL, kind="models")


def scores_of(hub):
    """The entries of a model as the hub's own client reads them, by task."""
    files = {name: content for name, content in published(hub).items() if name.startswith(".eval_results/")}
    found = parse_eval_result_entries([entry for content in files.values() for entry in yaml.safe_load(content)])
    return {entry.task_id: entry for entry in found}


def test_scores_are_those_of_the_results_and_tasks_those_of_the_data_set(hub, results):
    push_results(results, MODEL, DATASET, "weight_norm")
    scores = scores_of(hub)
    tasks = {task["id"] for task in yaml.safe_load(hub.files(DATASET)["eval.yaml"])["tasks"]}
    assert {"offsets_test", "offsets_ood", "step_ood"} <= set(scores) <= tasks
    board = results / "formal_languages/strict/weight_norm/features"
    for task, entry in scores.items():
        target, _, split = task.rpartition("_")
        seeds = [read_result(path).scores[split] for path in board.glob(f"{target}-seed*.json")]
        name = {"offsets": "exact task", "accuracy": "tau within a step", "step": "accuracy"}[target]
        assert entry.value == pytest.approx(sum(score[name] for score in seeds) / len(seeds), rel=1e-5)
        assert entry.dataset_id == DATASET
        assert entry.dataset_revision == hub.repositories["datasets", DATASET].resolve("v1.0.0")
        assert entry.source_url == f"https://huggingface.co/{MODEL}/tree/main/results"
        assert len(entry.date) == len("2026-12-31")


@pytest.mark.parametrize(("encoder", "track"), [("weight_norm", "features"), ("flat_mlp", "frozen")])
def test_what_is_published_names_no_folder_of_the_machine(hub, results, encoder, track):
    board = results / f"formal_languages/strict/{encoder}"
    for path in board.rglob("*.json"):
        file = json.loads(path.read_text())
        path.write_text(json.dumps(file | {"command": "zoo-bench run --zoo /home/me/zoo --out /home/me/here"}))
    push_results(results, MODEL, DATASET, encoder, track)
    written = {name: content for name, content in published(hub).items() if not name.endswith(".safetensors")}
    assert not [name for name, content in written.items() if b"/home/me" in content]
    assert json.loads(written["config.json"])["commands"] == ["zoo-bench run --zoo zoo --out here"]
    made = [name for name in written if name.startswith("results/") and not name.endswith("rows.json")]
    assert len(made) > 1
    assert all(json.loads(written[name])["command"] == "zoo-bench run --zoo zoo --out here" for name in made)


def test_only_scores_of_which_more_is_better_are_published(hub, results):
    push_results(results, MODEL, "org/digits", "weight_norm")
    notes = {task: entry.notes for task, entry in scores_of(hub).items()}
    assert notes["rotation_ood"].startswith("within 15 deg, track features, 1 seed, 95 % interval: ")
    assert not any("error" in note for note in notes.values())


@pytest.mark.parametrize(("track", "name"), [("frozen", "seed1"), ("supervised", "offsets-seed1")])
def test_a_trained_encoder_is_published_with_its_weights(hub, results, language_zoo, tmp_path, track, name):
    push_results(results, MODEL, DATASET, "flat_mlp", track)
    files = published(hub)
    population = LoadedZoo(language_zoo).population
    encoder, other = FlatMLP(population), FlatMLP(population)
    encoder.load_state_dict(load(files[f"encoder/{name}.safetensors"]))
    assert not torch.equal(next(encoder.parameters()), next(other.parameters()))
    card = ModelCard(files["README.md"].decode())
    assert card.data.to_dict()["datasets"] == [DATASET]
    assert "seed0.safetensors" in card.text
    config = json.loads(files["config.json"])
    assert config["encoder"] == "flat_mlp"
    assert any(file.endswith("flat_mlp.py") for file in config["code"])
    for file, content in files.items():
        if file.startswith("results/"):
            (tmp_path / "copy" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "copy" / file).write_bytes(content)
    assert "flat_mlp" in make_report(tmp_path / "copy/results", tmp_path, baselines=False)


def test_the_command(hub, results, bench):
    push = ("push", results, MODEL, "--encoder", "flat_mlp", "--track", "frozen")
    code, listed, _ = bench(*push, "--dry-run")
    assert code == 0
    assert ".eval_results/offsets.yaml" in listed
    assert ("models", MODEL) not in hub.repositories
    code, _, err = bench(*push)
    assert code == 0, err
    assert scores_of(hub)["offsets_test"].dataset_id == DATASET
    code, _, err = bench("push", results, MODEL)
    assert code == 2
    assert "--encoder: found none, expected one of flat_mlp, weight_norm" in err


@pytest.mark.parametrize(
    "command",
    [
        f"rnnzoo.evaluate(mine, '{DATASET}', seeds=2)",
        f"zoo-bench run --zoo {DATASET}",
        f"rnnzoo.evaluate(mine, '{DATASET}@v1.0.0')",
        f"zoo-bench run --zoo {DATASET}@v1.0.0 --seeds 2",
    ],
)
def test_the_data_set_is_the_one_that_was_benchmarked(hub, results, command):
    shutil.rmtree(results / "sequential_digits")
    for path in results.rglob("*-seed*.json"):
        values = json.loads(path.read_bytes())
        path.write_text(json.dumps(values | {"command": command}))
    push_results(results, MODEL, encoder="weight_norm")
    assert scores_of(hub)["step_ood"].dataset_id == DATASET


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"encoder": "nobody"}, "encoder: found nobody, expected one of flat_mlp, weight_norm"),
        ({"encoder": "flat_mlp"}, "track: found none, expected one of frozen, supervised"),
        ({"dataset": "zoo", "encoder": "weight_norm"}, "dataset: found 'zoo', expected the form"),
        ({"dataset": "org/nothing", "encoder": "weight_norm"}, "org/nothing"),
        ({"repo_id": "model"}, "repository: found 'model', expected the form 'org/name'"),
    ],
)
def test_what_cannot_be_published_is_named(hub, results, words, message):
    with pytest.raises(RnnzooError, match=message):
        push_results(results, **({"repo_id": MODEL, "dataset": DATASET} | words))
    assert ("models", MODEL) not in hub.repositories


def test_results_of_another_zoo_are_refused(hub, results):
    shutil.rmtree(results / "formal_languages")
    with pytest.raises(
        RnnzooError, match=r"found results of the zoo .*, expected .*, that of org/zoo at v1\.0\.0"
    ):
        push_results(results, MODEL, DATASET)


def test_a_data_set_without_a_leaderboard_is_refused(hub, results, language_release, tmp_path):
    folder = shutil.copytree(language_release, tmp_path / "without")
    (folder / "eval.yaml").write_text("tasks: 3")
    hub.add_folder("org/without", folder, tags=["v1.0.0"])
    with pytest.raises(RnnzooError, match=r"eval\.yaml: not the form of a leaderboard"):
        push_results(results, MODEL, "org/without", "weight_norm")


def test_ids_of_a_leaderboard_are_texts(hub, language_release, tmp_path):
    """Aliases of YAML can stand for texts that fill the memory."""
    folder = shutil.copytree(language_release, tmp_path / "bomb")
    lists = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = "\n".join(["l0: &l0 [x]", *lists, "tasks: [{id: *l11}, {id: step}]"])
    (folder / "eval.yaml").write_text(text)
    hub.add_folder("org/bomb", folder, tags=["v1.0.0"])
    assert find_dataset("org/bomb").tasks == {"step"}


def test_somebody_elses_model_is_left_alone(hub, results, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/model.bin").write_text("not ours")
    hub.create(MODEL, "models")
    repository = hub.repositories["models", MODEL]
    repository.commit("main", {"model.bin": hub.storage.add(b"not ours")}, "theirs")
    with pytest.raises(RnnzooError, match=r"found 'model\.bin', which zoo-bench did not write"):
        push_results(results, MODEL, DATASET, "weight_norm")
    assert published(hub) == {"model.bin": b"not ours"}
    push_results(results, MODEL, DATASET, "weight_norm", replace=True)
    assert "model.bin" not in published(hub)
    push_results(results, MODEL, DATASET, "flat_mlp", "frozen")
    assert not any("weight_norm" in name for name in published(hub))

"""The command `zoo-builder` as a user meets it: exit codes, messages, files."""

import json

import numpy as np
import pytest

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import ZooPlan
from rnnzoo.zoo_builder.pipeline.estimate import estimate_build
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import PRESETS, config_of, resolve_config

LANGUAGES = ["build", "formal_languages", "--out", "x"]
QUICK = ["--runs", "4", "--steps", "3", "--set", "sampled_strings=10", "--hidden-size", "4", "--kernel", "torch"]


def test_build_verify_and_info(builder, tmp_path):
    zoo = tmp_path / "zoo"
    command = ["build", "formal_languages", "--out", zoo, *QUICK, "--cell", "gru", "--num-layers", "1"]
    code, out, err = builder(*command)
    assert code == 0, err
    assert "4 runs of 3 steps, into" in out
    assert "with kernel torch-cpu" in out
    assert "finished" in out
    assert "step" in err  # progress
    code, out, err = builder("verify", zoo, "--kernel", "torch")
    assert code == 0, err
    assert out.count("ok  ") == 8
    code, out, err = builder("info", zoo)
    assert code == 0, err
    assert "L(" not in out
    assert "4 runs of 3 steps" in out
    assert "1-layer gru with 4 units" in out
    assert (zoo / "overview.png").stat().st_size > 20_000
    code, out, err = builder(*command)
    assert code == 0
    assert "holds a finished zoo" in out


def test_parts_are_merged(builder, tmp_path):
    parts = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(parts, start=1):
        code, out, err = builder("build", "formal_languages", "--out", folder, *QUICK, "--part", f"{number}/2")
        assert code == 0, err
        assert f"part {number}/2 is built" in out
    code, _, err = builder("verify", parts[0])
    assert code == 2
    assert "an unfinished zoo" in err
    assert "zoo-builder merge" in err
    code, _, err = builder("merge", parts[0], "--out", tmp_path / "zoo")
    assert code == 2
    assert "missing or broken in all parts; missing: " in err
    code, out, err = builder("merge", *parts, "--out", tmp_path / "zoo")
    assert code == 0, err
    assert "finished" in out
    code, out, err = builder("verify", tmp_path / "zoo", "--kernel", "torch")
    assert code == 0, err


def test_a_broken_zoo_is_mended_by_the_commands_that_are_named(builder, tmp_path):
    build = ["build", "formal_languages", *QUICK, "--set", "runs_per_shard=1", "--out"]
    zoo, new = tmp_path / "zoo", tmp_path / "new"
    assert builder(*build, zoo)[0] == 0
    broken = sorted((zoo / "weights").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:-1])
    code, _, err = builder("verify", zoo)
    assert code == 2
    assert f"{zoo}: not a sound zoo; `merge` takes its sound shards into a new folder" in err
    code, _, err = builder("merge", zoo, "--out", new)
    assert code == 2
    assert f"broken: {broken}: found " in err
    assert "a build of the same zoo in this folder adds what is named" in err
    assert builder(*build, new)[0] == 0
    code, _, err = builder("verify", new, "--kernel", "torch", "--against", zoo)
    assert code == 0, err


def test_a_broken_zoo_fails_verify_with_2(builder, copied):
    (copied / "splits.json").write_text("{}")
    code, _, err = builder("verify", copied)
    assert code == 2
    assert "FAIL  files" in err
    assert "splits.json: found 2 bytes" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "gru_zoo", "--out", "x"], "zoo: found 'gru_zoo', expected one of formal_languages, "),
        (
            [*LANGUAGES, "--preset", "huge"],
            "preset: found 'huge', expected one of smoke",
        ),
        ([*LANGUAGES, "--colour", "red"], "No such option"),
        (["build"], "Missing argument 'ZOO'"),
        (["build", "formal_languages"], "Missing option '--out'"),
        ([*LANGUAGES, "--runs", "0"], "--runs: found 0: Input should be greater"),
        ([*LANGUAGES, "--runs", "many"], "Invalid value for '--runs'"),
        (
            [*LANGUAGES, "--set", "learning_rate"],
            "--set: found 'learning_rate', expected FIELD=VALUE with a field of",
        ),
        ([*LANGUAGES, "--set", "colour=red"], "expected FIELD=VALUE with a field of zoo, preset, family, "),
        (
            [*LANGUAGES, "--set", "learning_rate=fast"],
            "--set: learning_rate: found 'fast': Input should be a valid",
        ),
        ([*LANGUAGES, "--set", "learning_rate=0.5:1"], "learning_rate: found knots at [0.5], expected rising"),
        ([*LANGUAGES, "--set", "checkpoints=0,7"], "expected rising steps that end at 1000"),
        ([*LANGUAGES, "--set", "zoo=sequential_mnist"], "zoo: found 'sequential_mnist', expected one of formal"),
        ([*LANGUAGES, "--set", "rollouts=5000"], "rollouts: found 5000, expected at most 300, the sequences"),
        ([*LANGUAGES, "--set", "source=digits"], "source: found 'digits', expected none"),
        ([*LANGUAGES, "--set", "batch_size=0"], "--set: batch_size: found '0': Input should be greater"),
        ([*LANGUAGES, "--set", "batch_size=2", "--set", "batch_size=3"], "--set: found 'batch_size' twice"),
        ([*LANGUAGES, "--runs", "3", "--set", "runs=4"], "--runs: found 3 here and 4 set, expected one of them"),
        ([*LANGUAGES, "--cell", "elman"], "--cell: found 'elman', expected one of"),
        (
            [*LANGUAGES, "--device", "tpu"],
            "--device: found 'tpu', expected one of auto",
        ),
        (
            ["build", "sequential_mnist", "--out", "x", "--mnist", "nowhere"],
            "--mnist/--items: found nothing at nowhere, expected a folder",
        ),
        ([*LANGUAGES, "--part", "3/2"], "--part: found '3/2', expected i/n"),
        ([*LANGUAGES, "--workers", "0"], "Invalid value for '--workers'"),
        ([*LANGUAGES, "--ray", "local", "--workers", "2"], "--workers: found 2 together with ray"),
        ([*LANGUAGES, "--ray", "local", "--workers", "2", "--dry-run"], "--workers: found 2 together with ray"),
        ([*LANGUAGES, "--store", "file:///x", "--dry-run"], "--store: found file:///x without ray"),
        ([*LANGUAGES, "--gpus-per-task", "0.5", "--dry-run"], "--gpus-per-task: found 0.5 without ray"),
        (["merge", "nowhere", "--out", "x"], "nowhere: expected a part of a zoo, found no .build/plan.json in it"),
        (["merge", "--out", "x"], "Missing argument 'PART_FOLDER...'"),
        (["verify", "nowhere"], "nowhere: not a zoo"),
        (["info", "nowhere"], "nowhere: not a zoo"),
        (["available", "--mnist", "nowhere"], "--mnist/--items: found nothing at nowhere, expected a folder"),
        (["available", "--items", "nowhere"], "--mnist/--items: found nothing at nowhere, expected a folder"),
    ],
)
def test_bad_input_exits_with_2_and_leaves_nothing(builder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = builder(*arguments)
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
    assert not list(tmp_path.rglob("*"))


def test_another_config_in_the_folder_exits_with_2(builder, language_zoo):
    code, _, err = builder("build", "formal_languages", "--out", language_zoo, *QUICK)
    assert code == 2
    assert "holds a zoo of another config" in err
    assert "runs is 12 there, 4 was asked for; steps is 100 there, 3 was asked for; " in err


def test_a_dry_run_says_what_a_build_comes_to_and_writes_nothing(builder, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    command = ["build", "formal_languages", "--out", zoo, *QUICK, "--set", "runs_per_shard=1"]
    code, out, err = builder(*command, "--dry-run")
    assert code == 0, err
    assert "4 runs, 8 checkpoints in 4 shards, 0.0 MB" in out
    assert "with kernel torch-cpu, at " in out
    assert not zoo.exists()
    builder(*command, "--part", "1/2")
    code, out, err = builder(*command, "--dry-run")
    assert code == 0, err
    assert "2 of 4 shards are built; to build:\n2 runs, 4 checkpoints in 2 shards" in out
    code, out, err = builder(*command, "--dry-run", "--part", "1/2")
    assert code == 0, err
    assert out.endswith("2 of 2 shards are built; to build:\n0 runs, 0 checkpoints in 0 shards, 0.0 MB\n")
    code, _, err = builder(*command, "--dry-run", "--seed", "3")
    assert code == 2
    assert "seed is 0 there, 3 was asked for" in err


def test_a_dry_run_needs_no_network(builder, tmp_path, monkeypatch):
    def no_network():
        raise RnnzooError("MNIST is out of reach")

    monkeypatch.delenv("RNNZOO_MNIST_DIR", raising=False)
    monkeypatch.setattr("rnnzoo.zoo_builder.tasks.sequential_images.images.mnist_from_hub", no_network)
    few = ["--set", "evaluation_items=20", "--set", "batch_size=2"]
    code, out, err = builder("build", "sequential_mnist", "--out", tmp_path / "zoo", *QUICK, *few, "--dry-run")
    assert code == 0, err
    assert "4 runs, 8 checkpoints" in out
    assert "the time is that of digits" in out


def test_size_and_time_of_a_dry_run_are_those_of_the_build(language_zoo):
    manifest = read_manifest(language_zoo)
    config = config_of(manifest.config, "test")
    plan = ZooPlan(config, config.make_family())
    estimate = estimate_build(plan, plan.shards, TorchKernel())
    assert estimate.bytes == pytest.approx(sum(entry.bytes for entry in manifest.files.values()), rel=0.1)
    assert estimate.seconds > config.runs * config.steps / estimate.model_steps_a_second > 0


def test_facts_for_programs(builder, language_zoo, copied):
    code, out, _ = builder("info", language_zoo, "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["zoo"], facts["config"]["runs"], facts["checkpoints"]) == ("formal_languages", 12, 36)
    assert [row["step"] for row in facts["steps"]] == [0, 40, 100]
    (copied / "splits.json").write_text("{}")
    code, out, _ = builder("verify", copied, "--json")
    found = json.loads(out)
    assert code == 2
    assert not found["sound"]
    assert [check["name"] for check in found["checks"] if not check["passed"]][:1] == ["files"]
    code, out, _ = builder("available", "--json")
    zoos = {each["zoo"]: each for each in json.loads(out)}
    assert code == 0
    assert zoos["formal_languages"] == {"zoo": "formal_languages", "available": True, "why_not": None}


@pytest.mark.parametrize("zoo", ZOOS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_and_survives_json(zoo, preset):
    config = resolve_config(zoo, preset)
    assert config_of(config.to_dict(), "test") == config
    assert config.checkpoints[0] == 0
    for steps in (300, 300.0, "300", np.int64(300)):
        assert resolve_config(zoo, preset, {"steps": steps}).checkpoints == (0, 100, 200, 300)
    few = {"sampled_strings": 60.0, "evaluation_items": "60"}
    assert resolve_config(zoo, preset, few).rollouts == 60
    with pytest.raises(RnnzooError, match=r"steps: found 300\.5"):
        resolve_config(zoo, preset, {"steps": 300.5})


@pytest.mark.parametrize(
    ("zoo", "source"),
    [
        ("formal_languages", "NONE"),
        ("sequential_mnist", "digits"),
        ("sequential_mnist", "MNIST"),
        ("combination_locks_6", "4"),
    ],
)
def test_the_items_of_a_named_zoo_are_its_own(zoo, source):
    with pytest.raises(RnnzooError, match=f"source: found '{source}', expected .*, that of {zoo}"):
        resolve_config(zoo, "smoke", {"source": source})


def test_the_paper_preset_is_the_papers():
    config = resolve_config("sequential_mnist", "paper")
    assert (config.runs, config.steps, config.batch_size) == (1000, 20_000, 32)
    assert (config.num_layers, config.hidden_size) == (2, 32)
    assert config.checkpoints == (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
    assert config.learning_rate == ((0, 0.01), (0.5, 0.003), (1, 0.0003))
    assert config.weight_decays == (0.0, 0.001, 0.01, 0.1)
    assert (config.sampled_strings, config.rollouts) == (1000, 100)
    assert resolve_config("formal_languages", "paper").weight_decays == (1e-4,)


def foreign(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


def other_build(folder):
    (folder / ".build").mkdir(parents=True)
    config = resolve_config("formal_languages", "smoke", {"seed": 7})
    (folder / ".build" / "plan.json").write_text(json.dumps(config.to_dict()))


def linked_room(folder):
    folder.mkdir()
    (folder / "weights").symlink_to(folder.parent)


UNFIT = {
    "a foreign file": (foreign, "found 'notes.txt' in it, expected an empty folder"),
    "a file": (lambda folder: folder.write_text("mine"), "a file, expected a folder to build in"),
    "a link": (lambda folder: folder.symlink_to("nowhere"), "a link that leads nowhere, expected a folder"),
    "a room that is a link": (linked_room, "a link, expected a folder or none"),
    "another build": (other_build, "seed is 7 there, 0 was asked for"),
}


@pytest.mark.parametrize("inner", ["", "inner"])
@pytest.mark.parametrize("kind", UNFIT)
def test_a_folder_that_no_zoo_can_be_built_in(kind, inner, builder, tmp_path):
    """A dry run and a build say the same, before anything is trained."""
    spoil, message = UNFIT[kind]
    spoil(tmp_path / "out")
    if inner and kind not in ("a file", "a link"):
        return
    before = sorted(tmp_path.rglob("*"))
    said = []
    for more in (["--dry-run"], [], ["--part", "1/2"]):
        code, _, err = builder("build", "formal_languages", "--out", tmp_path / "out" / inner, *QUICK, *more)
        assert code == 2
        assert message in err
        assert "model-steps" not in err
        said.append(err)
    assert len(set(said)) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["build", "formal_languages", "--out", "{}"],
        ["build", "formal_languages", "--out", "{}", "--dry-run"],
        ["merge", "{}", "--out", "x"],
        ["verify", "{}"],
        ["verify", "{}", "--unfinished"],
        ["info", "{}"],
        ["import", "{}", "--out", "x"],
    ],
)
def test_a_name_that_is_too_long_is_an_error_and_no_bug(words, builder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = builder(*(word.format("a" * 300) for word in words))
    assert code == 2
    assert "aaa: cannot be looked into: File name too long" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["build", "formal_languages", "--out", ""], "--out"),
        (["build", "formal_languages", "--out="], "--out"),
        (["build", "formal_languages", "--out", "x", "--mnist", ""], "--mnist"),
        (["build", "", "--out", "x"], "ZOO"),
        (["merge", "", "--out", "x"], "PART_FOLDER..."),
        (["merge", "x", "--out", ""], "--out"),
        (["verify", ""], "ZOO"),
        (["verify", "x", "--against", ""], "--against"),
        (["info", "", "--json"], "ZOO"),
        (["info", "x", "--json", ""], "ZOO"),
        (["info", "x", "--figure="], "--figure"),
        (["release", "x", "--out", ""], "--out"),
        (["card", "x", "--out", ""], "--out"),
        (["push", "x", ""], "FOLDER or ORG/NAME"),
        (["import", "x", "--out", ""], "--out"),
        (["export", "", "--out", "x"], "ZOO"),
    ],
)
def test_an_empty_text_is_no_path(words, named, builder, tmp_path, monkeypatch):
    """As an unset variable of the shell leaves one: it would be the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    code, _, err = builder(*words)
    assert code == 2
    assert f"{named}: found an empty text, expected a value; a variable may be unset" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["build", "sequential_mnist", "--out", "x"], ["available"], ["verify", "x"]])
@pytest.mark.parametrize("option", ["--mnist", "--items"])
def test_items_are_in_a_folder(option, command, builder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for place, found in (("missing", "nothing"), ("file", "a file")):
        code, _, err = builder(*command, option, place)
        assert code == 2
        assert f"--mnist/--items: found {found} at {place}, expected a folder" in err


def test_a_variable_that_names_no_folder_matters_where_items_are_read(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("RNNZOO_MNIST_DIR", "missing")
    code, _, err = builder("build", "sequential_mnist", "--out", tmp_path / "zoo")
    assert code == 2
    assert "MNIST folder: missing is not a folder" in err
    code, _, err = builder("build", "formal_languages", "--out", tmp_path / "zoo", *QUICK)
    assert code == 0, err

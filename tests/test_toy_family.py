"""Families of tasks from another package go through every command: nothing in the product knows them by name."""

import logging
import math
import os
import shutil
import subprocess
import sys
from functools import partial

import pyarrow.parquet as pq
import pytest
import torch
import toy_family
from commands import exit_code
from datasets import load_dataset
from loopback_hub import WRITE_TOKEN, LoopbackHub
from toy_family.shifted import ShiftedSymbols
from toy_family.words import CountingWords

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.release import push_release
from rnnzoo.zoo_builder.tasks import FAMILIES, ZOOS, family_names, find_family, installed_families
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.tasks.family import HEAT_MAP_CAPTION
from rnnzoo.zoo_builder.tasks.pictures import Colouring

pytestmark = pytest.mark.usefixtures("short_readouts")

BUILD = [
    "--runs",
    "10",
    "--steps",
    "40",
    "--set",
    "checkpoints=0,20,40",
    "--hidden-size",
    "6",
    "--num-layers",
    "1",
]
BUILD += ["--set", "evaluation_items=15", "--set", "sampled_strings=20", "--set", "rollouts=5"]
BUILD += ["--set", "runs_per_shard=3"]
BUILD += ["--kernel", "torch"]
FAMILY_OF = {"counting_words": CountingWords, "shifted_letters": ShiftedSymbols}
COLUMNS = {"counting_words": {"multiple", "more", "stopped"}, "shifted_letters": {"places", "alphabet"}}
both = pytest.mark.parametrize("name", FAMILY_OF)
run, bench = partial(exit_code, "zoo-builder"), partial(exit_code, "zoo-bench")


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory):
    """A folder of installed packages that holds the toy families, for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("site-packages")
    toy_family.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
        yield folder


@pytest.fixture(scope="module")
def toy_zoos(site, tmp_path_factory):
    """Name -> folder of a finished zoo of a toy family. Not to be changed."""
    folder = tmp_path_factory.mktemp("toy-zoos")
    for name in FAMILY_OF:
        assert run("build", name, "--out", folder / name, *BUILD) == 0
    return {name: folder / name for name in FAMILY_OF}


@pytest.fixture(scope="module")
def toy_releases(toy_zoos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy-releases")
    for name, zoo in toy_zoos.items():
        assert run("release", zoo, "--out", folder / name, "--outputs", "--kernel", "torch") == 0
    return {name: folder / name for name in toy_zoos}


# --- found by its entry point


def test_a_new_process_finds_the_families():
    command = [sys.executable, "-m", "rnnzoo.zoo_builder", "build", "no_such_zoo", "--out", "x"]
    found = subprocess.run(command, capture_output=True, text=True)
    own = [zoo for name in FAMILIES for zoo in find_family(name).zoos]
    assert found.returncode == 2
    assert f"expected one of {', '.join([*own, 'counting_words'])}" in found.stderr


BROKEN = """[rnnzoo.families]
missing = toy_family.no_such_module:Family
no_family = toy_family.words:Word
formal_languages = toy_family.words:CountingWords
counting_words = toy_family.words:CountingWords
"""


def test_a_broken_entry_point_leaves_the_others_alone(tmp_path, monkeypatch, caplog):
    toy_family.install(tmp_path, BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.WARNING):
        names = [family.name for family in installed_families()]
    assert set(names) >= {*FAMILIES, "counting_words"}
    assert not {"missing", "no_family"} & set(names)
    assert "'missing' could not be imported from toy_family.no_such_module:Family" in caplog.text
    assert find_family("formal_languages").__module__.startswith("rnnzoo.")  # the product's own stays its own
    with pytest.raises(
        RnnzooError, match=r"found toy_family.words:Word under the name 'no_family', expected a Task"
    ):
        find_family("no_family")
    with pytest.raises(RnnzooError, match=r"found 'nothing', expected one of formal_languages, .*counting_words"):
        find_family("nothing")


NOTHING_SAID = "class Bare(TaskFamily):\n    name = 'bare'\n"


def test_what_a_family_does_not_say_is_named(tmp_path, monkeypatch):
    (tmp_path / "bare_family.py").write_text(
        f"from rnnzoo.zoo_builder.tasks.family import TaskFamily\n{NOTHING_SAID}"
    )
    toy_family.install(tmp_path, "[rnnzoo.families]\nbare = bare_family:Bare\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RnnzooError, match=r"'bare': bare_family:Bare has no zoos, encoding, .*, load, out_of_"):
        find_family("bare")
    assert "formal_languages" in [family.name for family in installed_families()]


TWINS = """
import toy_family.words
class {name}(toy_family.words.CountingWords):
    name = "{family}"
    zoos = {{zoo: toy_family.words.CountingWords.zoos["counting_words"] for zoo in {zoos!r}}}
"""


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """Two packages more, with a family of one name, and with other families that have a zoo of one name."""
    families = {
        "one": ("twin", ["first"]),
        "two": ("twin", ["second"]),
        "three": ("third", ["shared", "Upper-case"]),
        "four": ("fourth", ["shared", "formal_languages", "own"]),
    }
    for package, (family, zoos) in families.items():
        (tmp_path / f"twin_{package}").mkdir()
        text = TWINS.format(name=package.title(), family=family, zoos=zoos)
        (tmp_path / f"twin_{package}" / "__init__.py").write_text(text)
        described = tmp_path / f"twin_{package}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: twin-{package}\nVersion: 1.0\n")
        points = f"[rnnzoo.families]\n{family} = twin_{package}:{package.title()}\n"
        (described / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("twins")
def test_a_name_that_two_packages_have_is_told_with_both(capsys, caplog, tmp_path):
    with pytest.raises(
        RnnzooError, match=r"family: found 'twin' in twin_\w+:\w+ and in twin_\w+:\w+, expected one"
    ):
        find_family("twin")
    assert run("build", "shared", "--out", tmp_path / "zoo") == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "zoo: found 'shared' in twin_" in err
    assert all(name in err for name in ("twin_three:Three", "twin_four:Four"))
    assert ZOOS["formal_languages"][0] is find_family("formal_languages")
    with caplog.at_level(logging.WARNING):
        assert run("available") == 0
    out, err = capsys.readouterr()
    assert {"own", "counting_words"} < set(out.split())
    assert out.split().count("formal_languages") == 1
    assert not {"shared", "first", "second", "Upper-case"} & set(out.split())
    assert err.count("shared: zoo: found 'shared' in") == 2
    assert "formal_languages: zoo: found in 'formal_languages' and in 'fourth', expected one family" in err
    assert "Upper-case: zoo: found this name in the family 'third', expected one of the pattern" in err
    assert "family: found 'twin' in" in caplog.text
    assert bench("list") == 0
    assert "targets of third" in capsys.readouterr().out


def test_the_named_zoos_are_those_of_all_families():
    assert set(FAMILY_OF) <= set(ZOOS)
    assert len(ZOOS) == len(list(ZOOS))
    assert {"counting_words", "shifted_symbols"} <= family_names().keys()
    with pytest.raises(KeyError):
        ZOOS["nothing"]


def test_an_encoding_of_its_own_comes_back_from_a_manifest():
    encoding = ShiftedSymbols.encoding
    assert encoding_of(encoding.to_dict()) == encoding
    with pytest.raises(RnnzooError, match="expected one of tokens, tiles, or that of a family"):
        encoding_of({"kind": "nothing"})


# --- the commands of zoo-builder


@both
def test_build_and_verify(toy_zoos, name, capsys):
    assert run("verify", toy_zoos[name], "--kernel", "torch") == 0
    out = capsys.readouterr().out
    assert out.count("ok  ") == 8
    assert "skip" not in out
    table = pq.read_table(toy_zoos[name] / "metadata" / "train.parquet")
    assert set(table.column_names) >= COLUMNS[name] | {"accuracy"}
    for row in table.to_pylist():
        assert FAMILY_OF[name].task_of(row).task_id == row["task_id"]


def test_an_encoding_no_kernel_knows_is_trained_by_torch(tmp_path, caplog):
    build = [argument for argument in BUILD if argument not in ("--kernel", "torch")]
    with caplog.at_level(logging.WARNING):
        assert run("build", "shifted_letters", "--out", tmp_path / "zoo", *build, "--device", "cpu") == 0
    assert "training with torch, several times slower: encoding: found 'symbols'" in caplog.text


@both
def test_the_original_release_has_no_such_zoo(toy_zoos, name, tmp_path, capsys):
    assert run("export", toy_zoos[name], "--out", tmp_path / "arrays") == 2
    assert "the original release has no zoo of the family" in capsys.readouterr().err
    assert not (tmp_path / "arrays").exists()


def test_available_lists_its_zoos(capsys):
    assert run("available", "--one-each") == 0
    assert {"formal_languages", *FAMILY_OF} <= set(capsys.readouterr().out.split())


@both
def test_info(toy_zoos, name, capsys):
    assert run("info", toy_zoos[name]) == 0
    assert f"zoo {name} (preset smoke" in capsys.readouterr().out
    assert (toy_zoos[name] / "overview.png").stat().st_size > 20_000


@both
def test_a_page_without_a_program_of_the_family(toy_zoos, name, page, tmp_path):
    assert run("explore", toy_zoos[name], "--static", tmp_path / "site") == 0
    page.size(800)
    page.open((tmp_path / "site" / "index.html").as_uri())
    page.wait("find('panel').textContent.includes('no program for browsers')")
    assert page.run("find('runs').rows.length") == 10
    assert page.run("mapPlaces.filter(Boolean).length") == 30


@both
def test_the_card_says_what_the_family_says(toy_releases, name):
    card = (toy_releases[name] / "README.md").read_text()
    _, named = ZOOS[name]
    assert f"# {named.title}" in card
    assert all(f"| `{column}` |" in card for column in COLUMNS[name])
    assert all(f"- {tag}\n" in card for tag in named.tags)
    assert named.notice in card
    assert named.notice in (toy_releases[name] / "LICENSE").read_text()


@both
def test_a_release_does_not_cite_a_paper_that_it_has_nothing_to_do_with(toy_releases, name):
    card, citation, croissant = (
        (toy_releases[name] / file).read_text() for file in ("README.md", "CITATION.cff", "croissant.json")
    )
    for text in (card, citation, croissant):
        assert "2403.11998" not in text
        assert "The authors of org" in text
    assert "references" not in citation
    assert "The tasks come from the package `toy_family`" in card


@both
@pytest.mark.parametrize("config", ["default", "metadata", "rollouts", "outputs"])
def test_stock_datasets_read_the_release(toy_releases, name, config, tmp_path):
    rows = load_dataset(str(toy_releases[name]), config, cache_dir=str(tmp_path))
    assert list(rows) == ["train", "validation", "test", "ood"]
    row = rows["train"][0]
    zoo = Zoo(toy_releases[name])
    if config == "default":
        assert len(row["weights"]) == zoo.spec.num_parameters
    if config == "rollouts":
        assert set(FAMILY_OF[name].task_columns.names) <= row.keys()
        assert "stopped" not in row
        assert len(row["inputs"]) == 5 * FAMILY_OF[name].load(None).items.shape[1]


@both
@pytest.mark.parametrize("streaming", [False, True])
def test_load_zoo_gives_the_family_s_columns(toy_releases, name, streaming):
    rows = load_zoo(toy_releases[name], split="train", streaming=streaming, rollouts=True)
    row = next(iter(rows))
    assert row.keys() >= COLUMNS[name] | {"rollout_inputs"}
    assert row["lstm.weight_hh_l0"].shape == (24, 6)


@both
def test_zoo_runs_its_models(toy_zoos, name):
    zoo, family = Zoo(toy_zoos[name]), FAMILY_OF[name]
    last = zoo.metadata["checkpoint_id"].to_pylist()[-1]
    items = torch.from_numpy(family.load(None).items[:3])
    logits, _ = zoo.model(last)(zoo.encoding.inputs(items))
    assert logits.shape == (3, zoo.encoding.steps(items.shape[1]), family.output_size)


@both
def test_push_and_load_from_the_hub(toy_releases, name, tmp_path, monkeypatch):
    with LoopbackHub() as hub:
        hub.take_over(monkeypatch, tmp_path / "home", WRITE_TOKEN)
        push_release(toy_releases[name], "org/toy")
        found = load_zoo("org/toy", split="ood", streaming=True)
        expected = load_zoo(toy_releases[name], split="ood")
        assert [row["checkpoint_id"] for row in found] == list(expected["checkpoint_id"])
        assert Zoo("org/toy").metadata.equals(Zoo(toy_releases[name]).metadata)


WITHOUT = """
import sys
from pathlib import Path
from rnnzoo import Zoo, load_zoo
from rnnzoo.zoo_builder.overview import draw_overview
print(Zoo(sys.argv[1]), load_zoo(sys.argv[1]))
draw_overview(Path(sys.argv[1]))
"""


def test_a_zoo_opens_where_its_family_is_not_installed(toy_zoos, tmp_path):
    command = [sys.executable, "-c", WITHOUT, str(toy_zoos["counting_words"])]
    environment = os.environ | {"PYTHONPATH": ""}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "30 checkpoints" in found.stdout
    assert f"family: found 'counting_words', expected one of {', '.join(FAMILIES)}" in found.stderr


# --- the tracks of zoo-bench


SHORT = [
    word for field in ("steps=4", "validate_every=2", "models=4", "emulator_hidden=4") for word in ("--set", field)
]
TRACKS = {
    "features": ["invariant_statistics"],
    "frozen": ["noninteractive_probing(probes=2)", *SHORT],
    "supervised": ["hidden_probing(probes=1)", *SHORT],
}


@pytest.mark.parametrize("name", ["counting_words", pytest.param("shifted_letters", marks=pytest.mark.slow)])
def test_every_track_and_the_report(toy_zoos, name, tmp_path):
    family, out = FAMILY_OF[name], tmp_path / "results"
    for track, (encoder, *settings) in TRACKS.items():
        asked = ["--zoo", toy_zoos[name], "--encoder", encoder, "--track", track, "--seeds", 1, "--out", out]
        assert bench("run", *asked, *settings) == 0
    asked = [
        "--zoo",
        toy_zoos[name],
        "--encoder",
        "weight_norm",
        "--target",
        "rollout_loss",
        "--target",
        "seed:class",
    ]
    assert bench("run", *asked, "--out", out) == 0
    (board,) = read_results(out)
    known = {target.name for target in board.rows.targets}
    assert known >= {*(target.name for target in family.targets), "step", "rollout_loss", "seed-class"}
    assert {result.target for result in board.results} == known
    (emulation,) = board.emulations
    assert all(0 <= value <= 1 for split in emulation.performance.values() for value in split["per checkpoint"][0])
    assert bench("report", out) == 0
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert all(f"### {target}" in markdown for target in known)
    assert ">places<" in page if family.colouring else "training step" in page
    assert HEAT_MAP_CAPTION in page


def test_words_are_completed_and_what_a_family_lacks_is_said(toy_zoos, tmp_path, capsys):
    words, shifted = (toy_zoos[name] for name in FAMILY_OF)
    arguments = ["--track", "supervised", "--target", "more", "--seeds", 1, "--out", tmp_path, *SHORT]
    assert bench("run", "--zoo", words, "--encoder", "completion_probing(probes=2)", *arguments) == 0
    for encoder, message in {
        "completion_probing": "expected ones that read the tokens they write",
        "behaviour_statistics": "behaviour_statistics: the family 'shifted_symbols' has none",
        "greedy_decode": "greedy_decode: the family 'shifted_symbols' has no rule",
    }.items():
        assert bench("run", "--zoo", shifted, "--encoder", encoder, "--out", tmp_path) == 2
        assert message in capsys.readouterr().err


def failing(*_):
    return {}["kk"]


def run_of(*words):
    """Options of a benchmark of a zoo; its results stand beside the output."""
    return ["zoo-bench", "run", "--zoo", "{zoo}", "--seeds", 1, "--out", "{out}", *words]


INFO = ["zoo-builder", "info", "{zoo}"]
EXPLORE = ["zoo-builder", "explore", "{zoo}", "--static", "{out}"]
RELEASE = ["zoo-builder", "release", "{zoo}", "--out", "{out}"]
PROBED = run_of("--track", "frozen", "--target", "step", "--encoder", "noninteractive_probing(probes=2)", *SHORT)
SLIPS_AFTER_A_BUILD = [
    ("draw_examples", failing, INFO, "KeyError: 'kk' ("),
    ("explorer_script", failing, EXPLORE, "KeyError: 'kk' ("),
    ("explorer_data", failing, EXPLORE, "KeyError: 'kk' ("),
    ("explorer_data", lambda *_: {"a": {1}}, EXPLORE, "TypeError"),
    ("reference_items", failing, EXPLORE, "KeyError: 'kk' ("),
    ("card", failing, RELEASE, "KeyError: 'kk' ("),
    ("card", lambda _: "{{ nothing }}", RELEASE, "UndefinedError"),
    ("draw_inputs", lambda *_: None, PROBED, "AttributeError: 'NoneType'"),
    ("reference_items", failing, PROBED, "KeyError: 'kk' ("),
    ("behaviour_statistics", failing, run_of("--encoder", "behaviour_statistics"), "KeyError: 'kk' ("),
    ("task_reader", failing, run_of("--encoder", "greedy_decode"), "KeyError: 'kk' ("),
]


@pytest.mark.parametrize(("method", "broken", "words", "message"), SLIPS_AFTER_A_BUILD)
def test_a_slip_in_what_only_pictures_and_encoders_ask_is_named(
    toy_zoos, method, broken, words, message, tmp_path, monkeypatch, capsys
):
    zoo = tmp_path / "zoo"
    shutil.copytree(toy_zoos["shifted_letters"], zoo, ignore=shutil.ignore_patterns("*.png"))
    monkeypatch.setattr(ShiftedSymbols, method, classmethod(broken))
    command, *given = [str(word).format(zoo=zoo, out=tmp_path / "out") for word in words]
    code = exit_code(command, *given) or exit_code("zoo-bench", "report", tmp_path / "out")
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    asked = {"behaviour_statistics": "found behaviour_statistics", "task_reader": "found greedy_decode"}
    assert asked.get(method, f"family 'shifted_symbols': {method}: ") in said


@pytest.mark.parametrize("finite", [0, 3])
def test_numbers_that_colour_tasks_may_be_a_list_and_not_all_finite(toy_zoos, finite, tmp_path, monkeypatch):
    coloured = Colouring("places", "places", value=lambda x: [float(n) if n < finite else math.nan for n in x])
    monkeypatch.setattr(ShiftedSymbols, "colouring", coloured)
    zoo, page, out = toy_zoos["shifted_letters"], tmp_path / "page", tmp_path / "results"
    assert run("explore", zoo, "--static", page) == 0
    assert f'"limits":[0.0,{max(1, finite - 1)}.0]' in (page / "index.html").read_text()
    words = ["--zoo", zoo, "--encoder", "weight_norm", "--target", "places", "--seeds", 1, "--out", out]
    assert bench("run", *words) == bench("report", out) == 0


def test_a_benchmark_says_that_a_family_is_not_installed(toy_zoos, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from rnnzoo.loaders.cli import main; main()",
        "run",
        "--encoder",
        "weight_norm",
    ]
    command += ["--zoo", str(toy_zoos["counting_words"])]
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "found the family 'counting_words', which is not installed" in done.stderr

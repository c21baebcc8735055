"""Baselines: the results of a run become one file an encoder and track, and say the same."""

import json
import re
import shutil

import pytest
from synthetic_results import make_emulation, make_result, make_rows, write_results

from rnnzoo.loaders.benchmark.report import COMMITTED, make_report
from rnnzoo.loaders.benchmark.report.baselines import commit_results, write_summaries
from rnnzoo.loaders.benchmark.results.baseline import read_baseline, write_baseline
from rnnzoo.loaders.benchmark.results.files import read_rows, write_rows
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.zoo_builder.errors import RnnzooError

ZOO = "formal_languages"
ENCODERS = ("noninteractive_probing", "probe_generator", "greedy_decode", "my_encoder:Mine")
FILES = {
    "greedy_decode-features.json",
    "leakage.json",
    "my_encoder.Mine-frozen.json",
    "noninteractive_probing-frozen.json",
    "probe_generator-supervised.json",
    "rows.json",
}


@pytest.fixture
def results(tmp_path):
    """The folder of a run's results."""
    write_results(tmp_path / "results", ZOO, seeds=2, encoders=ENCODERS)
    return tmp_path / "results"


@pytest.fixture
def committed(results, tmp_path):
    """The folder of the same results beside a card."""
    commit_results(results, tmp_path / "cards")
    return tmp_path / "cards" / ZOO / "small/results"


@pytest.mark.usefixtures("without_page")
def test_few_files_say_the_same(results, committed, tmp_path):
    assert {path.name for path in committed.rglob("*.json")} == FILES
    (before,), (after,) = read_results(results), read_results(committed)
    assert after == before
    assert len(before.results) == 2 * 2 * 4
    assert len(before.emulations) == 2 * 2
    reports = [make_report(folder, tmp_path / "out", baselines=False) for folder in (results, committed)]
    assert reports[0] == reports[1]


def test_what_results_share_stands_there_once(committed):
    text = (committed / "strict/noninteractive_probing-frozen.json").read_text()
    assert text.count('"embedding_size"') == 1
    assert text.count('"predictions"') == 2 * 2 * 2  # with those of the twins
    assert len(text.splitlines()) < 40


def test_seeds_and_targets_of_several_machines_come_together(results, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for chosen in ("*-seed1.json", "offsets-seed0.json", "accuracy-seed0.json"):
        part = tmp_path / chosen.strip("*")
        shutil.copytree(results, part)
        for path in part.rglob("*-seed?.json"):
            if not path.match(chosen):
                path.unlink()
        for path in part.rglob("emulation/seed?.json"):
            if path.stem not in chosen:
                path.unlink()
        commit_results(part, parts)
    commit_results(results, whole)
    files = [sorted(path for path in cards.rglob("*.json")) for cards in (whole, parts)]
    assert [path.read_bytes() for path in files[1]] == [path.read_bytes() for path in files[0]]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("zoo-bench run --zoo /home/me/zoo --out /tmp/a/b", "zoo-bench run --zoo zoo --out b"),
        ("zoo-bench run --zoo=/home/me/zoo --encoder /w/enc.py:E", "zoo-bench run --zoo=zoo --encoder enc.py:E"),
        ("rnnzoo.evaluate('E', '/home/me/zoo', seeds=1)", "rnnzoo.evaluate('E', 'zoo', seeds=1)"),
        ("zoo-bench run --zoo org/zoo --out ../here/there", "zoo-bench run --zoo org/zoo --out ../here/there"),
        ("zoo-bench run --ray ray://host:1/a/b", "zoo-bench run --ray ray://host:1/a/b"),
        ("zoo-bench run --zoo '/home/john smith/zoos/fl'", "zoo-bench run --zoo fl"),
        ("zoo-bench run --zoo '/home/me/my zoo/'", "zoo-bench run --zoo 'my zoo'"),
        ("zoo-bench run --zoo '/home/o'\"'\"'neil/zoos/fl'", "zoo-bench run --zoo fl"),
        ("zoo-bench run --zoo //host/secret/zoo", "zoo-bench run --zoo zoo"),
        ("zoo-bench run --zoo file:/home/u/zoos/fl", "zoo-bench run --zoo fl"),
        ("zoo-bench run --zoo ~/secret/zoo", "zoo-bench run --zoo zoo"),
        ("zoo-bench run --zoo 'C:\\Users\\x\\zoo'", "zoo-bench run --zoo zoo"),
        (
            "zoo-bench run --encoder 'n(probes=4)' --set steps=5",
            "zoo-bench run --encoder 'n(probes=4)' --set steps=5",
        ),
        (
            "rnnzoo.evaluate('a', \"/home/o'neil/fl\", settings={'n': 3})",
            "rnnzoo.evaluate('a', 'fl', settings={'n': 3})",
        ),
        ("zoo-bench run --zoo '/home/me", ""),
    ],
)
def test_a_baseline_does_not_say_where_folders_lay(command, expected, tmp_path):
    rows = make_rows(ZOO)
    result = make_result(rows, "flat_mlp", "offsets", 0).model_copy(update={"command": command})
    emulation = make_emulation(rows, "flat_mlp", 0).model_copy(update={"command": command})
    results, emulations = read_baseline(write_baseline(tmp_path, [result], [emulation]))
    assert [one.command for one in (*results, *emulations)] == [expected, expected]


def test_committed_results_name_no_folders_of_a_machine():
    for path in COMMITTED.glob("*/*/results/*/*-*.json"):
        results, emulations = read_baseline(path)
        for one in (*results, *emulations):
            assert not re.search(r"(^|[\s='])/", one.command), path


def test_results_of_another_key_are_replaced(committed, results, tmp_path):
    path = results / ZOO / "strict/greedy_decode/features/offsets-seed0.json"
    shutil.rmtree(results / ZOO / "strict/greedy_decode")
    write_results(tmp_path / "more", ZOO, seeds=1, encoders=("greedy_decode",))
    made = json.loads((tmp_path / "more" / path.relative_to(results)).read_text())
    made["key"]["settings"]["track"] = "another"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(made))
    commit_results(results, tmp_path / "cards")
    found, _ = read_baseline(committed / "strict/greedy_decode-features.json")
    assert [(result.target, result.seed) for result in found] == [("offsets", 0)]


def test_a_second_commit_joins_an_encoder_and_keeps_the_others(committed, tmp_path):
    kept = (committed / "strict/greedy_decode-features.json").read_bytes()
    write_results(tmp_path / "more", ZOO, seeds=3, encoders=("probe_generator",))
    written = commit_results(tmp_path / "more", tmp_path / "cards")
    assert committed / "strict/probe_generator-supervised.json" in written
    found, _ = read_baseline(committed / "strict/probe_generator-supervised.json")
    assert {result.seed for result in found} == {0, 1, 2}
    assert (committed / "strict/greedy_decode-features.json").read_bytes() == kept
    names = ("baselines.md", "ranking-strict.png", "emulation-strict.png")
    beside = [tmp_path / "cards" / ZOO / "small" / name for name in names]
    assert write_summaries(tmp_path / "cards") == beside
    before = [path.read_bytes() for path in beside]
    assert all(content.startswith(b"\x89PNG") for content in before[1:])
    header, _, first, *_ = [line for line in before[0].decode().splitlines() if line.startswith("|")]
    assert header.startswith("| encoder | track | seeds | offsets: exact task ↑ | offsets, untrained | accuracy")
    assert re.match(r"\| \S+ \| \w+ \| [23] \|", first)
    write_summaries(tmp_path / "cards")
    assert [path.read_bytes() for path in beside] == before


def test_each_protocol_has_a_table_and_pictures_of_its_own(committed, tmp_path):
    shutil.copytree(committed / "strict", committed / "paper")
    for path in (committed / "paper").iterdir():
        path.write_text(path.read_text().replace('"strict"', '"paper"'))
    table, *pictures = write_summaries(tmp_path / "cards")
    of_each = re.findall(r"protocol `(\w+)`", table.read_text())
    assert of_each == ["strict", "paper"]
    assert table.read_text().count("| encoder |") == 2
    kinds = ("ranking", "emulation")
    assert [picture.name for picture in pictures] == [f"{kind}-{of}.png" for of in of_each for kind in kinds]


def test_what_another_cpu_computes_a_little_otherwise_is_of_the_same_zoo(committed, tmp_path):
    rows = read_rows(committed / "strict")
    other = write_results(tmp_path / "other", ZOO, seeds=1, encoders=("flat_mlp",))
    write_rows(other, rows.model_copy(update={"chance": {"accuracy": {"test": {"R2": -1e-17}}}}))
    commit_results(tmp_path / "other", tmp_path / "cards")
    assert read_rows(committed / "strict") == rows
    assert (committed / "strict/flat_mlp-supervised.json").exists()


def test_a_commit_removes_what_a_killed_one_left(committed, results, tmp_path):
    for name in ("rows.json", "greedy_decode-features.json"):
        (committed / "strict" / f".{name}.0123456789abcdef.tmp").write_text("half")
    commit_results(results, tmp_path / "cards")
    assert {path.name for path in committed.rglob("*.*")} == FILES


def test_results_about_other_checkpoints_are_refused(committed, results, tmp_path):
    other = write_results(tmp_path / "other", ZOO, seeds=1, encoders=("greedy_decode",))
    shutil.rmtree(other / "greedy_decode")
    write_rows(other, make_rows(ZOO, runs=14))
    with pytest.raises(RnnzooError, match=r"rows.json: found other checkpoints or targets than in"):
        commit_results(tmp_path / "other", tmp_path / "cards")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["results"].clear(), "results: found none, expected at least one"),
        (lambda file: file["results"][1].pop("seed"), r"results.1: seed: found nothing"),
        (lambda file: file["results"][0].update(seed=1), "found a second greedy_decode/features/.*-seed1.json"),
        (lambda file: file["results"][0].update(colour="red"), r"results.0: colour: found 'red'"),
        (lambda file: file["shared"].update(encoder="other"), "wrong place, expected it at .*other-features.json"),
        (lambda file: file["shared"].update(zoo_digest="x"), "zoo_digest: found x"),
        (lambda file: file["results"][0]["predictions"].update(ood=[1.0]), "predictions.ood: found shape"),
        (lambda file: file.update(format=1), "format: found 1, expected 3"),
    ],
)
def test_a_broken_baseline_is_named(committed, change, message):
    path = committed / "strict/greedy_decode-features.json"
    file = json.loads(path.read_text())
    change(file)
    path.write_text(json.dumps(file))
    with pytest.raises(RnnzooError, match=f"greedy_decode-features.json: .*{message}"):
        read_results(committed)


def test_the_committed_results_are_few_files():
    for results in COMMITTED.glob("*/*/results"):
        for board in results.iterdir():
            assert [path.name for path in board.iterdir() if path.is_dir()] == []

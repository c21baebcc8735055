"""Results on disk, their intervals, and the report in text and in Markdown. Its page: `test_report_page.py`."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from synthetic_results import DIGESTS, SKILLS, make_emulation, make_result, make_rows, write_results

from rnnzoo.loaders.benchmark.report import format_table, make_report
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables, best_scores, clear_best
from rnnzoo.loaders.benchmark.report.plots import known_family
from rnnzoo.loaders.benchmark.report.statistics import Estimate
from rnnzoo.loaders.benchmark.report.tables import target_tables
from rnnzoo.loaders.benchmark.report.text import NOTE_ONE_SEED, number, with_interval
from rnnzoo.loaders.benchmark.results.committed import committed_folder, merge_committed
from rnnzoo.loaders.benchmark.results.content import Leakage
from rnnzoo.loaders.benchmark.results.files import (
    emulation_path,
    encoder_folder,
    leaderboard_folder,
    read_emulation,
    read_leakage,
    read_result,
    read_rows,
    result_path,
    write_emulation,
    write_leakage,
    write_result,
    write_rows,
)
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.zoo_builder.errors import RnnzooError

LANGUAGES, IMAGES = "formal_languages", "sequential_mnist"
FEW = ("noninteractive_probing", "greedy_decode")


@pytest.fixture
def board(tmp_path):
    """A small board of one's own."""
    return write_results(tmp_path / "results", LANGUAGES, seeds=2, encoders=FEW)


def test_files_are_read_as_they_were_written(tmp_path):
    rows = make_rows(LANGUAGES)
    result = make_result(rows, "interactive_probing(probes=4)", "offsets", 1)
    emulation = make_emulation(rows, "interactive_probing(probes=4)", 1)
    leakage = Leakage(zoo_digest="d", encoder="e", target="offsets", readout="r", scores={"run": {"R2": None}})
    write_rows(tmp_path, rows)
    write_leakage(tmp_path, leakage)
    assert read_rows(tmp_path) == rows
    assert read_leakage(tmp_path) == leakage
    assert read_result(write_result(tmp_path, result)) == result
    assert read_emulation(write_emulation(tmp_path, emulation)) == emulation
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    folder = "interactive_probing(probes=4)"
    expected = [f"{folder}/emulation/seed1.json", f"{folder}/frozen/offsets-seed1.json"]
    assert written == [*expected, "leakage.json", "rows.json"]


def test_an_encoder_of_ones_own_has_a_folder_that_file_systems_take(tmp_path):
    path = result_path(tmp_path, "my/mod:Class(a='b')", "frozen", "step", 0)
    assert path.relative_to(tmp_path).parts[0] == "my.mod.Class(a=.b.)"


def test_what_is_not_finite_is_written_as_nothing(tmp_path):
    result = make_result(make_rows(LANGUAGES), "greedy_decode", "accuracy", 0)
    odd = result.model_dump() | {"scores": {"test": {"tau": float("nan")}}, "predictions": {"test": [1 / 3]}}
    found = read_result(write_result(tmp_path, type(result)(**odd)))
    assert found.scores == {"test": {"tau": None}}
    assert found.predictions == {"test": [0.3333333]}


def change(path, without=None, **values):
    """Rewrite entries of a JSON file, and take one out."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if key != without}))


BROKEN = {
    "no JSON": (lambda p: p.write_text("{"), "not JSON"),
    "foreign": (lambda p: p.write_text('{"score": 1}'), "expected a file of zoo-bench"),
    "other version": (lambda p: change(p, format=1), "format: found 1, expected 3"),
    "an entry too many": (lambda p: change(p, surprise=1), "surprise: found 1; expected of a Result"),
    "an entry too few": (lambda p: change(p, without="seed"), "seed: found nothing"),
    "of another zoo": (lambda p: change(p, zoo_digest="other"), "results of another zoo or version mixed in"),
    "of another protocol": (lambda p: change(p, protocol="paper"), "protocol: found 'paper', expected 'strict'"),
    "in the wrong place": (lambda p: change(p, encoder="other"), "found a file in the wrong place"),
    "too few predictions": (
        lambda p: change(p, predictions={"test": [[0, 0, 0]], "ood": [[0, 0, 0]]}),
        r"predictions.test: found shape \(1, 3\), expected \(36, 3\)",
    ),
    "too few of the twin": (
        lambda p: change(p, twin=json.loads(p.read_text())["twin"] | {"predictions": {"test": [], "ood": []}}),
        r"twin.predictions.test: found shape \(0,\), expected \(36, 3\)",
    ),
    "no numbers": (lambda p: change(p, predictions={"test": ["a"], "ood": []}), "predictions.test: found shape"),
    "a split too few": (lambda p: change(p, predictions={"ood": []}), "found ood, expected test, ood"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_mixed_results_are_named(board, name):
    spoil, message = BROKEN[name]
    path = result_path(board, "noninteractive_probing", "frozen", "offsets", 1)
    spoil(path)
    with pytest.raises(RnnzooError, match=message) as error:
        make_report(board.parent.parent, board / "out", baselines=False)
    assert str(path) in str(error.value)


def spoil_part(path, *keys, value):
    """Put a value into a JSON file, at some keys."""
    content = place = json.loads(path.read_text())
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


RESULT = "greedy_decode/features/offsets-seed0.json"
TRAINING = "noninteractive_probing/emulation/seed1.json"
NO_GAP = {"seed": 1, "zoo_digest": "other", "scores": {"ood": {"R2": 1}}, "gap": {}}
OUT_OF_SHAPE = [
    ("rows.json", ["protocol"], "lax", "protocol: found 'lax'; .* 'strict' or 'paper'"),
    ("rows.json", ["splits"], {}, r"the splits are \[\], expected test and ood, or ood alone"),
    ("rows.json", ["splits", "ood", "step"], [], "splits.ood.step: found .*at least 1 item"),
    ("leakage.json", ["scores"], {}, "scores: found {}; .*at least 1 item"),
    ("leakage.json", ["scores", "task"], {}, "scores.task: found {}; .*at least 1 item"),
    (RESULT, ["fresh"], NO_GAP, "gap is of .*, scores are of .'ood'"),
    (RESULT, ["fresh"], NO_GAP | {"scores": {"ood": {}}}, "fresh.scores.ood: found {}; .*at least 1 item"),
    (TRAINING, ["map", "ood"], [], r"map.ood: found shape \(0,\), expected \(48, 2\) as in rows.json"),
    (TRAINING, ["row_losses"], {}, r"row_losses.test: found shape \(\), expected \(48,\) as in rows.json"),
    (TRAINING, ["performance", "ood"], {}, "performance.ood: expected two means and "),
    (TRAINING, ["performance", "ood", "emulated"], "much", "performance.ood: expected two means and "),
    (TRAINING, ["performance", "ood", "per checkpoint"], [[1, 2, 3]], "performance.ood: expected two means and "),
    (TRAINING, ["sequences", 0, "emulated"], [[1]], r"original has the shape .* emulated \(1, 1\)"),
    (TRAINING, ["probes"], [[1]], r"probes have the shape \(1, 1\), .* expected \[K, T, D\] and \[K, T, O\]"),
    (TRAINING, ["answers"], None, r"probes have the shape .*, answers \(\), expected "),
]


@pytest.mark.parametrize(("name", "keys", "value", "message"), OUT_OF_SHAPE)
def test_what_a_report_could_not_show_is_named_when_it_is_read(board, name, keys, value, message):
    spoil_part(board / name, *keys, value=value)
    with pytest.raises(RnnzooError, match=message) as error:
        read_results(board.parent.parent)
    assert str(board / name) in str(error.value)


def test_a_family_that_is_no_name_is_not_known(board):
    spoil_part(board / "rows.json", "zoo_config", "family", value=["formal_languages"])
    assert known_family(read_rows(board)) is None


def test_an_unknown_target_is_named(board):
    path = result_path(board, "greedy_decode", "features", "offsets", 0)
    change(path, target="colour")
    path.rename(path.with_name("colour-seed0.json"))
    with pytest.raises(RnnzooError, match="target: found 'colour', expected one of offsets"):
        read_results(board.parent.parent)


def test_emulation_of_another_zoo_is_named(board):
    path = emulation_path(board, "noninteractive_probing", 0)
    change(path, zoo_digest="other")
    with pytest.raises(RnnzooError, match=re.escape(str(path))):
        read_results(board.parent.parent)


def test_results_without_rows_and_no_results(board, tmp_path):
    (board / "rows.json").unlink()
    with pytest.raises(RnnzooError, match=r"found no rows\.json above it"):
        read_results(board.parent.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RnnzooError, match="found no results"):
        read_results(tmp_path / "empty")
    with pytest.raises(RnnzooError, match="there is no such folder"):
        read_results(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["copy/strict", f"{LANGUAGES}/copy"])
def test_results_are_not_read_twice_for_a_copy_of_their_folder(board, place):
    home = board.parent.parent
    shutil.copytree(board, home / place)
    message = f"{home / place}/rows.json: found a file in the wrong place, expected it at {board}/rows.json"
    with pytest.raises(RnnzooError, match=f"^{re.escape(message)}$"):
        read_results(home)


def test_a_board_takes_rows_of_one_zoo_alone(board):
    write_rows(board, make_rows(LANGUAGES))
    other = make_rows(LANGUAGES, digest="other")
    other = other.model_copy(update={"zoo_config": {**other.zoo_config, "runs": 12}})
    with pytest.raises(RnnzooError, match="runs: found 256, expected 12"):
        write_rows(board, other)


def test_what_training_adds_is_paired_with_the_untrained_twin(board):
    """A twin that is the trained encoder itself gains exactly nothing; without every seed's twin none is shown."""
    (read,) = read_results(board.parent.parent)
    same, lacking = [], []
    for result in read.results:
        twin = result.twin and result.twin.model_copy(update={"predictions": result.predictions})
        same.append(result.model_copy(update={"twin": twin}))
        lacking.append(result.model_copy(update={"twin": twin if result.seed else None}))
    lines = [
        {line.encoder: line for line in target_tables(replace(read, results=tuple(results)), None)[0].lines}
        for results in (read.results, same, lacking)
    ]
    learned, equal, gap = (found["noninteractive_probing"] for found in lines)
    assert learned.untrained["ood"].mean < learned.scores["ood"]["exact task"].mean
    assert learned.gained["ood"].low > 0
    assert (equal.gained["ood"].low, equal.gained["ood"].mean, equal.gained["ood"].high) == (0, 0, 0)
    assert gap.untrained == gap.gained == lines[0]["greedy_decode"].untrained == {}


@pytest.mark.usefixtures("without_page")
def test_committed_baselines_stand_beside_ones_own(board, tmp_path):
    cards = tmp_path / "cards"
    committed = write_results(
        tmp_path / "made", LANGUAGES, encoders=("noninteractive_probing", "layer_statistics")
    )
    shutil.copytree(committed, cards / LANGUAGES / "small/results/strict")
    text = make_report(board.parent.parent, tmp_path / "out", committed=cards)
    assert "layer_statistics" in text
    (read,) = read_results(board.parent.parent)
    (merged,) = merge_committed(read, cards)
    assert merged.committed == {("layer_statistics", "frozen"), ("layer_statistics", "emulation")}
    assert sum(result.encoder == "noninteractive_probing" for result in merged.results) == 2 * 2  # ours: two seeds
    assert [board.rows.zoo for board in read_results(cards / LANGUAGES / "small/results")] == [LANGUAGES]


@pytest.mark.usefixtures("without_page")
def test_committed_scores_do_not_stand_beside_ones_own_training(board, tmp_path):
    """As of a report that is made before readouts are fitted."""
    cards, encoder = tmp_path / "cards", "noninteractive_probing"
    commit(board, cards)
    shutil.rmtree(result_path(board, encoder, "frozen", "offsets", 0).parent)
    (read,) = read_results(board.parent.parent)
    (merged,) = merge_committed(read, cards)
    assert not [result for result in merged.results if result.encoder == encoder]
    assert {emulation.encoder for emulation in merged.emulations} >= {encoder}
    assert (encoder, "emulation") not in merged.committed


def test_embeddings_of_one_number_have_a_map(board, tmp_path):
    encoder = "noninteractive_probing"
    for path in board.rglob("emulation/seed*.json"):
        emulation = read_emulation(path)
        points = {split: np.array(found)[:, :1].tolist() for split, found in emulation.map.items()}
        write_emulation(board, emulation.model_copy(update={"map": points}))
    make_report(board.parent.parent, tmp_path / "out")
    assert encoder in (tmp_path / "out" / "report.html").read_text()


def commit(board, cards, **changes):
    """Put a board beside the card of its zoo, with other values of its rows, and their digest in all files."""
    committed = cards / LANGUAGES / changes.get("zoo_config", {}).get("preset", "small") / "results/strict"
    shutil.copytree(board, committed)
    change(committed / "rows.json", **changes)
    for path in committed.rglob("*.json"):
        change(path, zoo_digest=changes.get("zoo_digest", DIGESTS[LANGUAGES]))
    return committed


def test_baselines_of_another_config_are_left_out_with_a_note(board, tmp_path):
    config = read_rows(board).zoo_config | {"runs": 1000}
    commit(board, tmp_path / "cards", zoo_digest="fma-1-00000000-0000000000000000", zoo_config=config)
    text = make_report(board.parent.parent, tmp_path / "out", committed=tmp_path / "cards")
    for shown in (text, (tmp_path / "out" / "report.html").read_text()):
        assert "Committed baselines are left out" in shown
        assert "runs: found 1000, expected 256" in shown


def test_of_several_zoos_of_a_name_the_nearest_one_stands_beside(board, tmp_path):
    """The same zoo, else one of its config, else one that differs in little; whatever its folder is called."""
    cards, config = tmp_path / "cards", read_rows(board).zoo_config
    (read,) = read_results(board.parent.parent)
    assert merge_committed(read, cards) == [read]
    long = config | {"preset": "paper", "runs": 1000, "steps": 20_000}
    commit(board, cards, zoo_digest="fma-1-00000000-0000000000000001", zoo_config=long)
    (alone,) = merge_committed(read, cards)
    assert "preset: found 'paper', expected 'small'" in alone.notes[0]
    near = config | {"preset": "other", "runs": 255}
    commit(board, cards, zoo_digest="fma-1-00000000-0000000000000002", zoo_config=near)
    (alone,) = merge_committed(read, cards)
    assert "runs: found 255, expected 256" in alone.notes[0]
    other = commit(board, cards, zoo_digest="fma-1-0123abcd-0000000000000003")
    assert len(merge_committed(read, cards)) == 2
    shutil.move(other, cards / LANGUAGES / "abroad/results/strict")
    commit(board, cards)
    (merged,) = merge_committed(read, cards)
    assert merged.committed_rows == read.rows


@pytest.mark.parametrize("name", ["../../x", "", None, 3, "a/b"])
def test_no_zoo_or_preset_leads_out_of_the_cards(name, tmp_path):
    rows = make_rows(LANGUAGES)
    assert committed_folder(tmp_path, rows) == tmp_path / LANGUAGES / "small/results/strict"
    config = rows.zoo_config | {"preset": name}
    with pytest.raises(RnnzooError, match=r"zoo_config.preset: found .*, expected a name"):
        committed_folder(tmp_path, rows.model_copy(update={"zoo_config": config}))
    if isinstance(name, str):
        with pytest.raises(RnnzooError, match=r"zoo: found .*, expected a name"):
            committed_folder(tmp_path, rows.model_copy(update={"zoo": name}))


def test_an_encoder_to_compare_with_need_not_be_in_every_table(board, tmp_path):
    other = write_results(tmp_path / "results", IMAGES, seeds=1, encoders=("behaviour_statistics", "flat_mlp"))
    for against in ("greedy_decode", "behaviour_statistics"):
        text = make_report(board.parent.parent, tmp_path / "out", against, baselines=False)
        assert text.count("PROTOCOL STRICT") == 2
    assert other.parent.name == IMAGES
    with pytest.raises(RnnzooError, match="against: found 'oracle', expected one of behaviour_stat"):
        make_report(board.parent.parent, tmp_path / "out", "oracle", baselines=False)


OTHERS = {
    "another zoo": ("fma-1-0123abcd-0000000000000000", "digest fma-1-0123abcd-0000000000000000"),
    "another arithmetic": ("torch-cpu-0123abcd-0123456789abcdef", "digest torch-cpu-0123abcd-0123456789abcdef"),
    "no digest": ("c7f3a25ea59769af", "arithmetic not recorded (built before fma-1)"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_baselines_of_another_zoo_of_the_config_have_tables_of_their_own(board, tmp_path, kind):
    digest, words = OTHERS[kind]
    commit(board, tmp_path / "cards", zoo_digest=digest)
    (read,) = read_results(board.parent.parent)
    ours, theirs = merge_committed(read, tmp_path / "cards")
    assert ours == read
    assert {result.zoo_digest for result in theirs.results} == {digest}
    text = make_report(board.parent.parent, tmp_path / "out", "greedy_decode", committed=tmp_path / "cards")
    title = "formal languages, protocol strict: committed baselines of another zoo of this config"
    assert title.upper() in text
    markdown = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    for shown in (text, markdown, page):
        assert f"of another zoo of the same config: {words}" in shown
        assert title in shown.replace(title.upper(), title)
    first, second = markdown.split(f"## {title}")
    assert f"zoo's weights: digest {DIGESTS[LANGUAGES]}" in first
    assert f"zoo's weights: {words}" in second
    assert markdown.count("### offsets") == 2
    assert page.count('<table class="leaderboard">') == 2


def test_baselines_without_a_digest_join_their_own_zoo(board, tmp_path):
    """Of results made before there were digests, the truth of all checkpoints says which zoo they are of."""
    for path in board.rglob("*.json"):
        change(path, zoo_digest="c7f3a25ea59769af")
    committed = commit(board, tmp_path / "cards", zoo_digest="c7f3a25ea59769af")
    (read,) = read_results(board.parent.parent)
    assert len(merge_committed(read, tmp_path / "cards")) == 1
    rows = read_rows(committed)
    rows.splits["ood"].targets["accuracy"][3] += 0.01
    change(committed / "rows.json", splits=rows.model_dump()["splits"])
    assert len(merge_committed(read, tmp_path / "cards")) == 2


def test_a_folder_takes_results_of_one_digest_alone(board):
    rows = read_rows(board)
    other = rows.model_copy(update={"zoo_digest": "fma-1-0123abcd-0000000000000000"})
    message = (
        "of the same config, found digest fma-1-0123abcd-0123456789abcdef, expected digest fma-1-0123abcd-0000"
    )
    with pytest.raises(RnnzooError, match=message):
        write_rows(board, other)


def test_the_text_has_every_encoder_sorted_by_unseen_tasks(report):
    text = (report / "report.txt").read_text()
    table = text[text.index("\noffsets\n") : text.index("\naccuracy\n")]
    order = [line.split()[0] for line in table[: table.index("\n\n")].splitlines()[4:] if line]
    assert order[0] == "probe_generator"
    assert set(order) == {*SKILLS, "ceiling", "chance", "n"}
    assert order.index("interactive_probing(probes=4)") < order.index("layer_statistics")
    assert "behaviour_statistics †" in table
    assert "completion_probing ‡" in table
    assert "\n‡ hand-made" in text
    assert "baseline" in next(line for line in table.splitlines() if line.startswith("noninteractive_probing"))
    assert re.search(r"0\.\d{3} \(0\.\d{3}–0\.\d{3}\)", table)
    markdown = (report / "report.md").read_text()
    for piece in ("## formal languages, protocol strict", "### rotation", "### Emulation", "### Leakage", "256"):
        assert piece in markdown


def test_scores_stand_beside_what_they_can_be(board, tmp_path):
    """Labels of the last step that err by more than RNNs differ, and a chance that is known."""
    rows = read_rows(board)
    for split in rows.splits.values():
        split.errors["accuracy"] = [0.3 if step == 2000 else 0.001 for step in split.step]
    rows.chance["accuracy"] = {split: {"tau within a step": 0, "tau": 0, "R2": -0.5} for split in rows.splits}
    write_rows(board, rows)
    text = make_report(board.parent.parent, tmp_path / "out", baselines=False)
    about = text[text.index("\naccuracy\n") :]
    lines = {line.split()[0]: line.split() for line in about.splitlines() if line}
    assert lines["chance"][1:] == ["0.000", "0.000", "0.000", "-0.500"]
    assert 0.8 < float(lines["ceiling"][1]) < 1  # RNNs that are all wrong before training are told apart by chance
    assert lines["n"][1:] == ["48", "of", "6", "tasks"] * 2
    steps = about[about.index("by the step of the checkpoint") :].splitlines()
    assert [len(row.split(" / ")) for row in steps[3:5]] == [4, 4]  # three steps with a score on test and ood
    assert all(row.endswith("not measurable at this step") for row in steps[3:5])
    assert "step 2,000 on test (3 of 4 steps are left)" in about
    for name in ("report.md", "report.html"):
        page = (tmp_path / "out" / name).read_text()
        assert "not measurable at this step" in page
        assert "RNNs' accuracy on ood, last step" in page.replace("&#39;", "'")


def test_the_best_is_marked_where_it_is_alone():
    def estimate(mean, low, high):
        return Estimate(mean, low, high, np.empty((0, 0)))

    far, near, none = estimate(0.9, 0.8, 0.95), estimate(0.75, 0.7, 0.85), estimate(0.0, 0.0, 0.1)
    assert clear_best([near, far, None], "higher") is None
    assert clear_best([none, far], "higher") == 0.9
    assert clear_best([none, far], "lower") == 0.0
    assert clear_best([none], "higher") is None
    assert clear_best([estimate(0.9, np.nan, np.nan), none], "higher") is None
    assert clear_best([None], "higher") is None


@pytest.mark.usefixtures("without_page")
def test_the_baseline_can_be_named(board, tmp_path):
    text = make_report(board.parent.parent, tmp_path / "out", against="greedy_decode", baselines=False)
    assert "ood less greedy_decode" in text
    with pytest.raises(RnnzooError, match="against: found 'nobody', expected one of greedy_decode, nonint"):
        make_report(board.parent.parent, tmp_path / "out", against="nobody", baselines=False)


@pytest.mark.usefixtures("without_page")
def test_a_protocol_that_reports_ood_alone(tmp_path):
    rows = make_rows(IMAGES)
    rows = rows.model_copy(update={"protocol": "paper", "splits": {"ood": rows.splits["ood"]}})
    board = leaderboard_folder(tmp_path, IMAGES, "paper")
    write_rows(board, rows)
    write_result(board, make_result(rows, "noninteractive_probing", "rotation", 0))
    write_emulation(board, make_emulation(rows, "noninteractive_probing", 0))
    assert "mean error (deg) ↓ ood" in make_report(tmp_path, tmp_path / "out", baselines=False)
    assert "readouts learn on the other half" in (tmp_path / "out" / "report.md").read_text()


def test_a_target_without_the_encoder_to_compare_with_has_another_one(tmp_path):
    """Asked for on the command line, an encoder may have results on some targets alone."""
    board = write_results(tmp_path, LANGUAGES, seeds=2, encoders=FEW)
    for seed in range(2):
        result_path(board, "greedy_decode", "features", "accuracy", seed).unlink()
    against = {table.target.name: table.baseline for table in target_tables(read_results(tmp_path)[0], FEW[1])}
    assert (against["offsets"], against["accuracy"]) == (FEW[1], FEW[0])


@pytest.mark.usefixtures("without_page")
@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_of_one_seed_says_so(seeds, tmp_path):
    """It tells of other tasks alone, so that none is the clear best."""
    write_results(tmp_path, LANGUAGES, seeds=seeds, encoders=("greedy_decode", "layer_statistics"))
    text = make_report(tmp_path, tmp_path / "out", baselines=False)
    found = best_scores(LeaderboardTables.of(read_results(tmp_path)[0], None))
    assert (NOTE_ONE_SEED in text) == (seeds == 1)
    assert ("offsets" in found) == (seeds == 3)


@pytest.mark.usefixtures("without_page")
@pytest.mark.parametrize("readout", ["mlp", "identity"])
def test_one_seed_of_readouts_that_draw_is_one_of_several(readout, tmp_path):
    board = write_results(tmp_path, LANGUAGES, seeds=1, encoders=("greedy_decode",))
    for path in board.rglob("*-seed0.json"):
        content = json.loads(path.read_text())
        content["readouts"] = {readout: next(iter(content["readouts"].values()))}
        path.write_text(json.dumps(content))
    text = make_report(tmp_path, tmp_path / "out", baselines=False)
    assert (NOTE_ONE_SEED in text) == (readout == "mlp")


@pytest.mark.usefixtures("without_page")
def test_a_mean_over_some_of_the_seeds_says_so(tmp_path):
    """A rank correlation has no value where an encoder predicts one number for all."""
    board = write_results(tmp_path, LANGUAGES, seeds=3, encoders=("greedy_decode", "layer_statistics"))
    note = "track features: `tau` of test has a value with 1 of 3 seeds, and is the mean of those."
    assert note not in make_report(tmp_path, tmp_path / "before", baselines=False)
    for seed in (0, 2):
        path = result_path(board, "greedy_decode", "features", "accuracy", seed)
        content = json.loads(path.read_text())
        content["predictions"]["test"] = [0.5] * len(content["predictions"]["test"])
        path.write_text(json.dumps(content))
    assert f"`greedy_decode`, {note}" in make_report(tmp_path, tmp_path / "after", baselines=False)


def test_the_table_of_a_run():
    rows = make_rows(IMAGES)
    group = [make_result(rows, "greedy_decode", "rotation", seed) for seed in range(2)]
    lines = format_table(group, rows).splitlines()
    assert lines[0].split() == ["encoder", "track", "target", "score", "test", "ood"]
    assert lines[2].startswith("greedy_decode  features  rotation  mean error (deg) ↓")
    mean = np.mean([result.scores["ood"]["mean error (deg)"] for result in group])
    assert lines[2].split()[-1] == number(mean)


def test_numbers_have_three_digits():
    def estimate(mean, low, high):
        return with_interval(Estimate(mean, low, high, np.empty(0)))

    assert estimate(0.8123, 0.79, 0.8331) == "0.812 (0.790–0.833)"
    assert estimate(-0.01, -0.02, 0.011) == "-0.010 (-0.020 to 0.011)"
    assert estimate(12.34, 9.876, 101) == "12 (10–101)"
    assert estimate(0.5, np.nan, np.nan) == "0.500 (–)"
    assert [number(np.nan), number(np.inf), number(None)] == ["–"] * 3
    assert [number(None), number(0.5, sign=True), number(-1.372)] == ["–", "+0.500", "-1.37"]
    assert [number(-0.0004), number(-0.0004, sign=True)] == ["0.000", "+0.000"]


def test_folders_of_encoders_have_names_that_file_systems_take():
    long = [f"mine:E(names={tuple('head.weight' for _ in range(count))!r})" for count in (15, 30, 31)]
    folders = [encoder_folder(name) for name in (*long, "mine:E", 'flat_mlp(form="published")')]
    assert len(set(folders)) == len(folders)
    assert max(map(len, folders)) < 200
    assert folders[-2:] == ["mine.E", "flat_mlp(form=.published.)"]

"""Changes of files that decide scores and leave them as they are: what stands for what, and who says so."""

import hashlib
import json
import subprocess
import sys

import pytest

from benchmarks import same_scores as program
from rnnzoo.loaders.benchmark import same_scores
from rnnzoo.loaders.benchmark.code import DECIDING, code_of
from rnnzoo.loaders.encoders.names import encoder_location
from rnnzoo.loaders.encoders.weight_norm import WeightNorm

FILE = "rnnzoo/loaders/encoders/weight_norm.py"


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def test_every_entry_is_of_a_file_as_it_is_now():
    """One of an earlier state says nothing any more: the program replaces it."""
    for file, entry in same_scores.table_of(same_scores.TABLE).items():
        now = digest((program.ROOT / file.removeprefix("rnnzoo/")).read_bytes())
        assert list(entry) == [now], file
        assert entry[now] != now
        assert file.removeprefix("rnnzoo/") in program.deciding_files(program.ROOT)


def test_a_file_that_scores_alike_has_the_key_of_the_earlier_one(monkeypatch, tmp_path):
    code, _ = code_of(encoder_location("weight_norm"), WeightNorm)
    monkeypatch.setattr(same_scores, "TABLE", tmp_path / "table.json")
    (tmp_path / "table.json").write_text(json.dumps({FILE: {code[FILE]: "earlier", "other": "none"}}))
    found, _ = code_of(encoder_location("weight_norm"), WeightNorm)
    assert found[FILE] == "earlier"
    files = {file: (program.ROOT / file.removeprefix("rnnzoo/")).read_bytes() for file in code if file != FILE}
    assert found == {FILE: "earlier"} | {file: digest(content) for file, content in files.items()}


def test_files_of_the_user_never_stand_for_others(monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    now = digest((tmp_path / "mine.py").read_bytes())
    monkeypatch.setattr(same_scores, "TABLE", tmp_path / "table.json")
    (tmp_path / "table.json").write_text(json.dumps({"mine.py": {now: "earlier"}}))
    assert code_of("mine:Mine")[0]["mine.py"] == now


@pytest.fixture
def checkouts(tmp_path):
    """Two trees that differ nowhere."""
    trees = [tmp_path / "before", tmp_path / "after"]
    for tree in trees:
        for name, content in {
            "loaders/encoders/one.py": "1",
            "loaders/encoders/two.py": "2",
            "loaders/reading/three.py": "3",
            "zoo_builder/compiled/kernel.cpp": "4",
        }.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content)
    return trees


def test_what_has_changed_of_what_decides(checkouts):
    before, after = checkouts
    (after / "loaders/reading/three.py").write_text("another")
    assert program.changed_files(before, after) == []
    (after / "loaders/encoders/one.py").write_text("another")
    assert program.changed_files(before, after) == ["loaders/encoders/one.py"]


@pytest.mark.parametrize("name", ["loaders/encoders/new.py", "zoo_builder/compiled/kernel.cpp"])
def test_what_no_run_can_show(name, checkouts):
    before, after = checkouts
    (after / name).write_text("another")
    with pytest.raises(SystemExit, match=f"{name}: found a file that is new, gone or compiled"):
        program.changed_files(before, after)
    with pytest.raises(SystemExit, match=f"{name}: found a file that is new, gone or compiled"):
        program.changed_files(after, before)


def test_a_chain_of_changes_stands_for_the_first(checkouts, monkeypatch, tmp_path):
    before, after = checkouts
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "TABLE", tmp_path / "same_scores.json")
    program.TABLE.write_text("{}")
    name = "loaders/encoders/one.py"
    first, second, third = (digest(text) for text in (b"1", b"second", b"third"))
    for text, expected in (
        ("second", {f"rnnzoo/{name}": {second: first}}),
        ("third", {f"rnnzoo/{name}": {third: first}}),
        ("1", {}),
    ):
        (before / program.TABLE.name).write_text(program.TABLE.read_text())
        (after / name).write_text(text)
        program.table_of.cache_clear()
        program.write_down([name], before, after)
        assert json.loads(program.TABLE.read_text()) == expected
        (before / name).write_text(text)
    program.table_of.cache_clear()


def write(folder, name, **content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_results_are_compared_number_by_number(tmp_path, capsys):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, seconds in ((before, 1), (after, 2)):
        write(
            folder, "zoo/strict/one.json", scores={"test": 0.5}, seconds=seconds, key={"of": seconds}, command="x"
        )
        write(folder, "zoo/strict/two.json", curve=[1, 2])
    assert program.compare(before, after) == 2
    write(after, "zoo/strict/one.json", scores={"test": 0.5000001}, moves=0)
    with pytest.raises(SystemExit, match="1 of 2 results differ"):
        program.compare(before, after)
    assert capsys.readouterr().out == "zoo/strict/one.json: scores, moves differ\n"
    write(before, "zoo/strict/three.json")
    with pytest.raises(SystemExit, match="2 of 2 results differ"):
        program.compare(before, after)
    with pytest.raises(SystemExit, match="0 of 0 results differ"):
        program.compare(tmp_path / "none", tmp_path / "none")


def test_a_checkout_is_imported_from_its_own_folder(tmp_path):
    (tmp_path / "tree/rnnzoo").mkdir(parents=True)
    (tmp_path / "tree/rnnzoo/__init__.py").write_text("WHERE = 'there'\n")
    for name in ("loaders", "zoo_builder", "dataset_cards"):
        (tmp_path / "tree" / name).mkdir()
    environment = program.importable(tmp_path / "tree", tmp_path / "links")
    words = [sys.executable, "-c", "import rnnzoo; print(rnnzoo.WHERE)"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "there\n"


def test_the_rooms_that_decide_have_files():
    """Each of `DECIDING` is a module or a package of this checkout."""
    files = program.deciding_files(program.ROOT)
    for name in DECIDING:
        room = name.removeprefix("rnnzoo.").replace(".", "/")
        assert any(file == f"{room}.py" or file.startswith(f"{room}/") for file in files), room

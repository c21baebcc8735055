"""Push, with the real `huggingface_hub` over real HTTP, to the loopback hub."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback_hub import READ_TOKEN, WRITE_TOKEN, LoopbackHub

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.release import check_release, push_release, release_zoo
from rnnzoo.zoo_builder.release import folder as addressing
from rnnzoo.zoo_builder.training.kernels import TorchKernel

NAME = "org/zoo"


@pytest.fixture
def release(language_release, tmp_path):
    return shutil.copytree(language_release, tmp_path / "release")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that this process's client talks to, with the right to write."""
    with LoopbackHub() as hub:
        hub.take_over(monkeypatch, tmp_path / "home", WRITE_TOKEN)
        yield hub


@pytest.fixture
def no_waiting(monkeypatch):
    """The client waits for seconds before it tries again."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_whole_way_by_command_line(hub, release, tmp_path):
    def builder(*arguments):
        command = [sys.executable, "-m", "rnnzoo.zoo_builder", *map(str, arguments)]
        environment = hub.environment(tmp_path / "home", WRITE_TOKEN)
        environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    ours = set(contents(release))
    (release / ".DS_Store").touch()
    (release / "weights/notes.txt").touch()
    listed = builder("push", release, NAME, "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert "README.md" in listed.stdout
    assert f"to {NAME}, tag v1.0.0" in listed.stdout
    assert not hub.repositories
    pushed = builder("push", release, NAME)
    assert pushed.returncode == 0, pushed.stderr
    assert WRITE_TOKEN not in pushed.stdout + pushed.stderr
    check_release(release)
    assert hub.files(NAME, "v1.0.0") == {
        name: content for name, content in contents(release).items() if name in ours
    }
    assert f'load_dataset("{NAME}"'.encode() in hub.files(NAME)["README.md"]
    again = builder("push", release, NAME)
    assert again.returncode == 2
    assert "found 'v1.0.0', which" in again.stderr
    assert "Traceback" not in again.stderr


STOCK = """
import re
from pathlib import Path
from datasets import load_dataset
from huggingface_hub import snapshot_download

name, tag = "org/zoo", "v1.0.0"
rows = load_dataset(name, revision=tag)
assert list(rows) == ["train", "validation", "test", "ood"], rows
assert len(load_dataset(name, "metadata", split="train")) == len(rows["train"])
last = load_dataset(name, split="train", streaming=True, filters=[("step", "==", 100)]).shuffle(seed=0)
found = {row["checkpoint_id"]: row["weights"] for row in last}
expected = {row["checkpoint_id"]: row["weights"] for row in rows["train"] if row["step"] == 100}
assert found == expected
assert next(iter(load_dataset(name, "rollouts", split="ood", streaming=True)))["inputs"][0] == 4
folder = Path(snapshot_download(name, repo_type="dataset", revision=tag))
card = (folder / "README.md").read_text()
exec(re.findall(r"```python\\n(.*?)```", card, re.DOTALL)[0])
assert logits.shape == (1, 5, 6)
"""


@pytest.mark.slow
def test_stock_clients_read_what_was_pushed(hub, release, tmp_path):
    push_release(release, NAME)
    command, environment = [sys.executable, "-c", STOCK], hub.environment(tmp_path / "home")
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr


def test_a_new_version_deletes_what_the_last_one_wrote_and_nothing_else(hub, release):
    push_release(release, NAME)
    repository = hub.repositories["datasets", NAME]
    theirs = hub.storage.add(b"by hand")
    repository.commit(
        "main", hub.repositories["datasets", NAME].commits[repository.resolve("main")] | {"notes.txt": theirs}, "x"
    )
    (release / "figures/map.png").unlink()
    values = json.loads((release / "release.json").read_bytes())
    del values["files"]["figures/map.png"]
    (release / "release.json").write_text(json.dumps(values))
    plan = push_release(release, NAME, "v1.1.0", dry_run=True)
    assert plan.delete == ["figures/map.png"]
    push_release(release, NAME, "v1.1.0")
    assert hub.files(NAME) == contents(release) | {"notes.txt": b"by hand"}
    assert "figures/map.png" in hub.files(NAME, "v1.0.0")
    push_release(release, NAME, "v1.2.0", replace=True)
    assert hub.files(NAME) == contents(release)


@pytest.mark.parametrize("name", ["data.csv", "README.md"])
def test_somebody_elses_files_are_left_alone(hub, release, name, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("not ours")
    hub.add_folder(NAME, tmp_path / "other")
    with pytest.raises(RnnzooError, match=f"found '{name}', which no release wrote"):
        push_release(release, NAME)
    assert hub.files(NAME) == {name: b"not ours"}
    push_release(release, NAME, replace=True)
    assert hub.files(NAME) == contents(release)


def test_a_release_of_another_zoo_is_not_overwritten(hub, release, digits_release, tmp_path):
    push_release(shutil.copytree(digits_release, tmp_path / "digits"), NAME)
    with pytest.raises(
        RnnzooError, match="holds a release of the zoo sequential_digits, expected formal_languages"
    ):
        push_release(release, NAME, "v1.1.0")


def test_a_model_of_that_name(hub, release):
    hub.create(NAME, "models")
    with pytest.raises(RnnzooError, match="found a model repository of this name"):
        push_release(release, NAME)
    assert set(hub.repositories) == {("models", NAME)}


@pytest.mark.parametrize(
    ("token", "message"),
    [(READ_TOKEN, "hub answered 403"), ("hf_stale", "hub answered 401"), (None, "hf auth login")],
)
def test_tokens_without_rights(hub, release, token, message, monkeypatch):
    hub.create(NAME)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RnnzooError, match=message) as caught:
        push_release(release, NAME)
    assert (token or "hf_") not in str(caught.value)
    assert hub.repositories["datasets", NAME].tags == {}


def test_a_cut_upload_goes_on(hub, release, no_waiting):
    hub.fault("PUT /", times=None, cut_after=1000)
    with pytest.raises(RnnzooError, match=NAME):
        push_release(release, NAME)
    hub.faults.clear()
    sent = len(hub.requests("^PUT"))
    push_release(release, NAME)
    assert hub.files(NAME, "v1.0.0") == contents(release)
    assert len(hub.requests("^PUT")) > sent


def test_a_push_cut_off_between_commit_and_tag_goes_on(hub, release, no_waiting):
    hub.fault("POST .*/tag/", times=None, status=500)
    with pytest.raises(RnnzooError, match="the hub answered 500"):
        push_release(release, NAME)
    hub.faults.clear()
    push_release(release, NAME)
    assert hub.files(NAME, "v1.0.0") == contents(release)


def test_a_hub_that_refuses_the_leaderboard_takes_a_release_without(hub, language_zoo, release, tmp_path):
    hub.fault("POST .*/commit/", times=None, status=400)
    with pytest.raises(RnnzooError, match=r"the hub answered 400 .*a release can be made without a leaderboard"):
        push_release(release, NAME)
    hub.faults.clear()
    release_zoo(language_zoo, tmp_path / "without", TorchKernel(), leaderboard=False)
    push_release(tmp_path / "without", NAME)
    assert "eval.yaml" not in hub.files(NAME)
    assert b"## Leaderboard" not in hub.files(NAME)["README.md"]


def test_a_hub_out_of_reach(release, no_waiting, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(RnnzooError, match="could not be reached"):
        push_release(release, NAME)


@pytest.mark.parametrize(
    ("repository", "tag", "message"),
    [
        ("zoo", None, "repository: found 'zoo', expected the form 'org/name'"),
        ("a/b/c", None, "expected the form 'org/name'"),
        (NAME, "latest", "tag: found 'latest', expected the form 'v1.<minor>.<patch>'"),
        (NAME, "v2.0.0", "tag: found 'v2.0.0', expected the form 'v1"),
        (NAME, "v1.0.\uff11", "tag: found 'v1.0.\uff11', expected the form 'v1"),
        (NAME, "v1.0.1000000000", "tag: found 'v1.0.1000000000', expected the form 'v1"),
    ],
)
def test_names(release, repository, tag, message):
    with pytest.raises(RnnzooError, match=message):
        push_release(release, repository, tag)


def test_what_is_no_sound_release_stays_here(language_zoo, release, tmp_path):
    with pytest.raises(RnnzooError, match="no release of one"):
        push_release(language_zoo, NAME)
    os.mkdir(tmp_path / "empty")
    with pytest.raises(RnnzooError, match="not a zoo"):
        push_release(tmp_path / "empty", NAME)
    (release / "README.md").write_text("by hand")
    with pytest.raises(RnnzooError, match=r"README\.md: not the file that release\.json lists"):
        push_release(release, NAME)


@pytest.mark.parametrize("stop", [1, 2, 4, 5])
def test_a_release_that_was_addressed_in_part_is_addressed_again(release, monkeypatch, stop):
    """Whatever file was the last that a stopped push wrote, and whichever repository it is to be next."""
    left = stop

    def stopping(write):
        def wrapped(*arguments):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return write(*arguments)

        return wrapped

    for name in ("write_file", "write_json"):
        monkeypatch.setattr(addressing, name, stopping(getattr(addressing, name)))
    with pytest.raises(KeyboardInterrupt):
        addressing.address_release(release, check_release(release), "org/first", "v1.0.0")
    left = stop
    with pytest.raises(KeyboardInterrupt):
        addressing.address_release(release, check_release(release), "org/second", "v1.1.0")
    left = 100
    (release / ".README.md.0123456789abcdef.tmp").write_text("half, by one that was killed")
    contents = addressing.address_release(release, check_release(release), "org/second", "v1.1.0")
    assert check_release(release) == contents
    assert (contents["repo_id"], contents["tag"]) == ("org/second", "v1.1.0")
    assert not list(release.glob(".*"))
    texts = [(release / name).read_text() for name in ("README.md", "CITATION.cff", "croissant.json")]
    assert all("org/second" in text and "org/first" not in text for text in texts)


@pytest.mark.parametrize("tags", [["v1.2.0"], [None, "v1.10.0"], ["v1.2.0", "v1.3.0"]])
def test_what_is_published_names_the_tag_that_it_gets(hub, release, tags):
    for tag in tags:
        push_release(release, NAME, tag)
    for tag in tags:
        files, version = hub.files(NAME, tag or "v1.0.0"), (tag or "v1.0.0")[1:]
        card = files["README.md"].decode()
        assert f'revision="v{version}"' in card
        assert f"note   = {{Version v{version}, digest" in card
        assert json.loads(files["croissant.json"])["version"] == version
        assert f'version: "{version}"' in files["CITATION.cff"].decode()
        assert json.loads(files["release.json"])["tag"] == f"v{version}"


def test_an_error_of_our_own_is_not_said_to_be_the_hubs(hub, release, monkeypatch):
    def broken(*arguments):
        raise ValueError("a card that cannot be written")

    monkeypatch.setattr(addressing, "card_of", broken)
    with pytest.raises(ValueError, match="a card that cannot be written"):
        push_release(release, NAME)

"""`python -m benchmarks.paper_zoos`, at a smaller preset; and the records that it left beside the cards."""

import json
import os
import signal
import sys
import time

import pytest

from benchmarks import paper_zoos
from rnnzoo import load_zoo
from rnnzoo.zoo_builder.identity.named import known_digests
from rnnzoo.zoo_builder.storage.digest import config_digest
from rnnzoo.zoo_builder.storage.manifest import FileEntry, read_manifest, read_metadata
from rnnzoo.zoo_builder.storage.schema import SPLITS_FILE, metadata_file
from rnnzoo.zoo_builder.zoos import resolve_config

RECORDS = sorted(paper_zoos.CARDS.glob(f"*/{paper_zoos.PRESET}"))


@pytest.mark.slow
def test_a_zoo_is_built_and_leaves_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_zoos, "PRESET", "smoke")
    command = ["--out", str(tmp_path), "--cards", str(tmp_path / "cards"), "--zoo", "formal_languages"]
    paper_zoos.main([*command, "--runs", "8", "--steps", "4", "--threads", "1"])
    zoo, record = tmp_path / "formal_languages-smoke", tmp_path / "cards" / "formal_languages" / "smoke"
    assert {path.name for path in record.iterdir()} == {
        "build.json",
        "metadata",
        "overview.png",
        "splits.json",
        "zoo.json",
    }
    assert read_manifest(record) == read_manifest(zoo)
    assert sum(len(split) for split in load_zoo(str(record), tensors=[]).values()) == 2 * 8
    sittings = json.loads((record / "build.json").read_text())
    assert [sitting["exit_code"] for sitting in sittings] == [0]
    assert sittings[0]["cores"] > 0
    assert str(tmp_path) not in str(sittings)


def fails(*command):
    sys.exit(130)


def is_killed(*command):
    time.sleep(1.2)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_sitting_is_written_down_however_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_zoos, "SECONDS", 0.1)
    log = tmp_path / "zoo-sittings.json"
    for run in (fails, is_killed, lambda *command: None):
        monkeypatch.setattr(paper_zoos, "command", run)
        child = os.fork()
        if child == 0:
            try:
                paper_zoos.build("formal_languages", tmp_path / "zoo", [], ["--workers", "2"])
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    sittings = json.loads(log.read_text())
    assert [sitting["exit_code"] for sitting in sittings] == [130, "killed", 0]
    assert sittings[1]["seconds"] >= 1
    assert all(sitting["options"] == ["--workers", "2"] and sitting["seconds"] >= 0 for sitting in sittings)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.parent.name)
def test_a_committed_record_is_of_the_paper_zoo(record):
    zoo = record.parent.name
    manifest = read_manifest(record)
    config = resolve_config(zoo, paper_zoos.PRESET)
    assert config_digest(manifest.config) == config_digest(config.to_dict())
    assert [str(manifest.digest)] == known_digests()[zoo][paper_zoos.PRESET]
    for name in (*map(metadata_file, manifest.splits), SPLITS_FILE):
        assert FileEntry.of(record / name) == manifest.files[name]
    steps = read_metadata(record, manifest)["step"].to_pylist()
    assert {step: steps.count(step) for step in set(steps)} == dict.fromkeys(config.checkpoints, 1000)
    assert json.loads((record / "build.json").read_text())[-1]["exit_code"] == 0

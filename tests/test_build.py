"""Builds: the same bytes however often they are interrupted, and nothing lost when something breaks."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from tiny_builds import TINY, Watcher, build_command, contents, tiny_config

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan, build_zoo
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder
from rnnzoo.zoo_builder.pipeline.shard.record import record_path, rows_file
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.training.kernels import TorchKernel

RUNS, STEPS = TINY["runs"], TINY["steps"]


@pytest.fixture
def uninterrupted(undisturbed):
    return undisturbed(tiny_config())


def test_a_finished_zoo_holds_what_its_manifest_says(uninterrupted):
    manifest = read_manifest(uninterrupted)
    assert set(contents(uninterrupted)) == {*manifest.files, "zoo.json"}
    assert sum(entry.runs for entry in manifest.splits.values()) == RUNS
    assert manifest.config["steps"] == STEPS
    for split, entry in manifest.splits.items():
        rows = pq.read_table(uninterrupted / f"metadata/{split}.parquet")
        assert len(rows) == entry.checkpoints == entry.runs * 3
        assert set(rows["split"].to_pylist()) == {split}


def test_rows_are_sorted_by_step_task_and_run_and_shards_are_plain_safetensors(uninterrupted):
    rows = pq.read_table(uninterrupted / "metadata/train.parquet").to_pylist()
    for shard in {row["shard"] for row in rows}:
        mine = [row for row in rows if row["shard"] == shard]
        assert [row["row"] for row in mine] == list(range(len(mine)))
        keys = [(row["step"], row["task_id"], row["run_id"]) for row in mine]
        assert keys == sorted(keys)
        tensors = load_file(uninterrupted / shard)
        assert list(read_shard(uninterrupted / shard).tensors) == list(tensors)
        assert all(len(tensor) == len(mine) and tensor.dtype == np.float32 for tensor in tensors.values())


def test_a_run_does_not_depend_on_how_many_there_are(uninterrupted, tmp_path):
    build_zoo(tiny_config(runs=5, runs_per_shard=3), str(tmp_path / "zoo"), TorchKernel(), Watcher())
    few, many = (
        {
            row["checkpoint_id"]: row
            for name in ("train", "validation", "test", "ood")
            for row in pq.read_table(folder / f"metadata/{name}.parquet").to_pylist()
        }
        for folder in (tmp_path / "zoo", uninterrupted)
    )
    assert len(few) == 15
    for name, row in few.items():
        for column in ("sha256", "accuracy", "eval_loss", "rollout_loss", "task_id", "seed"):
            assert row[column] == many[name][column], (name, column)


@pytest.mark.parametrize("zoo", ["formal_languages", "sequential_digits"])
@pytest.mark.parametrize("stop_after", [1, RUNS * 60, RUNS * STEPS])
def test_a_stopped_build_goes_on_to_the_same_bytes(zoo, stop_after, undisturbed, tmp_path):
    config = tiny_config(zoo)
    with pytest.raises(Interrupted):
        build_zoo(config, tmp_path / "zoo", TorchKernel(), Watcher(stop_after))
    with pytest.raises(RnnzooError, match="an unfinished zoo"):
        read_manifest(tmp_path / "zoo")
    watcher = Watcher()
    build_zoo(config, tmp_path / "zoo", TorchKernel(), watcher)
    assert (watcher.model_steps, watcher.runs, watcher.diverged) == (RUNS * STEPS, RUNS, 0)
    assert watcher.resumed >= stop_after
    assert contents(tmp_path / "zoo") == contents(undisturbed(config))


def kill_at_a_random_moment(command, longest, chance):
    """Start a build, and kill it with SIGKILL up to `longest` seconds after it has begun its work."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert "runs of" in process.stdout.readline()
    assert "with kernel" in process.stdout.readline()
    time.sleep(chance.uniform(0, longest))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_build_goes_on_to_the_same_bytes(kills, tmp_path):
    settings = {"steps": 100 * kills, "checkpoints": (0, 50, 100 * kills)}
    command = build_command(tmp_path / "zoo", "--save-every", "0", **settings)  # so often that kills hit saves
    chance = random.Random(kills)
    hit = sum(kill_at_a_random_moment(command, 0.5, chance) for _ in range(kills))
    assert hit >= kills / 2
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    build_zoo(tiny_config(**settings), tmp_path / "whole", TorchKernel(), Watcher())
    assert contents(tmp_path / "zoo") == contents(tmp_path / "whole")


def test_building_a_finished_zoo_again_changes_nothing(uninterrupted):
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    build_zoo(tiny_config(), uninterrupted, TorchKernel(), Watcher())
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}


def test_another_config_is_refused_and_named(uninterrupted, tmp_path):
    before = contents(uninterrupted)
    with pytest.raises(RnnzooError, match="seed is 0 there, 7 was asked for"):
        build_zoo(tiny_config(seed=7), uninterrupted, TorchKernel(), Watcher())
    assert contents(uninterrupted) == before
    with pytest.raises(Interrupted):
        build_zoo(tiny_config(), tmp_path / "zoo", TorchKernel(), Watcher(1))
    with pytest.raises(RnnzooError, match="batch_size is 2 there, 3 was asked for"):
        build_zoo(tiny_config(batch_size=3), tmp_path / "zoo", TorchKernel(), Watcher())


@pytest.mark.parametrize("name", [".DS_Store", "lost+found", ".snapshot", "Thumbs.db"])
def test_what_systems_leave_in_a_folder_is_no_obstacle(name, tmp_path):
    (tmp_path / name).mkdir()
    open_folder(tiny_config(), tmp_path)
    assert (tmp_path / name).is_dir()


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RnnzooError, match=r"found 'thesis.txt' in it"):
        build_zoo(tiny_config(), tmp_path, TorchKernel(), Watcher())
    assert contents(tmp_path) == {"thesis.txt": b"precious"}
    with pytest.raises(RnnzooError, match="a file, expected a folder"):
        build_zoo(tiny_config(), tmp_path / "thesis.txt", TorchKernel(), Watcher())


@pytest.mark.parametrize(
    "damage",
    [
        "flip",
        "delete",
        "state",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("truncate", "record", "rows")),
    ],
)
def test_damage_during_a_build_is_noticed_and_mended(damage, uninterrupted, tmp_path, caplog, monkeypatch):
    config, folder = tiny_config(), tmp_path / "zoo"
    monkeypatch.setattr(
        "rnnzoo.zoo_builder.pipeline.local.in_process.runs_that_fit", lambda *_: 1
    )  # a shard at a time
    with pytest.raises(Interrupted):
        build_zoo(config, folder, TorchKernel(), Watcher(2 * STEPS + 1))  # in the second shard
    shard = ZooPlan(config, config.make_family()).shards[0]
    victims = {
        "record": record_path(folder, shard),
        "rows": folder / rows_file(shard),
        "state": next((folder / ".build").glob("*.state.safetensors")),
    }
    victim = victims.get(damage, folder / f"weights/{shard.name}.safetensors")
    content = bytearray(victim.read_bytes())
    content[-50] ^= 1
    if damage == "delete":
        victim.unlink()
    else:
        victim.write_bytes(content[:100] if damage == "truncate" else content)
    build_zoo(config, folder, TorchKernel(), Watcher())
    assert ("begins anew" if damage == "state" else "is built again") in caplog.text
    assert contents(folder) == contents(uninterrupted)


def test_what_a_kill_left_half_written_is_cleared_away(uninterrupted, tmp_path):
    with pytest.raises(Interrupted):
        build_zoo(tiny_config(), tmp_path / "zoo", TorchKernel(), Watcher(1))
    (tmp_path / "zoo/weights").mkdir(exist_ok=True)
    (tmp_path / "zoo/weights/.train-00000-of-00002.safetensors.0123456789abcdef.tmp").write_bytes(b"half")
    build_zoo(tiny_config(), tmp_path / "zoo", TorchKernel(), Watcher())
    assert contents(tmp_path / "zoo") == contents(uninterrupted)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    """A limit on file sizes stands in for a full disk: a write fails half-way."""
    arguments = ["build", "formal_languages", "--out", str(tmp_path / "zoo"), "--kernel", "torch"]
    arguments += ["--runs", "4", "--steps", "2", "--set", "sampled_strings=20", "--set", "runs_per_shard=4"]
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))\n"
        "from rnnzoo.zoo_builder.cli import main\n"
        "main()\n"
    )
    failed = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert failed.returncode == 2, failed.stderr
    assert ".safetensors: could not be written: File too large" in failed.stderr
    assert not list((tmp_path / "zoo").rglob("*.tmp"))
    resumed = subprocess.run(
        [sys.executable, "-m", "rnnzoo.zoo_builder", *arguments], capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr


def test_a_run_that_diverges_is_recorded(tmp_path):
    config = tiny_config(weight_decays=(0.0, 1e6), runs=6, runs_per_shard=6)
    watcher = Watcher()
    build_zoo(config, tmp_path / "zoo", TorchKernel(), watcher)
    rows = [
        row
        for split in ("train", "validation", "test", "ood")
        for row in pq.read_table(tmp_path / f"zoo/metadata/{split}.parquet").to_pylist()
    ]
    assert len(rows) == 6 * 3
    wild = {row["run_id"] for row in rows if row["weight_decay"] > 1}
    assert 0 < len(wild) == watcher.diverged < 6
    for row in rows:
        assert row["diverged"] == (row["run_id"] in wild and row["step"] > 0)
        if row["diverged"]:
            assert np.isnan(row["eval_loss"])
            assert row["accuracy"] == 0


def test_few_tasks_are_said(tmp_path, caplog):
    build_zoo(tiny_config(runs=2), tmp_path / "zoo", TorchKernel(), Watcher())
    assert "is empty: 2 tasks are too few" in caplog.text
    assert json.loads((tmp_path / "zoo/zoo.json").read_bytes())["splits"]["test"]["runs"] == 0


def test_only_whole_files_are_left_by_a_failing_write(tmp_path, monkeypatch):
    from rnnzoo.zoo_builder.storage.writing import write_file

    (tmp_path / "file").write_bytes(b"old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RnnzooError, match="No space left on device"):
        write_file(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"old"}

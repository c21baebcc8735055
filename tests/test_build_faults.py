"""Faults, for real: processes killed by SIGKILL, a full disk, two builds at once, a clock that jumps.

After each of them the zoo is finished, passes `verify`, and has the bytes of one built undisturbed. (A shard
damaged between build and merge: see test_merge.py.)
"""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from tiny_builds import Watcher, build_command, contents, one_shard_at_a_time, start, tiny_config

from benchmarks.processes import is_alive, kill, workers_of
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan, build_zoo, locks
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import find_unbuilt
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.locks import locked, locks_at_once, try_lock
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.shard.record import record_path
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.pipeline.shard.unit import build_shards
from rnnzoo.zoo_builder.storage.schema import weights_file
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo

FIELDS = {"runs": 4, "runs_per_shard": 1}
CONFIG = tiny_config(**FIELDS)
STEPS = CONFIG.steps
LONGER = FIELDS | {"steps": 400, "checkpoints": (0, 50, 400)}
"""Long enough to be hit in mid-shard."""
PATIENCE = 240
"""Seconds for what takes two when the machine is idle."""


def command(folder, *more, fields=FIELDS):
    return build_command(folder, "--save-every", "0", "--threads", "1", *more, **fields)


def check(folder, expected):
    """expected: the folder of an undisturbed build."""
    assert all(check.passed for check in verify_zoo(folder, TorchKernel(), sample=3))
    assert contents(folder) == contents(expected)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {PATIENCE} s"
        time.sleep(0.1)


def shard_under_way(folder):
    return next((folder / ".build").glob("*.state.safetensors"), None)


@pytest.mark.slow
def test_a_worker_killed_mid_shard(undisturbed, tmp_path):
    folder = tmp_path / "zoo"
    driver = start(command(folder, "--workers", "2", fields=LONGER))
    wait_until(lambda: shard_under_way(folder), "shard under way")
    assert kill(random.Random(0).choice(workers_of(driver.pid)))
    _, words = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, words
    assert "a worker died (killed by SIGKILL)" in words
    check(folder, undisturbed(tiny_config(**LONGER)))


@pytest.mark.slow
def test_the_driver_killed_and_started_again(undisturbed, tmp_path):
    """Its workers notice and end, having saved what they had."""
    folder = tmp_path / "zoo"
    driver = start(command(folder, "--workers", "2", fields=LONGER))
    wait_until(lambda: shard_under_way(folder), "shard under way")
    workers = workers_of(driver.pid)
    assert len(workers) == 2
    assert kill(driver.pid)
    driver.communicate()
    wait_until(lambda: not any(map(is_alive, workers)), "end of the workers")
    assert not (folder / "zoo.json").exists()
    again = subprocess.run(command(folder, "--workers", "2", fields=LONGER), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    check(folder, undisturbed(tiny_config(**LONGER)))


@pytest.mark.slow
def test_ctrl_c_stops_all_workers_with_their_work_saved(undisturbed, tmp_path):
    folder = tmp_path / "zoo"
    driver = subprocess.Popen(
        command(folder, "--workers", "2", fields=LONGER), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: shard_under_way(folder), "shard under way")
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, words = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, words
    assert "everything is saved" in words
    assert "Traceback" not in words
    build_zoo(tiny_config(**LONGER), folder, TorchKernel(), Watcher())
    check(folder, undisturbed(tiny_config(**LONGER)))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 96 kB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here; test_build.py limits file sizes instead")
    try:
        yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    "more", [[], pytest.param(["--workers", "2"], marks=pytest.mark.slow)], ids=["alone", "workers"]
)
def test_a_disk_that_fills_up(more, small_disk, undisturbed):
    disk, enlarge = small_disk
    failed = subprocess.run(command(disk / "zoo", *more), capture_output=True, text=True)
    assert failed.returncode == 2, failed.stderr
    assert re.search(r"zoo-builder: .* could not be written: No space left on device", failed.stderr)
    assert "Traceback" not in failed.stderr
    assert not list(disk.rglob("*.tmp"))
    enlarge()
    again = subprocess.run(command(disk / "zoo", *more), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    check(disk / "zoo", undisturbed(CONFIG))


def test_two_builds_started_on_a_folder_at_once(undisturbed, tmp_path):
    builds = [start(command(tmp_path / "zoo")) for _ in range(2)]
    for build in builds:
        _, words = build.communicate(timeout=PATIENCE)
        assert build.returncode == 0, words
    check(tmp_path / "zoo", undisturbed(CONFIG))


def test_two_builds_at_once_do_nothing_twice(undisturbed, tmp_path, monkeypatch):
    """Locks hold between threads as they do between processes."""
    monkeypatch.setattr(
        "rnnzoo.zoo_builder.pipeline.local.in_process.runs_that_fit", lambda *_: 1
    )  # a shard at a time
    watchers = [Watcher(), Watcher()]
    builds = [
        threading.Thread(target=build_zoo, args=(CONFIG, tmp_path / "zoo", TorchKernel(), watcher))
        for watcher in watchers
    ]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    trained = [watcher.trained for watcher in watchers]
    assert sum(trained) == 4 * STEPS
    assert min(trained) > 0
    assert [watcher.runs for watcher in watchers] == [4, 4]  # each hears of all of them
    check(tmp_path / "zoo", undisturbed(CONFIG))


def test_a_build_that_another_one_overtakes_ends_well(undisturbed, tmp_path, monkeypatch):
    """Without locks both do everything; the second one to end finds the zoo finished under its hands."""
    expected = undisturbed(CONFIG)  # the fixture has locks of its own
    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.locks.fcntl.flock", no_locks)

    class Overtaken(Watcher):
        def report(self, progress):
            if progress.is_stored and self.runs == 0:
                build_zoo(CONFIG, tmp_path / "zoo", TorchKernel(), Watcher())
            super().report(progress)

    build_zoo(CONFIG, tmp_path / "zoo", TorchKernel(), Overtaken())
    check(tmp_path / "zoo", expected)


def no_locks(*_):
    raise OSError(95, "Operation not supported")


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, caplog):
    (tmp_path / ".build").mkdir()
    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.locks.fcntl.flock", no_locks)
    locks = [try_lock(tmp_path, "train-00000-of-00001") for _ in range(2)]
    assert None not in locks
    assert caplog.text.count("has no locks") == 1


def test_a_lock_ends_with_its_process(tmp_path):
    (tmp_path / ".build").mkdir()
    program = (
        "import sys, time; from pathlib import Path; from rnnzoo.zoo_builder.pipeline.locks import try_lock\n"
        "lock = try_lock(Path(sys.argv[1]), 'shard'); print('locked', flush=True); time.sleep(600)"
    )
    holder = start([sys.executable, "-c", program, str(tmp_path)])
    assert holder.stdout.readline() == "locked\n"
    assert try_lock(tmp_path, "shard") is None
    with locked(tmp_path, "another"):
        kill(holder.pid)
    holder.communicate()
    assert try_lock(tmp_path, "shard") is not None


def test_a_folder_whose_build_is_over_has_no_locks(tmp_path):
    with pytest.raises(RnnzooError, match="there is no build here any more"):
        try_lock(tmp_path, "shard")


def test_half_written_files_of_others_that_are_at_work_are_left_alone(tmp_path):
    folder, config = tmp_path / "zoo", CONFIG
    with pytest.raises(Interrupted):
        build_zoo(config, folder, TorchKernel(), Watcher(1))
    mine, theirs = (shard.name for shard in ZooPlan(config, config.make_family()).shards[:2])
    for name in (mine, theirs):
        (folder / f".build/.{name}.state.safetensors.0123456789abcdef.tmp").write_bytes(b"half")
    with try_lock(folder, theirs), pytest.raises(Interrupted):
        build_zoo(config, folder, TorchKernel(), Watcher(1))
    assert [path.name for path in folder.rglob("*.tmp")] == [f".{theirs}.state.safetensors.0123456789abcdef.tmp"]
    build_zoo(config, folder, TorchKernel(), Watcher())
    assert not list(folder.rglob("*.tmp"))


def test_half_written_files_are_left_alone_where_there_are_no_locks(tmp_path, monkeypatch):
    """Nobody can tell whether somebody is at work on them."""
    open_folder(CONFIG, tmp_path / "zoo")
    half = tmp_path / "zoo/.build/.train-00000-of-00002.state.safetensors.0123456789abcdef.tmp"
    half.write_bytes(b"half")
    with monkeypatch.context() as patch:
        patch.setattr("rnnzoo.zoo_builder.pipeline.locks.fcntl.flock", no_locks)
        open_folder(CONFIG, tmp_path / "zoo")
    assert half.exists()
    open_folder(CONFIG, tmp_path / "zoo")
    assert not half.exists()


def test_only_a_broken_record_that_nobody_works_on_is_removed(tmp_path, monkeypatch):
    """A shard that looked broken may have been stored by another build since."""
    folder, plan = tmp_path / "zoo", ZooPlan(CONFIG, CONFIG.make_family())
    build_plan(plan, folder, InProcess(TorchKernel(), 60), Watcher(), Part(1, 2))
    shard = Part(1, 2).choose(plan.shards)[0]
    with monkeypatch.context() as patch:
        patch.setattr("rnnzoo.zoo_builder.pipeline.folder.unbuilt.is_complete", lambda *_: False)
        assert find_unbuilt(folder, [shard]) == [shard]
    assert find_unbuilt(folder, [shard]) == []
    (folder / weights_file(shard.name)).unlink()
    with try_lock(folder, shard.name):
        assert find_unbuilt(folder, [shard]) == [shard]
    assert record_path(folder, shard).exists()
    assert find_unbuilt(folder, [shard]) == [shard]
    assert not record_path(folder, shard).exists()


def test_a_group_has_no_more_shards_than_files_can_be_open(undisturbed, tmp_path, monkeypatch):
    groups = []

    def build_group(plan, folder, group, *more):
        groups.append(len(group))
        build_shards(plan, folder, group, *more)

    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.local.in_process.build_shards", build_group)
    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.local.in_process.MOST_LOCKED", 3)
    build_zoo(CONFIG, tmp_path / "zoo", TorchKernel(), Watcher())
    assert groups == [3, 1]
    check(tmp_path / "zoo", undisturbed(CONFIG))


@pytest.mark.parametrize("jump", [-(10**9), 10**9])
def test_a_clock_that_jumps(jump, undisturbed, tmp_path, monkeypatch):
    """Neither the time of day nor that of files decides anything: states, records and locks stay as good."""
    config, folder = CONFIG, tmp_path / "zoo"
    one_shard_at_a_time(monkeypatch)
    with pytest.raises(Interrupted):
        build_zoo(config, folder, TorchKernel(), Watcher(STEPS + 100))  # in the second shard
    shards = ZooPlan(config, config.make_family()).shards
    assert state_path(folder, shards[1]).exists()
    now = time.time()
    for number, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, (now + jump, now - jump) if number % 2 else (now - jump, now + jump))
    monkeypatch.setattr(time, "time", lambda: now + jump * random.random())
    watcher = Watcher()
    build_zoo(config, folder, TorchKernel(), watcher)
    assert watcher.resumed == STEPS + 100  # a whole shard, and where the second one stood
    check(folder, undisturbed(CONFIG))


@pytest.mark.parametrize(
    ("limit", "count"), [(1024, 1024 - locks.SPARE_FILES), (20, 1), (resource.RLIM_INFINITY, sys.maxsize)]
)
def test_a_lock_is_an_open_file(limit, count, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert locks_at_once() == count
    build_zoo(CONFIG, tmp_path / "zoo", TorchKernel(), Watcher())
    check(tmp_path / "zoo", undisturbed(CONFIG))


@pytest.mark.slow
def test_a_process_that_may_open_few_files_builds_and_merges(undisturbed, tmp_path):
    fields = FIELDS | {"runs": 40}

    def open_few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    merge = [sys.executable, "-m", "rnnzoo.zoo_builder", "merge", str(tmp_path / "zoo"), "--out"]
    for words in (command(tmp_path / "zoo", fields=fields), [*merge, str(tmp_path / "merged")]):
        done = subprocess.run(words, capture_output=True, text=True, preexec_fn=open_few, check=False)
        assert done.returncode == 0, done.stderr
    expected = undisturbed(tiny_config(**fields))
    assert contents(tmp_path / "zoo") == contents(tmp_path / "merged") == contents(expected)

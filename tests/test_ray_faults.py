"""Ray clusters that lose nodes, and commands that are killed: the finished zoo is that of an undisturbed build."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_builds import build_command, contents, tiny_config

from rnnzoo.zoo_builder.pipeline import ZooPlan
from rnnzoo.zoo_builder.pipeline.locks import try_lock

pytest.importorskip("ray")

LONGER = {"steps": 3000, "checkpoints": (0, 50, 3000)}
SMALL = {"object_store_memory": 80 * 2**20}


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of three nodes on this machine: one for the command, and two of one CPU each for tasks."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **SMALL)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start():
    """Starts a build on a cluster, in a session of its own as in a terminal; none outlives the test."""
    started = []

    def start(out, address, *more):
        command = build_command(out, "--save-every", "0.3", "--ray", address, *more, **LONGER)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def states(folder, since=0.0):
    """Saved states of shards that are under way, written after a time."""
    found = []
    for path in folder.glob(".build/*.state.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # just finished
            found += [path] if path.stat().st_mtime > since else []
    return found


def wait_for(condition, process, seconds=240):
    """Wait until a condition holds while a build runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def check_finished(process, folder, undisturbed):
    words, _ = process.communicate(timeout=400)
    assert process.returncode == 0, words
    assert "finished" in words
    assert contents(folder) == contents(undisturbed(tiny_config(**LONGER)))
    verify = [sys.executable, "-m", "rnnzoo.zoo_builder", "verify", str(folder), "--kernel", "torch"]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("through_store", [False, True])
def test_nodes_are_killed_in_mid_shard_and_again(through_store, cluster, start, undisturbed, tmp_path):
    folder, store = tmp_path / "zoo", tmp_path / "store"
    process = start(folder, cluster.address, *(["--store", store.as_uri()] if through_store else []))
    saved = store if through_store else folder
    since = 0.0
    for _ in range(2):
        wait_for(lambda since=since: len(states(saved, since)) == 2, process)  # both nodes are in mid-shard
        since = time.time()
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        cluster.add_node(num_cpus=1, **SMALL)
    assert not (folder / "zoo.json").exists()
    check_finished(process, folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("own_cluster", [False, True])
def test_the_command_is_killed_and_given_again(own_cluster, start, undisturbed, tmp_path, request):
    """Its tasks end with it, whether the cluster is one of its own or lives on."""
    address = "local" if own_cluster else request.getfixturevalue("cluster").address
    folder = tmp_path / "zoo"
    process = start(folder, address)
    wait_for(lambda: states(folder), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    left = states(folder)
    deadline = time.monotonic() + 60
    shards = ZooPlan(tiny_config(**LONGER), tiny_config().make_family()).shards
    for shard in shards:
        while (lock := try_lock(folder, shard.name)) is None:  # somebody still works on it
            assert time.monotonic() < deadline, "a task outlived its command"
            time.sleep(0.1)
        lock.release()
    assert left
    check_finished(start(folder, address), folder, undisturbed)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(start, undisturbed, tmp_path):
    """The signal goes to all processes of the terminal, as Ctrl-C does."""
    folder = tmp_path / "zoo"
    process = start(folder, "local", "--save-every", "1000")
    wait_for(lambda: list(folder.glob(".build/train-*.lock")), process)
    assert not states(folder)
    os.killpg(process.pid, signal.SIGINT)
    words, _ = process.communicate(timeout=120)
    assert process.returncode == 130, words
    assert "everything is saved, and the same command goes on" in words
    assert "Traceback" not in words
    assert states(folder)
    check_finished(start(folder, "local"), folder, undisturbed)

"""Builds on a Ray cluster: the bytes of a plain build, in a shared folder or through a store."""

import os
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from tiny_builds import Watcher, contents, tiny_config

from rnnzoo.zoo_builder.cluster import Resources, TaskEnvironment, as_finished, check_shared
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ShardProgress, ZooPlan, build_zoo
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import arithmetic_path, claim_arithmetic
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder, plan_path
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.ray.executor import OnCluster
from rnnzoo.zoo_builder.pipeline.ray.reporting import ProgressActor, TaskReporter
from rnnzoo.zoo_builder.pipeline.shard.record import record_path
from rnnzoo.zoo_builder.training.kernels import TorchKernel

ONE_CPU = Resources(1, 0)


def spread(cluster, config, folder, watcher, store=None, save_every=120, resources=ONE_CPU):
    executor = OnCluster(cluster, resources, "torch", save_every, store)
    return build_plan(ZooPlan(config, config.make_family()), folder, executor, watcher)


@pytest.mark.parametrize("zoo", ["formal_languages", pytest.param("sequential_digits", marks=pytest.mark.slow)])
def test_a_cluster_gives_the_same_bytes(zoo, ray_cluster, undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watcher = Watcher()
    spread(ray_cluster, tiny_config(zoo), tmp_path / "zoo", watcher)
    assert (watcher.model_steps, watcher.runs) == (7 * 120, 7)
    assert contents(tmp_path / "zoo") == contents(undisturbed(tiny_config(zoo)))


@pytest.mark.slow
def test_a_store_gives_the_same_bytes(ray_cluster, undisturbed, tmp_path):
    store = tmp_path / "store"
    watcher = Watcher()
    spread(ray_cluster, tiny_config(), tmp_path / "zoo", watcher, store.as_uri())
    assert (watcher.model_steps, watcher.runs) == (7 * 120, 7)
    assert contents(tmp_path / "zoo") == contents(undisturbed(tiny_config()))
    assert len(list(store.glob("weights/*"))) == len(list(store.glob(".build/*.record.json"))) > 1

    # All that is left to do elsewhere is to fetch them; one that was damaged there is built again.
    victim, other = sorted(store.glob("weights/*"))[:2]
    victim.write_bytes(victim.read_bytes()[:-1])
    (store / ".build" / f"{other.stem}.record.json").write_bytes(b"{}")
    watcher = Watcher()
    spread(ray_cluster, tiny_config(), tmp_path / "again", watcher, store.as_uri())
    assert (watcher.model_steps, watcher.runs) == (7 * 120, 7)
    assert contents(tmp_path / "again") == contents(undisturbed(tiny_config()))


@pytest.mark.parametrize("through_store", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_stopped_build_goes_on_from_saved_states(through_store, ray_cluster, undisturbed, tmp_path):
    """Stopped as soon as a task says that it has begun, long before its end."""
    folder, store = tmp_path / "zoo", tmp_path / "store"
    config = tiny_config(steps=30_000, checkpoints=(0, 50, 30_000))
    url = store.as_uri() if through_store else None

    class StopsSoon(Watcher):
        def stop_requested(self):
            return self.model_steps > 0

    with pytest.raises(Interrupted):
        spread(ray_cluster, config, folder, StopsSoon(), url)
    states = list((store if through_store else folder).glob(".build/*.state.safetensors"))
    assert states
    assert not list(tmp_path.rglob("*.record.json"))

    class StopsOnceItGoesOn(Watcher):
        def stop_requested(self):
            return self.model_steps > self.resumed > 0

    watcher = StopsOnceItGoesOn()
    with pytest.raises(Interrupted):
        spread(ray_cluster, config, folder, watcher, url)
    assert watcher.resumed > 0


@pytest.mark.slow
def test_what_tasks_warn_of_is_said_once(ray_cluster, tmp_path, caplog):
    """A saved state that is broken is one such thing."""
    config, folder = tiny_config(), tmp_path / "zoo"
    with pytest.raises(Interrupted):
        build_zoo(config, folder, TorchKernel(), Watcher(1))
    states = list(folder.glob(".build/*.state.safetensors"))
    states[0].write_bytes(b"broken")
    spread(ray_cluster, config, folder, Watcher())
    assert caplog.text.count("begins anew") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "memory://zoo"}, r"store: memory://zoo: node .* finds no \.build/plan\.json there"),
        ({"store": "nothing://zoo"}, r"store: nothing://zoo: Protocol not known"),
        ({"resources": Resources(1, 0.5)}, r"no node has room for a task of 1 CPUs \(threads\) and 0\.5 GPUs"),
        ({"resources": Resources(999, 0)}, r"no node has room for a task of 999 CPUs"),
    ],
)
def test_what_cannot_be_is_said_and_stops_the_build(options, message, ray_cluster, tmp_path):
    with pytest.raises(RnnzooError, match=message):
        spread(ray_cluster, tiny_config(), tmp_path / "zoo", Watcher(), **options)


def test_a_task_that_always_dies_is_given_up_and_named(ray_cluster, monkeypatch):
    monkeypatch.setattr("rnnzoo.zoo_builder.cluster.tasks.DEATHS", 1)
    task = ray_cluster.ray.remote(lambda code: os._exit(code)).options(**ONE_CPU.options())
    with pytest.raises(RnnzooError, match=r"ray: shard 3: given up after .* deaths"):
        list(as_finished(ray_cluster, deque(["shard 3"]), lambda _: task.remote(1)))


def test_an_error_of_our_own_keeps_its_trace(ray_cluster):
    task = ray_cluster.ray.remote(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(as_finished(ray_cluster, deque(["shard"]), lambda _: task.remote()))


def test_a_store_with_another_zoo_is_refused(tmp_path):
    store = ObjectStore((tmp_path / "store").as_uri())
    store.prepare(tiny_config())
    store.prepare(tiny_config())
    with pytest.raises(RnnzooError, match=r"seed is 0 there, 7 was asked for"):
        store.prepare(tiny_config(seed=7))


def test_what_a_file_system_raises_is_an_error_of_the_store(monkeypatch):
    """That of S3 raises errors of its own kind, such as for want of credentials."""

    class NoCredentials(Exception):
        pass

    def refuse(url):
        raise NoCredentials("Unable to locate credentials")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(RnnzooError, match=r"^store: s3://zoo: Unable to locate credentials$"):
        ObjectStore("s3://zoo").prepare(tiny_config())


def test_a_broken_plan_in_a_store_is_named_once(tmp_path):
    url = (tmp_path / "store").as_uri()
    ObjectStore(url).prepare(tiny_config())
    (tmp_path / "store" / plan_path(Path())).write_text("[]")
    with pytest.raises(
        RnnzooError, match=rf"^store: {url}: \.build/plan\.json: found list, expected a JSON object"
    ):
        ObjectStore(url).prepare(tiny_config())


def test_a_folder_takes_over_the_arithmetic_of_shards_from_a_store(ray_cluster, tmp_path):
    """Else a build that goes on there in another one would be refused at its end."""
    config = tiny_config()
    plan, part = ZooPlan(config, config.make_family()), tmp_path / "part"
    store = ObjectStore((tmp_path / "store").as_uri())
    build_plan(plan, part, InProcess(TorchKernel(), 60), Watcher(), Part(1, 9))
    store.prepare(config, plan.fingerprints)
    store.send(part, plan.shards[0])
    with pytest.raises(Interrupted):
        spread(ray_cluster, config, tmp_path / "zoo", Watcher(0), store.url)
    assert arithmetic_path(tmp_path / "zoo").read_text() == '"torch-cpu"\n'
    assert record_path(tmp_path / "zoo", plan.shards[0]).exists()

    open_folder(config, tmp_path / "begun")
    claim_arithmetic(tmp_path / "begun", "fma-0")
    with pytest.raises(RnnzooError, match=r"begun in the arithmetic 'fma-0', .* are of torch-cpu; go on"):
        spread(ray_cluster, config, tmp_path / "begun", Watcher(), store.url)
    assert not record_path(tmp_path / "begun", plan.shards[0]).exists()


def test_a_store_that_is_a_folder_is_written_through_no_link(tmp_path):
    plan = tmp_path / "store" / plan_path(Path())
    plan.parent.mkdir(parents=True)
    plan.symlink_to(tmp_path / "elsewhere")
    ObjectStore((tmp_path / "store").as_uri()).prepare(tiny_config())
    assert plan.is_file()
    assert not plan.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_a_node_knows_what_it_does_not_share(tmp_path):
    (tmp_path / "here").touch()
    check_shared(tmp_path / "here", "folder")
    with pytest.raises(RnnzooError, match=r"folder: node .* finds no .*nowhere.* that all nodes share"):
        check_shared(tmp_path / "nowhere", "folder")
    with pytest.raises(RnnzooError, match=r"ray: node .* has rnnzoo .*, expected 0\.0"):
        TaskEnvironment(1, version="0.0").take_over()


def test_a_task_reports_where_it_stands_and_hears_when_to_stop(monkeypatch):
    monkeypatch.setattr("rnnzoo.zoo_builder.pipeline.ray.reporting.REPORT_SECONDS", 0)
    actor = ProgressActor()
    reporter = TaskReporter(actor.report, actor.warn)
    assert not reporter.stop_requested()
    assert actor.fetch(stop=False).progress == []
    found, later = (ShardProgress("shard", 2, step, resumed_from=100) for step in (100, 120))
    reporter.report(found)
    reporter.report(later)
    assert not reporter.stop_requested()
    assert actor.fetch(stop=True).progress == [later]
    assert reporter.stop_requested()


def test_without_ray_it_says_what_to_install(tmp_path):
    program = "import sys; sys.modules['ray'] = None; from rnnzoo.zoo_builder.cli import main; main()"
    arguments = ["build", "formal_languages", "--ray", "--out", str(tmp_path / "zoo")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "zoo-builder: --ray: Ray is not installed" in done.stderr
    assert "pip install rnnzoo[ray]" in done.stderr
    assert not (tmp_path / "zoo").exists()


def test_no_cluster_at_the_address(tmp_path):
    pytest.importorskip("ray")
    arguments = ["build", "formal_languages", "--ray", "127.0.0.1:1", "--out", str(tmp_path / "zoo")]
    done = subprocess.run([sys.executable, "-m", "rnnzoo.zoo_builder", *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "--ray: found '127.0.0.1:1', but no Ray cluster was reached there" in done.stderr
    assert "Traceback" not in done.stderr

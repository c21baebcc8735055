"""What a family gives to a zoo is the same in every process, part and resumption, or the build is refused."""

import json
import logging

import numpy as np
import pytest
from tiny_builds import tiny_config

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Unwatched
from rnnzoo.zoo_builder.pipeline.build import build_plan, build_zoo
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder, plan_path, read_config
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.local.messages import Job, Outcome
from rnnzoo.zoo_builder.pipeline.local.worker import _do
from rnnzoo.zoo_builder.pipeline.merge import merge_parts
from rnnzoo.zoo_builder.pipeline.object_store import ObjectStore
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import differing
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import ZooConfig

CONFIG = tiny_config()
PLAN = ZooPlan(CONFIG, CONFIG.make_family())
OTHERS = {
    "items": lambda self: FormalLanguages().items[::-1],
    "labels": lambda self: np.zeros(len(FormalLanguages().items), np.uint8),
    "tasks": lambda self, runs, seed: FormalLanguages().tasks(runs, seed + 1),
    "out_of_distribution": classmethod(lambda cls, tasks: list(tasks)[:2]),
    "paper_rank": classmethod(lambda cls, task: tuple(-number for number in FormalLanguages.paper_rank(task))),
    "training_items": lambda self, task: FormalLanguages().training_items(task)[1:],
    "evaluation_items": lambda self, task: FormalLanguages().evaluation_items(task)[::-1],
    "view": lambda self, task: np.arange(42, dtype=np.int16)[::-1],
}
ATTRIBUTES = ("items", "labels")


def plan_with(name):
    """The same plan, of a family that gives something else under a name."""
    made = type("Changed", (FormalLanguages,), {} if name in ATTRIBUTES else {name: OTHERS[name]})
    family = made()
    if name in ATTRIBUTES:
        setattr(family, name, OTHERS[name](family))
    return ZooPlan(CONFIG, family)


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_differs_is_named(name):
    assert differing(plan_with(name).fingerprints, PLAN.fingerprints)[0] == name
    assert not differing(ZooPlan(CONFIG, CONFIG.make_family()).fingerprints, PLAN.fingerprints)


def resume(folder):
    build_plan(plan_with("training_items"), folder, InProcess(TorchKernel(), 60), Unwatched())


def merge(folder):
    merge_parts(plan_with("training_items"), [folder], folder.with_name("merged"), lambda: None)


def work(folder):
    plan = plan_with("training_items")
    job = Job(plan, folder, frozenset(shard.name for shard in plan.shards), TorchKernel(), 1, 60, 1, 1)
    ended = _do(job, logging.NullHandler())
    assert ended.outcome is Outcome.FAILED
    raise ended.error


def send(folder):
    store = ObjectStore(f"file://{folder}")
    assert plan_path(folder).exists()
    store.prepare(CONFIG, plan_with("training_items").fingerprints)


def again(folder):
    changed = plan_with("training_items").family
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ZooConfig, "make_family", lambda *_: changed)
        build_zoo(CONFIG, folder, TorchKernel(), Unwatched())


def verify(folder):
    changed = plan_with("training_items").family
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ZooConfig, "make_family", lambda *_: changed)
        (failed,) = (check for check in verify_zoo(folder, TorchKernel(), sample=3) if not check.passed)
    assert failed.name == "metrics"
    raise RnnzooError(failed.found)


@pytest.mark.parametrize("what", [resume, again, verify])
def test_a_finished_zoo_is_of_the_family_that_it_was_built_of(what, tmp_path):
    """Else a build would keep the old data without a word, and `verify` call them damaged."""
    folder = tmp_path / "zoo"
    built = build_zoo(CONFIG, folder, TorchKernel(), Unwatched())
    assert built.fingerprints == PLAN.fingerprints
    with pytest.raises(
        RnnzooError, match=r"zoo\.json: fingerprints: training_items: found '\w+', expected \w+ by the family here"
    ):
        what(folder)
    assert build_zoo(CONFIG, folder, TorchKernel(), Unwatched()).digest == built.digest


def test_a_finished_zoo_is_known_where_its_items_are_out_of_reach(tmp_path, monkeypatch):
    folder = tmp_path / "zoo"
    built = build_zoo(CONFIG, folder, TorchKernel(), Unwatched())

    def out_of_reach(*_):
        raise RnnzooError("no items")

    monkeypatch.setattr(ZooConfig, "make_family", out_of_reach)
    assert build_zoo(CONFIG, folder, TorchKernel(), Unwatched()).digest == built.digest


@pytest.mark.parametrize("going_on", [resume, merge, work, send])
def test_another_family_does_not_go_on_with_a_build(going_on, tmp_path):
    folder = tmp_path / "zoo"
    open_folder(CONFIG, folder, fingerprints=PLAN.fingerprints)
    with pytest.raises(
        RnnzooError, match=r"plan\.json: fingerprints: training_items: found '\w+', expected \w+ by"
    ):
        going_on(folder)
    assert read_config(folder) == CONFIG


def test_a_plan_of_an_earlier_version_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "zoo"
    open_folder(CONFIG, folder)
    assert "fingerprints" not in json.loads(plan_path(folder).read_bytes())
    open_folder(CONFIG, folder, fingerprints=PLAN.fingerprints)
    ObjectStore(f"file://{folder}").prepare(CONFIG, PLAN.fingerprints)


def test_fingerprints_of_another_form_are_refused(tmp_path):
    folder = tmp_path / "zoo"
    open_folder(CONFIG, folder)
    plan_path(folder).write_text(json.dumps(CONFIG.to_dict() | {"fingerprints": ["items"]}))
    with pytest.raises(RnnzooError, match=r"fingerprints: found \['items'\], expected a JSON object"):
        open_folder(CONFIG, folder, fingerprints=PLAN.fingerprints)

"""Which tasks a fresh zoo has, and the split that each is reported in."""

from dataclasses import replace

import numpy as np
import pytest
from commands import exit_code
from conftest import TINY, build

from rnnzoo.loaders.benchmark.fresh import FreshPlan, _splits
from rnnzoo.loaders.benchmark.protocol import PROTOCOLS, partition
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.tasks.sequential_images import images
from rnnzoo.zoo_builder.zoos import config_of, resolve_config


def how_far_out(family, protocol):
    """What tasks are ordered by."""
    if protocol == "paper":
        return family.paper_rank
    return {"formal_languages": lambda task: sum(task.offsets), "sequential_images": lambda task: task.degrees}[
        family.name
    ]


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("zoo", ["language_zoo", "digits_zoo"])
def test_new_tasks_are_ood_where_they_lie_beyond_those_of_the_zoo(zoo, protocol, seed, request):
    loaded = LoadedZoo(request.getfixturevalue(zoo))
    config = replace(config_of(loaded.zoo.manifest.config, "zoo"), seed=seed)
    plan = ZooPlan(config, config.make_family())
    parts = partition(loaded, protocol)
    splits = _splits(loaded, parts, protocol, plan)
    rank = how_far_out(plan.family, protocol)
    held = loaded.column("split" if protocol == "strict" else "paper_split")
    ids = loaded.column("task_id")
    last = max(map(rank, loaded.tasks(np.flatnonzero(held != "ood"))))
    new = {task.task_id: task for task in plan.runs.tasks if task.task_id not in set(ids)}
    assert {splits.get(name) for name in new} <= ({"test", "ood"} if protocol == "strict" else {None, "ood"})
    for name, task in new.items():
        assert (splits.get(name) == "ood") == (rank(task) > last)
    known = {name: split for split, rows in parts.reported.items() for name in ids[rows]}
    assert {name: split for name, split in splits.items() if name not in new} == known
    assert {task.task_id for task in FreshPlan(config, plan.family, splits).runs.tasks} <= splits.keys()


def test_the_items_of_a_fresh_zoo_are_where_the_user_says(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(images.MNIST_VARIABLE, raising=False)
    folder, zoo = tmp_path / "mnist", tmp_path / "zoo"
    asked = []

    def of_folder(found):
        asked.append(found)
        return replace(images.bundled_digits(), source="mnist")

    monkeypatch.setattr(images, "mnist_from_folder", of_folder)
    monkeypatch.setenv(images.MNIST_VARIABLE, str(folder))
    build(resolve_config("sequential_mnist", "smoke", TINY), zoo)
    monkeypatch.delenv(images.MNIST_VARIABLE)
    asked.clear()
    folder.mkdir()
    words = ["--zoo", zoo, "--encoder", "weight_norm", "--target", "step", "--out", tmp_path / "results"]
    assert exit_code("zoo-bench", "run", *words, "--fresh-seed", 5, "--mnist", folder) == 0
    assert set(asked) == {folder}
    (fresh,) = (tmp_path / "results-fresh").iterdir()
    assert LoadedZoo(fresh).zoo.manifest.config["seed"] == 5
    assert "fresh zoo of seed 5" in "".join(capsys.readouterr())

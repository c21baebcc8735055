"""Which tasks a fresh zoo has, and the split that each is reported in."""

from dataclasses import replace

import numpy as np
import pytest

from rnnzoo.loaders.benchmark.fresh import FreshPlan, _splits
from rnnzoo.loaders.benchmark.protocol import PROTOCOLS, partition
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.zoos import config_of


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

"""A zoo that nobody has seen: the benchmarked one from another seed, of its unseen tasks alone.

An encoder that looks weights up in the files of a published zoo cannot be told there from one that understands
them. Among RNNs that were trained just now there is nothing to look up: the gap between both scores shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rnnzoo.loaders.benchmark.protocol import Partition
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.pipeline import Unwatched
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.plan.runs import Runs
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.splits import SPLITS, Splits
from rnnzoo.zoo_builder.storage.digest import config_digest
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import config_of

MOST_RUNS = 48
"""Of a split."""
FEW = 6
"""So many tasks and one further out: about 15 % of them is that one."""
SAVE_SECONDS = 120


@dataclass(frozen=True)
class FreshPlan(ZooPlan):
    """Some runs of a config, those of the unseen tasks. split: task id -> test or ood, of all tasks to take."""

    split: Mapping[str, str]

    @cached_property
    def runs(self) -> Runs:
        every = ZooPlan(self.config, self.family).runs
        taken: Counter[str] = Counter()
        numbers = []
        for number, task in enumerate(every.tasks):
            split = self.split.get(task.task_id)
            if split is not None and taken[split] < MOST_RUNS:
                taken[split] += 1
                numbers.append(number)
        return every.take(np.array(numbers, dtype=np.int64))

    @cached_property
    def splits(self) -> Splits:
        ids = [task.task_id for task in self.runs.tasks]
        paper = ZooPlan(self.config, self.family).splits.paper_split
        return Splits({name: self.split[name] for name in ids}, {name: paper[name] for name in ids})


def build_fresh(
    loaded: LoadedZoo,
    parts: Partition,
    protocol: str,
    seed: int,
    home: Path,
    items_folder: Path | None,
    threads: int | None,
    quiet: bool,
) -> Path:
    """Build the zoo of another seed that stands beside a benchmarked one, or find it built.

    Args:
        loaded: The benchmarked zoo.
        parts: Its partition: tasks that are reported there are reported here. New ones are `ood` where they lie
            further out than all others of the benchmarked zoo that are not `ood` themselves.
        protocol: That of the partition, which says by what order.
        seed: That of the fresh zoo.
        home: The folder of all fresh zoos.
        items_folder: Where the user has the items, if they are read from files.
        threads: CPU threads of the training; None for all cores.
        quiet: Whether not to say that it is built.

    Returns:
        The folder of the zoo, which has at most 48 runs of each split.

    Raises:
        ParameterError: The seed is that of the benchmarked zoo, or gives no run of an unseen task.
        RnnzooError: The zoo was not built but imported, or its items cannot be had.
    """
    manifest = loaded.zoo.manifest
    config = config_of(manifest.config, f"zoo {manifest.zoo}")
    if seed == config.seed:
        raise ParameterError("fresh_seed", f"found {seed}, the seed of the zoo itself, expected another")
    config = replace(config, seed=seed)
    family = config.make_family(items_folder)
    plan = FreshPlan(config, family, _splits(loaded, parts, protocol, ZooPlan(config, family)))
    if not len(plan.runs):
        raise ParameterError("fresh_seed", f"found {seed}, which has no run of an unseen task, expected another")
    splits = hashlib.sha256(json.dumps(plan.split, sort_keys=True).encode()).hexdigest()[:8]
    folder = home / f"{config.zoo}-{config_digest(config.to_dict())}-{splits}"  # protocols report other tasks
    if not quiet:
        tqdm.write(f"fresh zoo of seed {seed}: {len(plan.runs)} runs, {folder}")
    kernel = choose_kernel(config.spec, config.encoding, "cpu", threads=threads)
    build_plan(plan, folder, InProcess(kernel, SAVE_SECONDS), Unwatched())
    return folder


def _splits(loaded: LoadedZoo, parts: Partition, protocol: str, plan: ZooPlan) -> dict[str, str]:
    """Task id -> the split that its fresh runs are reported in."""
    ids = loaded.column("task_id")
    known = set(ids.tolist())
    reported = {task: split for split, rows in parts.reported.items() for task in ids[rows].tolist()}
    new = {task.task_id: task for task in plan.runs.tasks if task.task_id not in known}
    held = [parts.train, parts.validation, *(rows for split, rows in parts.reported.items() if split != "ood")]
    rows = np.concatenate(held)
    inner = loaded.tasks(rows[np.unique(ids[rows], return_index=True)[1]])
    if protocol == "strict":
        beyond = {name for name, task in new.items() if _is_beyond(plan.family, inner, task)}
    else:
        last = max(map(plan.family.paper_rank, inner))
        beyond = {name for name, task in new.items() if plan.family.paper_rank(task) > last}
    found = reported | {task: "ood" if task in beyond else "test" for task in new}
    return {task: split for task, split in found.items() if split in parts.reported and split in SPLITS}


def _is_beyond(family: TaskFamily[Any], inner: Sequence[Task], task: Task) -> bool:
    """Whether a task lies further out than all others, by the family's rule of what is out of distribution."""
    furthest = family.out_of_distribution([*inner, task])
    low = [one for one in inner if one not in furthest][:FEW]
    rivals = [one for one in furthest if one != task]
    return task in furthest and all(family.out_of_distribution([*low, one, task]) == [task] for one in rivals)

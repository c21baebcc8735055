"""Which task belongs to which split. Splits go by task: no task's weights are ever in two of them.

`ood` is what the family says lies further out than all the rest; the other tasks are dealt out at random.
`paper_split` is that of the published code (Herrmann et al. 2024), whatever the seed of the zoo, so that their
protocol reads the same files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnzoo.zoo_builder.random_streams import Stream, permutation
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

Family = TaskFamily[Any] | type[TaskFamily[Any]]
SPLITS = ("train", "validation", "test", "ood")
PAPER_SEED = 1
"""Of the published permutation. NumPy keeps the stream of `RandomState` as it is."""
RULE = (
    "by task: ood = the family's own rule for what lies furthest out (about 15 %); of the others, in a seeded "
    "order, 10/85 test, 5/85 validation, the rest train. paper_split = by task, as the published code: of n tasks "
    "in the order of the paper's rule, the first int(.7 n) + int(.15 n) are permuted by NumPy's RandomState(1), "
    "int(.7 n) of them train and the rest validation; the tasks ranked last are ood."
)


@dataclass(frozen=True)
class Splits:
    """split and paper_split: task id -> name of its split."""

    split: dict[str, str]
    paper_split: dict[str, str]

    def to_dict(self, seed: int) -> dict[str, Any]:
        """The content of a zoo's splits.json. seed: that of the splits."""
        return {"seed": seed, "rule": RULE, "split": self.split, "paper_split": self.paper_split}


def assign_splits(family: Family, tasks: Sequence[Task], seed: int) -> Splits:
    """Split the distinct tasks of a zoo, a function of the set of tasks and the seed.

    Of n tasks, n / 10 are test and n / 20 validation, rounded, among those that are not ood. Where at least three
    are not, each of the three splits has one.
    """
    unique = sorted(set(tasks), key=lambda task: task.task_id)
    ids = {task: task.task_id for task in unique}
    ood = {ids[task] for task in family.out_of_distribution(unique)}
    inner = _shuffled([ids[task] for task in unique if ids[task] not in ood], seed)
    test = _share(len(unique), 0.10, len(inner) - 2)
    validation = _share(len(unique), 0.05, len(inner) - test - 1)
    split = dict.fromkeys(sorted(ood), "ood")
    split |= dict.fromkeys(inner[:test], "test")
    split |= dict.fromkeys(inner[test : test + validation], "validation")
    split |= dict.fromkeys(inner[test + validation :], "train")
    return Splits(split, _paper_split(family, ids))


def _paper_split(family: Family, ids: Mapping[Task, str]) -> dict[str, str]:
    ranked = [ids[task] for task in sorted(ids, key=family.paper_rank)]
    train, validation = int(0.70 * len(ranked)), int(0.15 * len(ranked))
    order = np.random.RandomState(PAPER_SEED).permutation(train + validation)
    return (
        {ranked[rank]: "train" for rank in order[:train]}
        | {ranked[rank]: "validation" for rank in order[train:]}
        | dict.fromkeys(ranked[train + validation :], "ood")
    )


def _share(total: int, share: float, most: int) -> int:
    """round(total * share), at least one, at most `most`, never negative."""
    return max(0, min(max(1, round(total * share)), most))


def _shuffled(ids: Sequence[str], seed: int) -> list[str]:
    return [ids[i] for i in permutation(seed, Stream.SPLITS, 0, len(ids))] if ids else []


def empty_splits(splits: Splits) -> list[str]:
    """The splits that no task belongs to."""
    return [name for name in SPLITS if name not in splits.split.values()]


def count_tasks(splits: Splits) -> dict[str, int]:
    """Tasks in each split."""
    counts = Counter(splits.split.values())
    return {name: counts[name] for name in SPLITS}

"""What a config stands for: its runs, their splits, and the shards they are trained and stored in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import fingerprints_of
from rnnzoo.zoo_builder.pipeline.plan.runs import Runs, plan_runs
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.splits import SPLITS, Splits, assign_splits
from rnnzoo.zoo_builder.storage.schema import shard_name
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.training.loop import Run
from rnnzoo.zoo_builder.zoos import ZooConfig

LARGEST_SHARD = 2**36
"""Bytes of weights: a shard is held in memory while it is built."""
MOST_SHARDS = 65_536
"""In a zoo: its manifest is then some 22 MB, and its folders have no more files than file systems bear well."""


@dataclass(frozen=True)
class ShardPlan:
    """One unit of work: the runs of one shard. `name` is without folder and ending."""

    name: str
    split: str
    runs: Sequence[Run]


@dataclass(frozen=True)
class ZooPlan:
    """Everything that follows from a config and its task family, worked out when first asked for."""

    config: ZooConfig
    family: TaskFamily[Any]

    @property
    def spec(self) -> RNNSpec:
        return self.config.spec

    @cached_property
    def runs(self) -> Runs:
        return plan_runs(self.config, self.family)

    @cached_property
    def splits(self) -> Splits:
        return assign_splits(self.family, self.runs.tasks, self.config.seed)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Hashes of what the family gives to the zoo: see `fingerprints_of`."""
        return fingerprints_of(self.family, self.runs.tasks, self.splits)

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards of all splits, in order; each run is in exactly one.

        Runs of one task stand together, so that whoever asks for a task, from afar, reads few ranges.
        """
        self._check_shards(-(-self.config.runs // self.config.runs_per_shard))  # at least so many
        ids = [task.task_id for task in self.runs.tasks]
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__))  # stable: runs of a task by their number
        splits = np.array([SPLITS.index(self.splits.split[task_id]) for task_id in ids], np.int8)[order]
        plans = []
        size = self.config.runs_per_shard
        for number, split in enumerate(SPLITS):
            runs = self.runs.take(order[splits == number])
            count = -(-len(runs) // size)
            for index in range(count):
                group = runs[index * size : (index + 1) * size]
                plans.append(ShardPlan(shard_name(split, index, count), split, group))
        self._check_shards(len(plans))
        return plans

    def _check_shards(self, count: int) -> None:
        """Raise ParameterError for so many shards, or for shards so large, that nobody can handle them."""
        config = self.config
        if count > MOST_SHARDS:
            raise ParameterError(
                "runs_per_shard",
                f"found {config.runs_per_shard}, which makes {count} shards, expected at most {MOST_SHARDS}: "
                "more runs in a shard make fewer",
            )
        runs = min(config.runs, config.runs_per_shard)
        if (size := 4 * self.spec.num_parameters * runs * len(config.checkpoints)) > LARGEST_SHARD:
            raise ParameterError(
                "runs_per_shard",
                f"found {config.runs_per_shard}, which makes shards of {size} bytes, expected at most "
                f"{LARGEST_SHARD}: fewer runs in a shard make smaller ones",
            )

    def shards_of(self, split: str) -> list[ShardPlan]:
        return [shard for shard in self.shards if shard.split == split]

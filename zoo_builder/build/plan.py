"""What a config stands for: its runs, their splits, and the shards they are trained and stored in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zoo_builder.rnn import RNNSpec
from zoo_builder.splits import SPLITS, Splits, assign_splits
from zoo_builder.storage.schema import shard_name
from zoo_builder.tasks import TaskFamily
from zoo_builder.training.loop import Run
from zoo_builder.zoos import ZooConfig, plan_runs


@dataclass(frozen=True)
class ShardPlan:
    """One unit of work: the runs of one shard. `name` is without folder and ending."""

    name: str
    split: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ZooPlan:
    """Everything that follows from a config and its task family, worked out when first asked for."""

    config: ZooConfig
    family: TaskFamily[Any]

    @property
    def spec(self) -> RNNSpec:
        return self.config.spec

    @cached_property
    def runs(self) -> list[Run]:
        return plan_runs(self.config, self.family)

    @cached_property
    def splits(self) -> Splits:
        return assign_splits(self.family, [run.task for run in self.runs], self.config.seed)

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards of all splits, in order; each run is in exactly one.

        Runs of one task stand together, so that whoever asks for a task, from afar, reads few ranges.
        """
        members: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            members[self.splits.split[run.task.task_id]].append(run)
        plans = []
        for split in SPLITS:
            runs = sorted(members[split], key=lambda run: (run.task.task_id, run.index))
            size = self.config.runs_per_shard
            groups = [tuple(runs[first : first + size]) for first in range(0, len(runs), size)]
            for index, group in enumerate(groups):
                plans.append(ShardPlan(shard_name(split, index, len(groups)), split, group))
        return plans

    def shards_of(self, split: str) -> list[ShardPlan]:
        return [shard for shard in self.shards if shard.split == split]

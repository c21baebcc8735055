"""eval.yaml: with it a data set on the hub is a benchmark, whose page gathers the scores that models report.

The form is that of https://huggingface.co/docs/hub/eval-results. Models report theirs by `zoo-bench push`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rnnzoo.zoo_builder.escaping import for_yaml
from rnnzoo.zoo_builder.hub import FRAMEWORK
from rnnzoo.zoo_builder.release.parquet import ZooTables
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS, task_id

SPLITS = ("test", "ood")
DESCRIPTION = (
    "What encoders of weights tell of recurrent networks on tasks that no training has seen: a task of this "
    "leaderboard is a target of zoo-bench on the split test, or on ood, whose tasks lie further out. Scores are "
    "those of the protocol strict, means over seeds; higher is better."
)


def eval_yaml(tables: ZooTables, title: str) -> str:
    """The leaderboard of a zoo: a task for each target that varies in it, and each split of unseen tasks."""
    everything = pa.concat_tables([tables.metadata[split] for split in tables.splits])
    lines = [
        f"name: {for_yaml(title)}",
        f"description: {for_yaml(DESCRIPTION)}",
        f"evaluation_framework: {FRAMEWORK}",
        "tasks:",
    ]
    for target in (*tables.family.targets, *COMMON_TARGETS):
        if target.column not in everything.column_names or not _varies(everything[target.column]):
            continue
        for split in SPLITS:
            if split in tables.splits:
                lines += [f"  - id: {for_yaml(task_id(target.name, split))}", "    config: default"]
                lines.append(f"    split: {split}")
    return "\n".join(lines) + "\n"


def _varies(column: pa.ChunkedArray) -> bool:
    if pa.types.is_nested(column.type):
        return len({tuple(value) for value in column.to_pylist()}) > 1
    return pc.count_distinct(column).as_py() > 1

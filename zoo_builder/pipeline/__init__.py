"""A zoo from start to finish: plan, train shard by shard, store, and go on where an earlier build stopped.

The unit of work is a shard: the runs of one split that share a file. `build.py` tells the story; `progress.py` has
what is reported on the way.
"""

from rnnzoo.zoo_builder.pipeline.build import build_zoo
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.pipeline.progress import Interrupted, ProgressTracker, ShardProgress, Unwatched

__all__ = [
    "Interrupted",
    "ProgressTracker",
    "ShardProgress",
    "Unwatched",
    "ZooPlan",
    "build_zoo",
]

"""A zoo from start to finish: plan, train shard by shard, store, and go on where an earlier build stopped.

The unit of work is a shard: the runs of one split that share a file. `plan.py` says which runs those are,
`progress.py` keeps the state of a shard under way, `store.py` writes finished shards and the finished zoo,
`builder.py` goes through them.
"""

from zoo_builder.build.builder import Interrupted, Observer, build_zoo
from zoo_builder.build.plan import ShardPlan, ZooPlan

__all__ = ["Interrupted", "Observer", "ShardPlan", "ZooPlan", "build_zoo"]

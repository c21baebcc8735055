"""A zoo from start to finish: plan, train shard by shard, store, and go on where an earlier build stopped.

The unit of work is a shard: the runs of one split that share a file. `plan.py` says which runs those are,
`unit.py` builds some of them, with `progress.py` for the state of a shard under way and `store.py` for finished
ones; `builder.py` goes through them, `folder.py` opens and finishes the folder they are in (`finish.py`), and
`claims.py` keeps several builds in one folder apart.
"""

from rnnzoo.zoo_builder.pipeline.build import build_zoo
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.unit import Interrupted, Observer

__all__ = ["Interrupted", "Observer", "ShardPlan", "ZooPlan", "build_zoo"]

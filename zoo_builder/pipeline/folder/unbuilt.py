"""Which shards are still to be built in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rnnzoo.zoo_builder.pipeline.folder.opening import is_finished
from rnnzoo.zoo_builder.pipeline.locks import FINISH, locked, never
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan
from rnnzoo.zoo_builder.pipeline.shard.record import is_complete, record_path


def find_unbuilt(
    folder: Path, shards: Sequence[ShardPlan], stop_requested: Callable[[], bool] = never
) -> list[ShardPlan]:
    """Those of the shards that are still to be built. The record of one whose files are broken is taken away.

    Raises Interrupted where that is asked for.
    """
    unbuilt = []
    for shard in shards:
        if not is_complete(folder, shard):
            unbuilt.append(shard)
            if record_path(folder, shard).exists():
                with locked(folder, FINISH, stop_requested):
                    record_path(folder, shard).unlink(missing_ok=True)
    return unbuilt


def is_built(folder: Path, shard: ShardPlan) -> bool:
    """Whether a shard's record is there. Whether its files are sound is looked at by `find_unbuilt`, once."""
    return record_path(folder, shard).exists() or is_finished(folder)

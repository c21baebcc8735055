"""Which shards are still to be built in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.opening import is_finished
from rnnzoo.zoo_builder.pipeline.locks import FINISH, locked, never, try_lock
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan
from rnnzoo.zoo_builder.pipeline.shard.record import check_shard, is_complete, record_path
from rnnzoo.zoo_builder.storage.files import is_there


def find_unbuilt(
    folder: Path, shards: Sequence[ShardPlan], stop_requested: Callable[[], bool] = never
) -> list[ShardPlan]:
    """Those of the shards that are still to be built. The record of one whose files are broken is taken away.

    Raises Interrupted where that is asked for.
    """
    unbuilt = []
    for shard in shards:
        was_there = is_there(record_path(folder, shard))
        if not (was_there and is_complete(folder, shard)):
            unbuilt.append(shard)
            if was_there:
                with locked(folder, FINISH, stop_requested):
                    _remove_broken(folder, shard)
    return unbuilt


def _remove_broken(folder: Path, shard: ShardPlan) -> None:
    """Remove the record of a shard, unless another process builds it, or has built it meanwhile."""
    lock = try_lock(folder, shard.name)
    if lock is not None:
        with lock:
            try:
                check_shard(folder, shard)
            except RnnzooError:
                record_path(folder, shard).unlink(missing_ok=True)


def is_built(folder: Path, shard: ShardPlan) -> bool:
    """Whether a shard's record is there. Whether its files are sound is looked at by `find_unbuilt`, once."""
    return is_there(record_path(folder, shard)) or is_finished(folder)

"""The sound shards of a finished zoo of which files are broken, with the records they had while it was built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan
from rnnzoo.zoo_builder.pipeline.shard.record import rows_file, write_record
from rnnzoo.zoo_builder.storage.digest import UNRECORDED, checkpoint_hashes, contents_share
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, check_file, read_split
from rnnzoo.zoo_builder.storage.schema import metadata_file, rollouts_file, weights_file
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.storage.writing import replacing


def salvage_shard(
    zoo: Path, manifest: Manifest, shard: ShardPlan, out: Path, place: Callable[[str], None]
) -> None:
    """Take a shard of a finished zoo into the folder of a build, which has locked it.

    The digest of a zoo that is finished with it is of what the files hold, so that a shard which is not what it
    seems shows there.

    Args:
        zoo: The folder of the zoo.
        manifest: Its manifest.
        shard: The shard.
        out: The folder of the build.
        place: Brings a file of the zoo, by its name, into that folder.

    Raises:
        RnnzooError: One of the shard's files is broken, or the metadata of its split. Nothing was placed then.
    """
    if manifest.arithmetic is None:
        raise RnnzooError(f"{zoo}: {UNRECORDED}, expected a zoo with a digest")
    weights, rollouts = weights_file(shard.name), rollouts_file(shard.name)
    for name in (metadata_file(shard.split), weights, rollouts):
        check_file(file_in(zoo, name), manifest.files[name])
    rows = read_split(zoo, shard.split)
    rows = rows.filter(pc.equal(rows["shard"], weights)).replace_schema_metadata(None)
    hashes = checkpoint_hashes(rows, rows["sha256"].to_pylist(), read_shard(file_in(zoo, rollouts)).tensors)
    place(weights)
    place(rollouts)
    with replacing(out / rows_file(shard)) as file:
        pq.write_table(rows, file, compression="zstd")
    kernel = ", ".join(manifest.built_with.get("kernels", []))
    write_record(out, shard, kernel, manifest.arithmetic, contents_share(hashes))

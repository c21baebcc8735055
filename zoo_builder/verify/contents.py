"""Weights and rollouts have the hashes of their rows, and the zoo the digest of its contents."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.differences import check_same_zoo
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import check_rollout_hashes, check_weight_hashes
from rnnzoo.zoo_builder.storage.digest import (
    UNRECORDED,
    ZooDigest,
    checkpoint_hashes,
    config_digest,
    contents_share,
    join_contents,
    one_nan,
)
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.shards import row_sha256
from rnnzoo.zoo_builder.verify.opened import OpenedZoo


def check_rows(zoo: OpenedZoo) -> str:
    """Weights and rollouts of every row have the row's own hashes, and `diverged` tells the truth."""
    for name, rows in zoo.rows_by_shard():
        shard = zoo.weights(name)
        flat = zoo.flat_weights(shard)
        if rows["row"].to_pylist() != list(range(len(flat))):
            raise RnnzooError(f"{shard.path}: the metadata do not count its rows from 0 to {len(flat) - 1}")
        for row, expected in enumerate(rows["sha256"].to_pylist()):
            if row_sha256(flat[row]) != expected:
                raise RnnzooError(f"{shard.path}: row {row} does not have the sha256 of its metadata")
        rollouts = zoo.rollouts(name)
        check_weight_hashes(rows, zoo.spec, shard.tensors, rows["row"].to_numpy(), str(shard.path))
        check_rollout_hashes(rows, rollouts.tensors, rows["rollout_row"].to_numpy(), str(rollouts.path))
        if (rows["diverged"].to_numpy() != ~np.isfinite(flat).all(axis=1)).any():
            raise RnnzooError(f"{shard.path}: the column diverged is not what the weights say")
    diverged = pc.sum(zoo.all_rows["diverged"]).as_py()
    return f"{len(zoo.all_rows)} rows with their sha256, {diverged} not finite"


def check_digest(zoo: OpenedZoo) -> str:
    """The digest of the zoo is that of its files."""
    manifest = zoo.manifest
    if manifest.digest is None or manifest.arithmetic is None:
        return UNRECORDED
    found = ZooDigest(manifest.arithmetic, config_digest(manifest.config), _contents(zoo))
    if str(found) != manifest.digest:
        raise RnnzooError(
            f"{zoo.folder / schema.MANIFEST}: digest: found {manifest.digest}, its files have {found}"
        )
    return f"{found}, of the arithmetic {found.arithmetic}"


def check_against(zoo: OpenedZoo, against: Reference) -> str:
    """This zoo is another one, which is known or at hand."""
    manifest, folder = zoo.manifest, zoo.folder
    if manifest.digest is None:
        found = ZooDigest("unrecorded", config_digest(manifest.config), _contents(zoo))
    else:
        found = ZooDigest.parse(manifest.digest)  # that of the files, as was checked
    return check_same_zoo(found, manifest, zoo.all_rows, lambda name: file_in(folder, name), against)


def _contents(zoo: OpenedZoo) -> str:
    """The digits of the contents, from the files."""
    shares = []
    for name, rows in zoo.rows_by_shard():
        flat = one_nan(zoo.flat_weights(zoo.weights(name)))
        hashes = checkpoint_hashes(rows, [row_sha256(row) for row in flat], zoo.rollouts(name).tensors)
        shares.append(contents_share(hashes))
    return join_contents(shares)

"""The files of a zoo, its metadata and its splits are what its manifest says."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import check_rollouts, check_weights
from rnnzoo.zoo_builder.storage.manifest import Manifest, check_files, read_splits
from rnnzoo.zoo_builder.storage.shards import specs_of
from rnnzoo.zoo_builder.tasks.encodings import check_items, encoding_of
from rnnzoo.zoo_builder.verify.opened import OpenedZoo
from rnnzoo.zoo_builder.zoos import IMPORTED, metadata_columns


def check_listed(folder: Path, manifest: Manifest) -> str:
    """Every file the manifest lists is there, with its size and sha256; and no shard that it does not list."""
    if tuple(manifest.splits) != SPLITS:
        raise RnnzooError(f"{schema.MANIFEST}: found the splits {list(manifest.splits)}, expected {list(SPLITS)}")
    check_files(folder, manifest)
    for name in sorted(set(schema.names_in(folder, schema.FILE_NAME)) - manifest.files.keys()):
        raise RnnzooError(f"{folder / name}: not listed in {schema.MANIFEST}")
    return f"{len(manifest.files)} files, {manifest.size / 1e6:.1f} MB, all with the sha256 of {schema.MANIFEST}"


def check_metadata(zoo: OpenedZoo) -> str:
    """Columns, counts and ids of the metadata, and the shards' shapes, agree with the manifest."""
    expected = metadata_columns(zoo.manifest.config)
    for split, table in zoo.metadata.items():
        path, entry = zoo.folder / schema.metadata_file(split), zoo.manifest.splits[split]
        for field in expected:  # and further ones, as zoos of an earlier version have
            found = table.schema.field(field.name).type if field.name in table.column_names else None
            if found is None and field.name in schema.LATER:
                continue
            if found != field.type:
                raise RnnzooError(f"{path}: column {field.name!r}: found {found}, expected {field.type}")
        counts = {
            "checkpoints": len(table),
            "runs": pc.count_distinct(table["run_id"]).as_py(),
            "tasks": pc.count_distinct(table["task_id"]).as_py(),
        }
        for name, found in counts.items():
            if found != getattr(entry, name):
                raise RnnzooError(f"{path}: found {found} {name}, expected {getattr(entry, name)}")
        named = [schema.weights_file(shard) for shard in entry.shards]
        if pc.unique(table["shard"]).to_pylist() != named:
            raise RnnzooError(f"{path}: its shards are not those of {schema.MANIFEST}: {named}")
    if pc.count_distinct(zoo.all_rows["checkpoint_id"]).as_py() != len(zoo.all_rows):
        raise RnnzooError("metadata: a checkpoint_id stands there twice")
    spec, encoding = zoo.spec, encoding_of(zoo.manifest.encoding)
    for name, rows in zoo.rows_by_shard():
        shard, rollouts = zoo.weights(name), zoo.rollouts(name)
        check_weights(specs_of(shard.tensors), spec, len(rows), str(shard.path))
        check_rollouts(specs_of(rollouts.tensors), rows["rollout_row"].to_numpy(), str(rollouts.path))
        check_items(encoding, spec.output_size, **rollouts.tensors)
        for file in (shard, rollouts):
            expected_note = (zoo.manifest.zoo, name)
            if (found_note := (file.metadata.get("zoo"), file.metadata.get("shard"))) != expected_note:
                raise RnnzooError(f"{file.path}: its header names {found_note}, expected {expected_note}")
    return f"{len(zoo.all_rows)} checkpoints of {pc.count_distinct(zoo.all_rows['run_id']).as_py()} runs"


def check_splits(zoo: OpenedZoo) -> str:
    """splits.json and the metadata say the same; no task is in two splits."""
    splits, config = read_splits(zoo.folder), zoo.manifest.config
    if config["preset"] != IMPORTED and splits["seed"] != config["seed"]:
        raise RnnzooError(
            f"{zoo.folder / schema.SPLITS_FILE}: seed: found {splits['seed']}, expected {config['seed']}"
        )
    for column in ("split", "paper_split"):
        tasks = set(zoo.all_rows["task_id"].to_pylist())
        if odd := sorted(splits[column].keys() - tasks):
            path = zoo.folder / schema.SPLITS_FILE
            raise RnnzooError(f"{path}: {column}: found {odd[0]!r}, a task of no checkpoint")
        pairs = zoo.all_rows.group_by(["task_id", column]).aggregate([])
        for task_id, split in zip(pairs["task_id"].to_pylist(), pairs[column].to_pylist(), strict=True):
            if splits[column].get(task_id) != split:
                raise RnnzooError(
                    f"{zoo.folder / schema.SPLITS_FILE}: {column} of {task_id} is "
                    f"{splits[column].get(task_id)!r}, {split!r} in the metadata"
                )
    return ", ".join(f"{name} {entry.tasks} tasks" for name, entry in zoo.manifest.splits.items())

"""Makes a finished zoo of a folder in which all shards are built."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rnnzoo
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import the_arithmetic
from rnnzoo.zoo_builder.pipeline.folder.metadata import MetadataJoiner
from rnnzoo.zoo_builder.pipeline.folder.opening import finished_zoo
from rnnzoo.zoo_builder.pipeline.locks import FINISH, locked, never
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import record_path
from rnnzoo.zoo_builder.splits import SPLITS, count_tasks
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import ZooDigest, config_digest, join_contents
from rnnzoo.zoo_builder.storage.files import is_there
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, SplitEntry, write_manifest
from rnnzoo.zoo_builder.storage.writing import TEMPORARY_FILES, clear_abandoned, write_json


def finish_folder(plan: ZooPlan, folder: Path, stop_requested: Callable[[], bool] = never) -> Manifest | None:
    """Finish the zoo if all its shards are built; None if some are not. One process does it, the others wait.

    Raises Interrupted where that is asked for before it is this one's turn.
    """
    finished = finished_zoo(plan.config, folder)
    if finished is not None:
        return finished
    with locked(folder, FINISH, stop_requested):
        finished = finished_zoo(plan.config, folder)
        if finished is not None:
            return finished
        if not all(is_there(record_path(folder, shard)) for shard in plan.shards):
            return None
        clear_abandoned(folder.rglob(TEMPORARY_FILES))
        manifest = write_zoo(plan, folder)
        shutil.rmtree(folder / schema.BUILD_FOLDER, ignore_errors=True)
        return manifest


def write_zoo(plan: ZooPlan, folder: Path) -> Manifest:
    """Write what a zoo has beside its shards: metadata, splits and, last of all, the manifest.

    All shards must be built. Raises RnnzooError, naming the file, where one of them was damaged, and naming the
    shards, where they were computed in several arithmetics.
    """
    joiner = MetadataJoiner(plan, folder)
    entries: dict[str, SplitEntry] = {}
    tasks = count_tasks(plan.splits)
    for split in SPLITS:
        shards = plan.shards_of(split)
        runs = sum(len(shard.runs) for shard in shards)
        joiner.write_split(split, shards)
        entries[split] = SplitEntry(
            tasks=tasks[split],
            runs=runs,
            checkpoints=runs * len(plan.config.checkpoints),
            shards=[shard.name for shard in shards],
        )
    arithmetic = the_arithmetic(joiner.arithmetics, folder)
    config = plan.config.to_dict()
    digest = ZooDigest(arithmetic, config_digest(config), join_contents(joiner.shares))
    write_json(folder / schema.SPLITS_FILE, plan.splits.to_dict(plan.config.seed))
    files = joiner.files | {schema.SPLITS_FILE: FileEntry.of(folder / schema.SPLITS_FILE)}
    built_with = _built_with(joiner.kernels)
    manifest = Manifest.of(
        config, plan.spec, plan.family.encoding, digest, built_with, entries, files, plan.fingerprints
    )
    write_manifest(folder, manifest)
    return manifest


def _built_with(kernels: set[str]) -> dict[str, Any]:
    libraries = ("torch", "numpy", "pyarrow", "safetensors", "pillow")
    return {
        "kernels": sorted(kernels),
        "rnnzoo": rnnzoo.__version__,
        **{library: version(library) for library in libraries},
    }

"""Writes finished shards, and says which are.

A shard's part (`.build/<shard>.parquet`) holds its rows of metadata, and in its header the sizes and hashes
of the shard's files. It is written after them, so a shard is complete when its part is there. It is sealed
(`seal.py`), so that damage to the part itself shows too.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.pipeline.shard.seal import check_seal, seal
from rnnzoo.zoo_builder.rnn import unflatten_weights
from rnnzoo.zoo_builder.rollouts import Evaluation, rollout_items
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, fit
from rnnzoo.zoo_builder.storage.manifest import FileEntry
from rnnzoo.zoo_builder.storage.parquet import read_note, read_table
from rnnzoo.zoo_builder.storage.shards import file_sha256, row_sha256, write_file, write_shard

log = logging.getLogger(__name__)


def part_path(folder: Path, shard: ShardPlan) -> Path:
    return folder / schema.BUILD_FOLDER / f"{shard.name}.parquet"


def store_shard(
    plan: ZooPlan,
    folder: Path,
    shard: ShardPlan,
    kernel_name: str,
    kept: Mapping[int, Tensor],
    evaluations: Mapping[int, Evaluation],
    rows: slice,
) -> None:
    """Write a shard's weights and rollouts, sorted by step and then as the runs stand in the shard; then its part.

    kept, evaluations: step -> weights [N, P] and scores of all runs trained together; `rows` are this shard's.
    """
    steps = sorted(kept)
    weights = torch.cat([kept[step][rows] for step in steps])
    named = {name: tensor.numpy() for name, tensor in unflatten_weights(plan.spec, weights).items()}
    header = {
        "format_version": schema.FORMAT_VERSION,
        "zoo": plan.config.zoo,
        "shard": shard.name,
        "spec": plan.spec.to_dict(),
    }
    contents = {
        schema.weights_file(shard.name): named,
        schema.rollouts_file(shard.name): _rollouts(plan, shard, evaluations, rows),
    }
    for name, tensors in contents.items():
        write_shard(folder / name, tensors, header)

    scores = {
        name: np.concatenate([evaluations[step].columns[name][rows] for step in steps])
        for name in evaluations[steps[0]].columns
    }
    table = _metadata_table(plan, shard, steps, weights, scores)
    note = {"kernel": kernel_name, "files": {name: file_entry(folder / name) for name in contents}}
    _write_part(part_path(folder, shard), table, note)
    state_path(folder, shard).unlink(missing_ok=True)


def is_complete(folder: Path, shard: ShardPlan) -> bool:
    """Whether a shard's part is there and its files are as the part says; a broken shard is built again."""
    if not part_path(folder, shard).exists():
        return False
    try:
        for name, entry in part_files(folder, shard).items():
            check_file(file_in(folder, name), entry)
    except RnnzooError as error:
        log.warning("%s; the shard %s is built again", error, shard.name)
        return False
    return True


def part_files(folder: Path, shard: ShardPlan) -> dict[str, FileEntry]:
    """What a shard's part says of the shard's files. Raises RnnzooError when the part is missing or broken."""
    path = file_in(folder, str(part_path(Path(), shard)))
    files = read_part(path)[1].files
    expected = {schema.weights_file(shard.name), schema.rollouts_file(shard.name)}
    if files.keys() != expected:
        raise RnnzooError(f"{path}: found the files {sorted(files)} in it, expected {sorted(expected)}")
    return files


def check_file(path: Path, entry: FileEntry) -> None:
    """Raise RnnzooError unless a file is there with these bytes."""
    try:
        size = path.stat().st_size
        found = file_sha256(path) if size == entry.bytes else None
    except OSError as error:
        raise RnnzooError(f"{path}: cannot be read: {error.strerror or error}") from error
    if found is None:
        raise RnnzooError(f"{path}: found {size} bytes, expected {entry.bytes}")
    if found != entry.sha256:
        raise RnnzooError(f"{path}: found sha256 {found}, expected {entry.sha256}")


def _rollouts(
    plan: ZooPlan, shard: ShardPlan, evaluations: Mapping[int, Evaluation], rows: slice
) -> dict[str, np.ndarray]:
    """Rollout tensors: one row a checkpoint where RNNs write their own, one row a run where they are given."""
    if plan.family.generates:
        strings = [evaluations[step].strings for step in sorted(evaluations)]
        return {"inputs": np.concatenate([text[rows] for text in strings if text is not None])}
    inputs, labels = rollout_items(plan.family, shard.runs, plan.config.evaluation)
    return {"inputs": inputs.numpy(), "labels": labels.numpy()}


def _metadata_table(
    plan: ZooPlan, shard: ShardPlan, steps: list[int], weights: Tensor, scores: Mapping[str, np.ndarray]
) -> pa.Table:
    """The shard's rows of metadata, one a checkpoint, in the order of the weights [C * N, P]."""
    flat = weights.numpy()
    rows: list[dict[str, Any]] = []
    for step_index, step in enumerate(steps):
        for index, run in enumerate(shard.runs):
            row = len(rows)
            rows.append(
                {
                    "checkpoint_id": f"{run.run_id}-step-{step:06d}",
                    "run_id": run.run_id,
                    "task_id": run.task.task_id,
                    "split": shard.split,
                    "paper_split": plan.splits.paper_split[run.task.task_id],
                    "step": step,
                    "step_index": step_index,
                    "diverged": not np.isfinite(flat[row]).all(),
                    "seed": run.seed,
                    "learning_rate": plan.config.learning_rate[0][1] * run.learning_rate_scale,
                    "learning_rate_scale": run.learning_rate_scale,
                    "weight_decay": run.weight_decay,
                    **{name: getattr(plan.spec, name) for name in plan.spec.to_dict()},
                    "num_parameters": plan.spec.num_parameters,
                    "image_source": plan.family.source,
                    "shard": schema.weights_file(shard.name),
                    "row": row,
                    "rollout_row": row if plan.family.generates else index,
                    "sha256": row_sha256(flat[row]),
                    **run.task.columns(),
                    **{name: values[row] for name, values in scores.items()},
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.metadata_schema(plan.family.columns()))


def _write_part(path: Path, table: pa.Table, note: Mapping[str, Any]) -> None:
    """Write a part whole or not at all, with a JSON note in its header, and sealed."""
    table = table.replace_schema_metadata({"rnnzoo": json.dumps(note, sort_keys=True)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_file(path, seal(buffer.getvalue()))


class PartNote(BaseModel):
    """What a part says of its shard."""

    kernel: str
    files: dict[str, FileEntry]


def read_part(path: Path) -> tuple[pa.Table, PartNote]:
    """A part's rows and its note. Raises RnnzooError for what is no part."""
    check_seal(path)
    return read_table(path), fit(PartNote, read_note(path), f"{path}: its note")


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}

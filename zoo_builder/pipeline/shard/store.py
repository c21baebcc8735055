"""Writes a finished shard: weights, rollouts, its rows of metadata, and last its record (`record.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import rows_file, write_record
from rnnzoo.zoo_builder.pipeline.shard.saved_state import state_path
from rnnzoo.zoo_builder.rollouts import Evaluation, rollout_items
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import write_contents
from rnnzoo.zoo_builder.storage.digest import checkpoint_hashes, contents_share, one_nan
from rnnzoo.zoo_builder.storage.writing import replacing
from rnnzoo.zoo_builder.training.kernels import Kernel


def store_shard(
    plan: ZooPlan,
    folder: Path,
    shard: ShardPlan,
    kernel: Kernel,
    kept: Mapping[int, Tensor],
    evaluations: Mapping[int, Evaluation],
    rows: slice,
) -> None:
    """Write a shard's weights and rollouts, sorted by step and then as the runs stand in the shard; then
    its rows of metadata, and its record.

    kernel: what computed them. kept, evaluations: step -> weights [N, P] and scores of all runs trained together;
    `rows` are this shard's.
    """
    steps = sorted(kept)
    weights = one_nan(torch.cat([kept[step][rows] for step in steps]).numpy())
    rollouts = _rollouts(plan, shard, evaluations, rows)
    stored = write_contents(folder, plan.config.zoo, shard.name, plan.spec, weights, rollouts)

    columns = schema.metadata_schema(plan.family.columns(plan.config.source))
    scores = {}
    for name in evaluations[steps[0]].columns:
        values = np.concatenate([evaluations[step].columns[name][rows] for step in steps])
        scores[name] = one_nan(schema.stored_numbers(columns.field(name), values))
    table = pa.Table.from_pylist(_metadata_rows(plan, shard, steps, stored, scores), schema=columns)
    with replacing(folder / rows_file(shard)) as file:
        pq.write_table(table, file, compression="zstd")
    share = contents_share(checkpoint_hashes(table, table["sha256"].to_pylist(), rollouts))
    write_record(folder, shard, kernel.name, kernel.arithmetic, share)
    state_path(folder, shard).unlink(missing_ok=True)


def _rollouts(
    plan: ZooPlan, shard: ShardPlan, evaluations: Mapping[int, Evaluation], rows: slice
) -> dict[str, np.ndarray]:
    """Rollout tensors: one row a checkpoint where RNNs write their own, one row a run where they are given."""
    if plan.family.generates:
        strings = [evaluations[step].strings for step in sorted(evaluations)]
        return {"inputs": np.concatenate([text[rows] for text in strings if text is not None])}
    rollouts = rollout_items(plan.family, shard.runs, plan.config.evaluation)
    return {name: tensor.numpy() for name, tensor in rollouts.items()}


def _metadata_rows(
    plan: ZooPlan,
    shard: ShardPlan,
    steps: list[int],
    stored: list[dict[str, Any]],
    scores: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """The shard's rows of metadata, one a checkpoint, sorted by step and then as the runs stand in the shard.

    stored: what they say of the files. scores: name -> values, a row each.
    """
    return [
        {
            "checkpoint_id": f"{run.run_id}-step-{step:06d}",
            "run_id": run.run_id,
            "task_id": run.task.task_id,
            "split": shard.split,
            "paper_split": plan.splits.paper_split[run.task.task_id],
            "step": step,
            "step_index": step_index,
            "seed": run.seed,
            "learning_rate": plan.config.learning_rate[0][1] * run.learning_rate_scale,
            "learning_rate_scale": run.learning_rate_scale,
            "weight_decay": run.weight_decay,
            "batch_size": plan.config.batch_size * run.batch_size_scale,
            "initial_scale": run.initial_scale,
            "data_fraction": run.data_fraction,
            **run.task.columns(),
            **plan.family.source_value(),
            **stored[row := step_index * len(shard.runs) + index],
            **{name: values[row] for name, values in scores.items()},
        }
        for step_index, step in enumerate(steps)
        for index, run in enumerate(shard.runs)
    ]

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
from rnnzoo.zoo_builder.rnn import unflatten_weights
from rnnzoo.zoo_builder.rollouts import Evaluation, rollout_items
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import checkpoint_hashes, contents_share, one_nan, rollout_hashes
from rnnzoo.zoo_builder.storage.shards import row_sha256, tensors_sha256, write_shard
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
    weights = torch.from_numpy(one_nan(torch.cat([kept[step][rows] for step in steps]).numpy()))
    named = {name: tensor.numpy() for name, tensor in unflatten_weights(plan.spec, weights).items()}
    header = {
        "format_version": schema.FORMAT_VERSION,
        "zoo": plan.config.zoo,
        "shard": shard.name,
        "spec": plan.spec.to_dict(),
    }
    rollouts = _rollouts(plan, shard, evaluations, rows)
    contents = {schema.weights_file(shard.name): named, schema.rollouts_file(shard.name): rollouts}
    for name, tensors in contents.items():
        write_shard(folder / name, tensors, header)

    columns = schema.metadata_schema(plan.family.columns(plan.config.source))
    scores = {}
    for name in evaluations[steps[0]].columns:
        values = np.concatenate([evaluations[step].columns[name][rows] for step in steps])
        scores[name] = one_nan(schema.stored_numbers(columns.field(name), values))
    hashes = {
        "tensors_sha256": tensors_sha256(list(named.values())),
        "rollout_sha256": [digest.hex() for digest in rollout_hashes(rollouts)],
    }
    table = _metadata_table(plan, shard, steps, weights, scores, hashes)
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


def _metadata_table(
    plan: ZooPlan,
    shard: ShardPlan,
    steps: list[int],
    weights: Tensor,
    scores: Mapping[str, np.ndarray],
    hashes: Mapping[str, list[str]],
) -> pa.Table:
    """The shard's rows of metadata, one a checkpoint, in the order of the weights [C * N, P].

    hashes: those of the parameters of each row, and of each row of the rollouts.
    """
    flat = weights.numpy()
    rows: list[dict[str, Any]] = []
    for step_index, step in enumerate(steps):
        for index, run in enumerate(shard.runs):
            row = len(rows)
            rollout_row = row if plan.family.generates else index
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
                    "batch_size": plan.config.batch_size * run.batch_size_scale,
                    "initial_scale": run.initial_scale,
                    "data_fraction": run.data_fraction,
                    **{name: getattr(plan.spec, name) for name in plan.spec.to_dict()},
                    "num_parameters": plan.spec.num_parameters,
                    "shard": schema.weights_file(shard.name),
                    "row": row,
                    "rollout_row": rollout_row,
                    "sha256": row_sha256(flat[row]),
                    "tensors_sha256": hashes["tensors_sha256"][row],
                    "rollout_sha256": hashes["rollout_sha256"][rollout_row],
                    **run.task.columns(),
                    **plan.family.source_value(),
                    **{name: values[row] for name, values in scores.items()},
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.metadata_schema(plan.family.columns(plan.config.source)))

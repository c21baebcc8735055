"""Losses and scores of a sample of checkpoints are what their weights give, computed anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import check_fingerprints
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.rescoring import rescore
from rnnzoo.zoo_builder.rollouts import rollout_losses
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.training.kernels.base import EXACT_ARITHMETIC
from rnnzoo.zoo_builder.verify.opened import OpenedZoo
from rnnzoo.zoo_builder.zoos import IMPORTED, config_of

LOSS_TOLERANCE = 1e-5
"""Relative, where the kernel computes in another arithmetic than the zoo's: its sums are ordered differently."""
PROBABILITY_TOLERANCE = 0.001
"""Likewise, of an accuracy that is a sum of probabilities."""
SAMPLING_SIGMAS = 5.0


class LeftOut(Exception):
    """A check cannot be made; the message says why."""


def check_rollout_losses(zoo: OpenedZoo, kernel: Kernel, sample: int) -> str:
    """rollout_loss of a sample, from nothing but the stored weights and rollouts."""
    spec, encoding = zoo.spec, encoding_of(zoo.manifest.encoding)
    if encoding.needs_labels and any("labels" not in zoo.rollouts(name).tensors for name in zoo.manifest.shards):
        raise LeftOut("these rollouts have no labels")
    chosen = _sampled(zoo.all_rows, sample)
    found = []
    for row in chosen:
        rollouts = zoo.rollouts(schema.shard_of(row["shard"])).tensors
        inputs = rollouts["inputs"][row["rollout_row"]][None]
        labels = rollouts["labels"][row["rollout_row"]][None] if "labels" in rollouts else None
        found += rollout_losses(kernel, spec, encoding, zoo.weights_of([row]), inputs, labels)
    return _compare(zoo, chosen, {"rollout_loss": found}, _is_exact(zoo, kernel))


def check_metrics(zoo: OpenedZoo, kernel: Kernel, items_folder: Path | None, sample: int) -> str:
    """All scores of a sample, from the weights and the task family's own items."""
    if zoo.manifest.config.get("preset") == IMPORTED:
        raise LeftOut("this zoo was imported, and its runs cannot be repeated")
    config = config_of(zoo.manifest.config, schema.MANIFEST)
    try:
        family = config.make_family(items_folder)
    except RnnzooError as error:
        raise LeftOut(f"for want of the zoo's items: {error}") from None
    plan = ZooPlan(config, family)
    check_fingerprints(plan.fingerprints, zoo.manifest.fingerprints or {}, schema.MANIFEST)
    chosen = sorted(_sampled(zoo.all_rows, sample), key=lambda row: row["step"])
    scores = rescore(kernel, plan, chosen, zoo.weights_of(chosen))
    exact = _is_exact(zoo, kernel)
    names = scores[0] if exact else ("eval_loss", "train_loss")
    message = _compare(zoo, chosen, {name: [score[name] for score in scores] for name in names}, exact)
    if exact:
        return message
    for row, score in zip(chosen, scores, strict=True):
        expected, found = row["accuracy"], score["accuracy"]
        there = len(family.evaluation_items(family.task_of(row)))
        count = config.sampled_strings if family.generates else min(config.evaluation_items, there)
        sigma = np.sqrt(max(expected * (1 - expected), 1 / count) / count)
        is_drawn = not family.generates or row["accuracy_error"] > 0
        if abs(expected - found) > (SAMPLING_SIGMAS * sigma if is_drawn else PROBABILITY_TOLERANCE):
            raise RnnzooError(
                f"{row['checkpoint_id']}: accuracy: found {found:.4f} from the weights, {expected:.4f} stored"
            )
    return f"{message}; accuracy of {len(chosen)} checkpoints within its error"


def _is_exact(zoo: OpenedZoo, kernel: Kernel) -> bool:
    """Whether the kernel must find the very numbers that were stored."""
    return zoo.manifest.arithmetic == kernel.arithmetic == EXACT_ARITHMETIC


def _sampled(rows: pa.Table, count: int) -> list[dict[str, Any]]:
    """`count` rows, the same for the same zoo, evenly over all of them."""
    where = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    return rows.take(where).to_pylist()


def _compare(
    zoo: OpenedZoo, rows: Sequence[dict[str, Any]], found: Mapping[str, Sequence[Any]], exact: bool
) -> str:
    """Raise RnnzooError unless the values of columns are those that were found, floats or vectors of floats."""
    identical: dict[int, list[str]] = {}
    for name, values in found.items():
        field = zoo.all_rows.schema.field(name)
        expected, actual = (schema.stored_numbers(field, each) for each in ([row[name] for row in rows], values))
        rtol = 0 if exact else LOSS_TOLERANCE
        for row, wanted, got in zip(rows, expected, actual, strict=True):
            if not np.isclose(got, wanted, rtol=rtol, atol=0, equal_nan=True).all():
                raise RnnzooError(f"{row['checkpoint_id']}: {name}: found {got} from the weights, {wanted} stored")
        is_same = (expected == actual) | np.isnan(expected)
        identical.setdefault(int(is_same.reshape(len(rows), -1).all(axis=1).sum()), []).append(name)
    return "; ".join(
        f"{', '.join(names)} of {len(rows)} checkpoints reproduced, {count} of them bit for bit"
        for count, names in identical.items()
    )

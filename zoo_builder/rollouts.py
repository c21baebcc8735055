"""Scores and samples N RNNs on their own tasks: what a checkpoint's metadata and rollouts are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, below, uniform
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import Bytes, Data
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.tasks.means import exact_mean
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.training.loop import Run, run_data


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is evaluated at each checkpoint.

    Attributes:
        evaluation_items: Items for each of the two losses, drawn once a run from a task's items where it has more.
        sampled_strings: Strings that an RNN writes for its accuracy, in a family that generates.
        rollouts: Sequences stored.
    """

    evaluation_items: int
    sampled_strings: int
    rollouts: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of N models.

    Attributes:
        columns: Metadata column -> [N] values.
        strings: uint8 [N, R, F], for a family that generates. Otherwise None: its rollouts are the
            `rollout_items` of the run, the same for every checkpoint.
    """

    columns: dict[str, NDArray[np.float32]]
    strings: Bytes | None


def evaluate(
    kernel: Kernel,
    spec: RNNSpec,
    family: TaskFamily[Any],
    runs: Sequence[Run],
    weights: Tensor,
    step: int,
    settings: EvaluationSettings,
) -> Evaluation:
    """Score N checkpoints: a function of weights, seed and step.

    eval_loss and train_loss are mean cross-entropies, in nats, over the run's evaluation and training items at
    these weights; a family that generates has the same value in both. accuracy is that of sampled strings, or of
    the answers to evaluation items (`Encoding.judge`). rollout_loss is the mean cross-entropy of the stored
    rollouts.

    Args:
        kernel: What runs the models.
        spec: The architecture of the models.
        family: The task family, with its items.
        runs: The N runs that the checkpoints belong to.
        weights: Flat weights [N, P].
        step: The step of the checkpoints, the same for all.
        settings: How much is evaluated.

    Returns:
        The scores, and the strings to store.
    """
    data = run_data(family, [run.task for run in runs])
    eval_items = [evaluation_items(family, run, settings.evaluation_items) for run in runs]
    eval_losses, correct = _score(kernel, spec, weights, data, eval_items)
    columns = {"eval_loss": [exact_mean(losses) for losses in eval_losses]}
    if family.generates:
        columns["train_loss"] = columns["eval_loss"]
        strings = sample_strings(kernel, spec, family, runs, weights, step, settings.sampled_strings)
        scores = [family.score_strings(run.task, text) for run, text in zip(runs, strings, strict=True)]
        columns |= {name: [score[name] for score in scores] for name in scores[0]}
        strings = strings[:, : settings.rollouts]
        columns["rollout_loss"] = rollout_losses(kernel, spec, family.encoding, weights, strings)
    else:
        train_items = [training_sample(family, run, settings.evaluation_items) for run in runs]
        train_losses, _ = _score(kernel, spec, weights, data, train_items)
        strings = None
        columns["train_loss"] = [exact_mean(losses) for losses in train_losses]
        columns["rollout_loss"] = [exact_mean(losses[: settings.rollouts]) for losses in eval_losses]
        losses = zip(columns["eval_loss"], columns["train_loss"], strict=True)
        scores = [
            family.score_answers(run.task, right.numpy(), *both)
            for run, right, both in zip(runs, correct, losses, strict=True)
        ]
        columns |= {name: [score[name] for score in scores] for name in scores[0]}
    return Evaluation({name: _stored(values) for name, values in columns.items()}, strings)


def evaluation_items(family: TaskFamily[Any], run: Run, count: int) -> NDArray[np.int32]:
    """The items of a run's evaluation loss: all there are, or `count` of them drawn from the run's seed."""
    return _drawn(family.evaluation_items(run.task), run.seed, 0, count)


def training_sample(family: TaskFamily[Any], run: Run, count: int) -> NDArray[np.int32]:
    """The items of a run's training loss: all there are, or `count` of them drawn from the run's seed."""
    return _drawn(family.training_items(run.task), run.seed, 1, count)


def rollout_items(family: TaskFamily[Any], runs: Sequence[Run], settings: EvaluationSettings) -> dict[str, Tensor]:
    """The rollouts of N runs, for a family that answers.

    Returns:
        "inputs" uint8 [N, R, F] and, where the encoding needs them, "labels" uint8 [N, R].

    Raises:
        RnnzooError: The encoding needs labels, and the items of the family have none.
    """
    data = run_data(family, [run.task for run in runs])
    chosen = [evaluation_items(family, run, settings.evaluation_items)[: settings.rollouts] for run in runs]
    ids = torch.from_numpy(np.stack(chosen))
    rollouts = {"inputs": data.raw(ids)}
    if family.encoding.needs_labels:
        if data.labels is None:
            raise RnnzooError(f"family: found no labels of the items of {family.name!r}, expected one an item")
        rollouts["labels"] = data.labels[ids.long()]
    return rollouts


def sample_strings(
    kernel: Kernel,
    spec: RNNSpec,
    family: TaskFamily[Any],
    runs: Sequence[Run],
    weights: Tensor,
    step: int,
    count: int,
) -> Bytes:
    """What N models write at temperature 1.

    Args:
        kernel: What runs the models.
        spec: The architecture of the models.
        family: A family that generates.
        runs: The N runs; the draws follow from their seeds.
        weights: Flat weights [N, P].
        step: The step of the checkpoints; the draws depend on it.
        count: Strings for each model.

    Returns:
        uint8 [N, count, F].

    Raises:
        RnnzooError: The encoding of the family has no opening byte.
    """
    encoding = family.encoding
    if encoding.opening is None:
        raise RnnzooError(f"family: RNNs of {family.name!r} are to write, but {encoding} says no opening byte")
    steps = encoding.steps(family.items.shape[1])
    draws = [uniform(run.seed, Stream.STRINGS, step, count * steps).reshape(count, steps) for run in runs]
    uniforms = torch.from_numpy(np.stack(draws))
    return kernel.sample_strings(spec, weights, encoding.opening, uniforms).numpy()


def rollout_losses(
    kernel: Kernel,
    spec: RNNSpec,
    encoding: Encoding,
    weights: Tensor,
    inputs: Bytes,
    labels: Bytes | None = None,
) -> list[float]:
    """Mean cross-entropy of N models on their stored rollouts, in nats.

    Args:
        kernel: What runs the models.
        spec: The architecture of the models.
        encoding: How bytes become inputs and targets.
        weights: Flat weights [N, P].
        inputs: Rollouts uint8 [N, R, F].
        labels: [N, R], where the encoding needs them.

    Returns:
        N losses.
    """
    models, count, width = inputs.shape
    items = torch.from_numpy(np.array(inputs).reshape(-1, width))
    data = Data(encoding, items, None if labels is None else torch.from_numpy(np.array(labels).reshape(-1)))
    ids = torch.arange(models * count, dtype=torch.int32).view(models, count)
    losses, _ = kernel.score_items(spec, weights, data, ids)
    return [exact_mean(of_model) for of_model in losses]


def _stored(values: Sequence[float]) -> NDArray[np.float32]:
    """Numbers as they are stored: every NaN has the same bits, whatever it came from."""
    rounded = np.array(values, np.float32)
    return np.where(np.isnan(rounded), np.float32(np.nan), rounded)


def _score(
    kernel: Kernel, spec: RNNSpec, weights: Tensor, data: Data, items: Sequence[NDArray[np.int32]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and correctness of each model on its own items; lists may differ in length."""
    longest = max(map(len, items))
    padded = np.stack([np.pad(ids, (0, longest - len(ids)), mode="edge") for ids in items])
    losses, correct = kernel.score_items(spec, weights, data, torch.from_numpy(padded))
    lengths = list(map(len, items))
    return (
        [row[:length] for row, length in zip(losses, lengths, strict=True)],
        [row[:length] for row, length in zip(correct, lengths, strict=True)],
    )


def _drawn(pool: NDArray[np.int32], seed: int, block: int, count: int) -> NDArray[np.int32]:
    if len(pool) <= count:
        return pool
    return pool[below(seed, Stream.EVALUATION_ITEMS, block, count, len(pool))]

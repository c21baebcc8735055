"""Scores and samples N RNNs on their own tasks: what a checkpoint's metadata and rollouts are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, permutation, uniform
from rnnzoo.zoo_builder.rnn import RNNSpec, rnn_forward
from rnnzoo.zoo_builder.tasks.data import Bytes, Data
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.exact import Estimate, estimate, exact_mean, share_error
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.training.loop import Run, run_data, training_pool

OUTPUT_MODELS = 16
"""How many models compute their outputs at once."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is evaluated at each checkpoint.

    Attributes:
        evaluation_items: Items for each of the two losses, drawn once a run from a task's items where it has more.
        sampled_strings: Strings that an RNN writes, in a family that generates.
        rollouts: Sequences stored.
    """

    evaluation_items: int
    sampled_strings: int
    rollouts: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of N models.

    Attributes:
        columns: Metadata column -> its values, before they are rounded to the column's precision: [N], or [N, K]
            of a column of lists.
        strings: uint8 [N, R, F], for a family that generates. Otherwise None: its rollouts are the
            `rollout_items` of the run, the same for every checkpoint.
    """

    columns: dict[str, NDArray[np.float64]]
    strings: Bytes | None


class EvaluatedRuns:
    """N runs, and what they are scored on at each of their checkpoints.

    Args:
        family: The task family, with its items.
        runs: The N runs.
        settings: How much is evaluated.
    """

    def __init__(self, family: TaskFamily[Any], runs: Sequence[Run], settings: EvaluationSettings) -> None:
        self.family, self.runs, self.settings = family, runs, settings
        self.tasks = [run.task for run in runs]
        self.data = run_data(family, self.tasks)
        count = settings.evaluation_items
        self.evaluation = _ItemLists(
            [evaluation_items(family, run, count) for run in runs],
            [len(family.evaluation_items(task)) for task in self.tasks],
        )
        self.training = _ItemLists(
            [training_sample(family, run, count) for run in runs],
            [len(training_pool(family, run)) for run in runs],
        )


class _ItemLists:
    """Items of each of N runs, of so many that there are; lists may differ in length."""

    def __init__(self, items: Sequence[NDArray[np.int32]], populations: Sequence[int]) -> None:
        self.lengths, self.populations = list(map(len, items)), populations
        longest = max(self.lengths)
        padded = [np.pad(ids, (0, longest - len(ids)), mode="edge") for ids in items]
        self.ids = torch.from_numpy(np.stack(padded))

    def score(
        self, kernel: Kernel, spec: RNNSpec, weights: Tensor, data: Data
    ) -> tuple[list[Tensor], list[Tensor], list[Estimate]]:
        """Losses and correctness of each model on its own items, and the means of the losses."""
        losses, correct = (
            [row[:length] for row, length in zip(scores, self.lengths, strict=True)]
            for scores in kernel.score_items(spec, weights, data, self.ids)
        )
        return losses, correct, list(map(estimate, losses, self.populations))


def evaluate(kernel: Kernel, spec: RNNSpec, evaluated: EvaluatedRuns, weights: Tensor, step: int) -> Evaluation:
    """Score N checkpoints: a function of weights, seed and step.

    eval_loss and train_loss are mean cross-entropies, in nats, over the run's evaluation and training items at
    these weights. accuracy is the probability of writing one
    of the task's words, or the share of sampled strings that are right where there is no list of words; of RNNs
    that answer, the share of evaluation items that they answer rightly (`Encoding.judge`). Each of the three has
    its standard error as an estimate for all items that there are, or all strings that may be written.
    rollout_loss is the mean cross-entropy of the stored rollouts.

    Args:
        kernel: What runs the models.
        spec: The architecture of the models.
        evaluated: The N runs that the checkpoints belong to.
        weights: Flat weights [N, P].
        step: The step of the checkpoints, the same for all.

    Returns:
        The scores, and the strings to store.
    """
    family, runs, tasks, settings = evaluated.family, evaluated.runs, evaluated.tasks, evaluated.settings
    losses, correct, eval_losses = evaluated.evaluation.score(kernel, spec, weights, evaluated.data)
    _, _, train_losses = evaluated.training.score(kernel, spec, weights, evaluated.data)
    if family.generates:
        strings = sample_strings(kernel, spec, family, runs, weights, step, settings.sampled_strings)
        stored = strings[:, : settings.rollouts]
        rollout = rollout_losses(kernel, spec, family.encoding, weights, stored)
        scores = string_scores(kernel, spec, family, tasks, weights, strings)
    else:
        stored = None
        rollout = [exact_mean(of_run[: settings.rollouts]) for of_run in losses]
        scores = [
            _answer_scores(family, *of_run)
            for of_run in zip(tasks, correct, eval_losses, train_losses, strict=True)
        ]
    rows = [
        {**loss_columns(*losses_of_run), "rollout_loss": loss, **score}
        for *losses_of_run, loss, score in zip(train_losses, eval_losses, rollout, scores, strict=True)
    ]
    return Evaluation({name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}, stored)


def loss_columns(train_loss: Estimate, eval_loss: Estimate) -> dict[str, float]:
    """The columns of the two losses."""
    return {
        "train_loss": train_loss.mean,
        "train_loss_error": train_loss.error,
        "eval_loss": eval_loss.mean,
        "eval_loss_error": eval_loss.error,
    }


def _answer_scores(
    family: TaskFamily[Any], task: Task, correct: Tensor, eval_loss: Estimate, train_loss: Estimate
) -> dict[str, float]:
    scores = family.score_answers(task, correct.numpy(), eval_loss, train_loss)
    error = share_error(scores["accuracy"], len(correct), len(family.evaluation_items(task)))
    return scores | {"accuracy_error": error}


def string_scores(
    kernel: Kernel,
    spec: RNNSpec,
    family: TaskFamily[Any],
    tasks: Sequence[Task],
    weights: Tensor,
    strings: Bytes,
) -> list[dict[str, Any]]:
    """Scores of N models that write, of which strings are at hand.

    Args:
        kernel: What runs the models.
        spec: The architecture of the models.
        family: A family that generates.
        tasks: What each model learned.
        weights: Flat weights [N, P].
        strings: What the models wrote, uint8 [N, M, F].

    Returns:
        For each model, scores by column, accuracy and its error among them.
    """
    scores: list[dict[str, Any]] = [
        family.score_strings(task, text) for task, text in zip(tasks, strings, strict=True)
    ]
    words = [family.words(task) for task in tasks]
    losses = _word_losses(kernel, spec, family.encoding, weights, words)
    for task, score, of_words in zip(tasks, scores, losses, strict=True):
        if of_words is None:
            score["accuracy_error"] = share_error(score["accuracy"], strings.shape[1], math.inf)
        else:
            score |= {**family.score_words(task, of_words), "accuracy_error": 0.0}
    return scores


def _word_losses(
    kernel: Kernel, spec: RNNSpec, encoding: Encoding, weights: Tensor, words: Sequence[Bytes | None]
) -> list[NDArray[np.float64] | None]:
    """The losses [W, T] of each model at each step of its own words; None for a model without words."""
    listed = [number for number, of_model in enumerate(words) if of_model is not None]
    found: list[NDArray[np.float64] | None] = [None] * len(words)
    if not listed:
        return found
    given = [of_model for of_model in words if of_model is not None]
    starts = np.cumsum([0, *map(len, given)])
    most = max(map(len, given))
    ids = np.stack([np.minimum(first + np.arange(most), last - 1) for first, last in itertools.pairwise(starts)])
    data = Data(encoding, torch.from_numpy(np.concatenate(given)))
    losses = kernel.step_losses(spec, weights[listed], data, torch.from_numpy(ids.astype(np.int32)))
    for number, of_model, of_words in zip(listed, losses.numpy(), given, strict=True):
        found[number] = of_model[: len(of_words)]
    return found


def evaluation_items(family: TaskFamily[Any], run: Run, count: int) -> NDArray[np.int32]:
    """The items of a run's evaluation loss: at most `count` of those there are, in an order of the run's seed."""
    return _drawn(family.evaluation_items(run.task).astype(np.int32, copy=False), run.seed, 0, count)


def training_sample(family: TaskFamily[Any], run: Run, count: int) -> NDArray[np.int32]:
    """The items of a run's training loss: at most `count` of those there are, in an order of the run's seed."""
    return _drawn(training_pool(family, run), run.seed, 1, count)


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


def rollout_outputs(
    encoding: Encoding, weights: Mapping[str, NDArray[np.float32]], inputs: Bytes
) -> Iterator[tuple[slice, Tensor]]:
    """What N models answer along their sequences, some models at a time: which of them, and logits [n, R, T, O].

    Args:
        encoding: How bytes become inputs.
        weights: Parameter name -> [N, ...].
        inputs: uint8 [N, R, F].
    """
    for first in range(0, len(inputs), OUTPUT_MODELS):
        rows = slice(first, min(first + OUTPUT_MODELS, len(inputs)))
        named = {name: torch.from_numpy(np.array(tensor[rows])) for name, tensor in weights.items()}
        with torch.no_grad():
            logits, _ = rnn_forward(named, encoding.inputs(torch.from_numpy(inputs[rows])))
        yield rows, logits


def _drawn(pool: NDArray[np.int32], seed: int, block: int, count: int) -> NDArray[np.int32]:
    return pool[permutation(seed, Stream.EVALUATION_ITEMS, block, len(pool))[:count]]

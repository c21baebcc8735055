"""The scores that a family gives, tried before an RNN has any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.contract.asked import described
from rnnzoo.zoo_builder.pipeline.plan.contract.columns import is_share
from rnnzoo.zoo_builder.pipeline.plan.contract.items import is_of
from rnnzoo.zoo_builder.storage.schema import stored_numbers
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.exact import Estimate
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

TRIED = 4
"""Items of a task, and strings drawn at random, that are scored as if an RNN had written them."""


def check_scores(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """Scores of some items, and of strings drawn at random, or of some answers, right and wrong."""
    method = "score_strings" if family.generates else "score_answers"
    names = ["accuracy", *family.score_columns.names]
    for task in tasks:
        asked = method
        if family.generates and family.words(task) is not None:
            asked += " and score_words"
        where = f"{asked}: of {task.task_id}"
        scores = _tried_scores(family, task)
        if scores.keys() != set(names):
            found = ", ".join(map(str, scores)) or "none"
            raise RnnzooError(f"{where}: found {found}, expected {', '.join(names)}")
        accuracy = _as_numbers(scores["accuracy"])
        if accuracy.shape or not is_share(float(accuracy)):
            raise RnnzooError(
                f"{where}: found the accuracy {scores['accuracy']!r:.80}, expected a number from 0 to 1"
            )
        for field in family.score_columns:
            _check_score(where, field, scores[field.name])
        if repr(_tried_scores(family, task)) != repr(scores):
            raise RnnzooError(f"{where}: found other scores when asked a second time, expected the same")


def _check_score(where: str, field: pa.Field, score: Any) -> None:
    shape = (field.type.list_size,) if pa.types.is_fixed_size_list(field.type) else ()
    numbers = _as_numbers(score)
    if numbers.shape != shape:
        raise RnnzooError(f"{where}: {field.name}: found {score!r:.80}, expected {field.type}")
    try:
        stored = stored_numbers(field, numbers)
    except RnnzooError as error:
        raise RnnzooError(f"{where}: {error}") from error
    if (np.isfinite(numbers) & ~np.isfinite(stored.astype(np.float64))).any():
        raise RnnzooError(f"{where}: {field.name}: found {score!r:.80}, expected what {field.type} holds")


def _tried_scores(family: TaskFamily[Any], task: Task) -> dict[str, Any]:
    chance = Estimate(math.log(family.output_size), 0.0)
    if not family.generates:
        return _scores(family, "score_answers", task, np.arange(2 * TRIED) < TRIED, chance, chance)
    scores = _scores(family, "score_strings", task, _some_strings(family, task))
    words = family.words(task)
    if words is None:
        return scores
    if not is_of(words, np.uint8, 2) or words.shape[1] != family.items.shape[1] or not len(words):
        found, width = described(words), family.items.shape[1]
        raise RnnzooError(f"words: of {task.task_id}: found {found}, expected uint8 of {width} bytes a word")
    losses = np.full((len(words), words.shape[1] - 1), chance.mean)
    return scores | _scores(family, "score_words", task, losses)


def _some_strings(family: TaskFamily[Any], task: Task) -> Bytes:
    known = family.items[family.evaluation_items(task)[:TRIED]]
    drawn = np.random.default_rng(0).integers(0, min(family.output_size, 256), (TRIED, known.shape[1]), np.uint8)
    drawn[:, 0] = family.encoding.opening
    return np.concatenate([known, drawn])


def _scores(family: TaskFamily[Any], method: str, *given: Any) -> dict[str, Any]:
    asked = getattr(family, method)
    own = getattr(asked, "__wrapped__", asked)
    if method != "score_answers" and getattr(own, "__func__", None) is getattr(TaskFamily, method).__func__:
        why = "as its RNNs write (generates)" if method == "score_strings" else "as its tasks have words"
        raise RnnzooError(f"{method}: found none, expected one, {why}")
    scores = asked(*given)
    if not isinstance(scores, Mapping):
        raise RnnzooError(f"{method}: found a {type(scores).__name__}, expected a score for each column")
    return dict(scores)


def _as_numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A score as an array; one of a shape that no column has for what is no number."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        return np.full((0, 0), math.nan)

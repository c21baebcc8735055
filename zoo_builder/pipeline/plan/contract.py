"""What a family of tasks owes its zoos, checked before anything is trained: see `tasks/family.py`.

A family may come from anywhere. A slip in it would otherwise show in the scores of a finished zoo, or never.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.storage.schema import metadata_schema
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.encodings import check_items
from rnnzoo.zoo_builder.tasks.exact import Estimate
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.tasks.target import COMMON_TARGETS

LOOKED_AT = 100
"""Of the tasks of a zoo: each is looked at on its own, and a zoo may have a million."""
FEWEST_TO_SPLIT = 4
TRIED = 4
"""Items of a task, and strings drawn at random, that are scored as if an RNN had written them."""


def check_family(plan: ZooPlan) -> None:
    """Look at a family's place, columns, tasks, splits, items, views and scores.

    Args:
        plan: Of a zoo that is about to be built.

    Raises:
        RnnzooError: Something is not as `TaskFamily` asks for it; the message says what.
    """
    family = plan.family
    try:
        _check_place(family)
        _check_columns(family)
        tasks = _distinct_tasks(family, plan.config.runs, plan.config.seed)
        _check_tasks(family, tasks)
        _check_ood(family, tasks)
        _check_items(family)
        some = tasks[:LOOKED_AT]
        _check_numbers(family, some)
        _check_views(family, some)
        _check_scores(family, some)
        if not family.generates:
            _check_shown(family, some, plan.config.rollouts)
    except RnnzooError as error:
        raise RnnzooError(f"family {family.name!r}: {error}") from error


def _check_place(family: TaskFamily[Any]) -> None:
    """A release and the explorer look for files beside the family, which Python 3.11 does in packages alone."""
    module = type(family).__module__
    try:
        files(module.rpartition(".")[0] or module)
    except (TypeError, ValueError) as error:
        raise RnnzooError(
            f"module: found {module}, beside which this Python finds no files ({error}); expected the family in "
            "a package: a folder with __init__.py"
        ) from error


def _check_columns(family: TaskFamily[Any]) -> None:
    names = Counter(metadata_schema(family.columns(family.source)).names)
    if twice := [name for name, count in names.items() if count > 1]:
        raise RnnzooError(f"columns: found {twice[0]!r} a second time, expected another name")
    taken = {target.name: "which every zoo has" for target in COMMON_TARGETS}
    for target in family.targets:
        if target.name in taken:
            raise RnnzooError(f"targets: found {target.name!r}, {taken[target.name]}, expected another name")
        taken[target.name] = "a second time"
        for name in filter(None, (target.column, target.error)):
            if name not in names:
                raise RnnzooError(f"targets: {target.name}: found no column {name!r} to read it from")


def _distinct_tasks(family: TaskFamily[Any], runs: int, seed: int) -> list[Task]:
    found = family.tasks(runs, seed)
    if not isinstance(found, Sequence | np.ndarray):
        raise RnnzooError(f"tasks: found a {type(found).__name__}, expected a list of {runs} tasks")
    if len(found) != runs:
        raise RnnzooError(f"tasks: found {len(found)} tasks for {runs} runs, expected one for each run")
    for fewer in sorted({1, min(runs - 1, LOOKED_AT)} - {0, runs}):
        for run, task in enumerate(family.tasks(fewer, seed)):
            if task != found[run]:
                raise RnnzooError(
                    f"tasks: found {found[run]!r} for run {run} of {runs} runs, and {task!r} for run {run} of "
                    f"{fewer}; expected one task, however many runs there are"
                )
    try:
        return list(dict.fromkeys(found))
    except TypeError as error:
        raise RnnzooError(f"tasks: {error}: found {found[0]!r}, expected a frozen dataclass") from error


def _check_items(family: TaskFamily[Any]) -> None:
    items, labels, encoding = family.items, family.labels, family.encoding
    for name, values, axes in (("items", items, 2), ("labels", labels, 1)):
        if values is not None and not _is_of(values, np.uint8, axes):
            raise RnnzooError(f"{name}: found {_described(values)}, expected uint8 of {axes} axes")
    if encoding.needs_labels and (labels is None or len(labels) != len(items)):
        found = "none" if labels is None else len(labels)
        raise RnnzooError(f"labels: found {found}, expected one for each of {len(items)} items")
    encoding.check_bounds()
    check_items(encoding, family.output_size, items, labels)
    if (steps := encoding.steps(items.shape[1])) < 1:
        raise RnnzooError(f"items: found {items.shape[1]} bytes of each, which are {steps} steps, expected more")
    if family.generates and encoding.opening is None:
        raise RnnzooError(f"encoding: found {encoding}, expected one with an opening byte, as its RNNs write")
    if family.generates and family.output_size > encoding.input_size:
        raise RnnzooError(
            f"output_size: found {family.output_size}, expected at most the {encoding.input_size} inputs, as RNNs "
            "read what they wrote"
        )
    if encoding.opening is not None and len(wrong := np.flatnonzero(items[:, 0] != encoding.opening)):
        raise RnnzooError(
            f"items: found item {wrong[0]} to open with {items[wrong[0], 0]}, expected {encoding.opening}, as the "
            "encoding says"
        )


def _is_of(values: object, kind: type[np.generic], axes: int) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == kind and values.ndim == axes


def _described(values: object) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {list(values.shape)}"
    return f"a {type(values).__name__}"


def _check_numbers(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    last = len(family.items) - 1
    for use in ("training_items", "evaluation_items"):
        for task in tasks:
            numbers = getattr(family, use)(task)
            if not isinstance(numbers, np.ndarray) or numbers.ndim != 1 or numbers.dtype.kind not in "iu":
                found = _described(numbers)
                raise RnnzooError(f"{use}: of {task.task_id}: found {found}, expected an array of whole numbers")
            if not len(numbers) or numbers.min() < 0 or numbers.max() > last:
                found = f"{numbers.min()} to {numbers.max()}" if len(numbers) else "none"
                raise RnnzooError(f"{use}: of {task.task_id}: found {found}, expected numbers from 0 to {last}")


def _check_views(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    width = family.items.shape[1]
    widths: dict[int, Task] = {}
    for task in tasks:
        view = family.view(task)
        if view is None:
            widths.setdefault(width, task)
            continue
        where = f"view: of {task.task_id}"
        if not _is_of(view, np.int16, 1) or not len(view):
            raise RnnzooError(f"{where}: found {_described(view)}, expected int16 of one axis")
        if view.min() < -1 or view.max() >= width:
            raise RnnzooError(
                f"{where}: found places {view.min()} to {view.max()}, expected -1, for zero, to {width - 1}"
            )
        if len(view) not in widths:
            widths[len(view)] = task
            try:
                family.encoding.check_items(np.where(view < 0, 0, family.items[:1, view]))
            except RnnzooError as error:
                raise RnnzooError(f"{where}: {error}") from error
    if len(widths) > 1:
        found = " and ".join(f"{count} bytes of {widths[count].task_id}" for count in sorted(widths)[:2])
        raise RnnzooError(f"view: found {found}, expected one number for all tasks")


def _check_scores(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """Scores of some items, and of strings drawn at random, or of some answers, right and wrong."""
    columns = family.columns(family.source)
    names = ["accuracy", *family.score_columns.names]
    for task in tasks:
        method = "score_strings" if family.generates else "score_answers"
        if family.generates and family.words(task) is not None:
            method += " and score_words"
        where = f"{method}: of {task.task_id}"
        try:
            scores = _tried_scores(family, task)
        except NotImplementedError as error:
            raise RnnzooError(f"{where}: {error}") from error
        if scores.keys() != set(names):
            found = ", ".join(map(str, scores)) or "none"
            raise RnnzooError(f"{where}: found {found}, expected {', '.join(names)}")
        accuracy = _as_numbers(scores["accuracy"])
        if accuracy.shape or not 0 <= accuracy <= 1:
            raise RnnzooError(
                f"{where}: found the accuracy {scores['accuracy']!r:.80}, expected a number from 0 to 1"
            )
        for name in names[1:]:
            kind = columns.field(name).type
            shape = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
            if _as_numbers(scores[name]).shape != shape:
                raise RnnzooError(f"{where}: {name}: found {scores[name]!r:.80}, expected {kind}")


def _tried_scores(family: TaskFamily[Any], task: Task) -> dict[str, Any]:
    chance = Estimate(math.log(family.output_size), 0.0)
    if not family.generates:
        return _mapping("score_answers", family.score_answers(task, np.arange(2 * TRIED) < TRIED, chance, chance))
    scores = _mapping("score_strings", family.score_strings(task, _some_strings(family, task)))
    words = family.words(task)
    if words is None:
        return scores
    if not _is_of(words, np.uint8, 2) or words.shape[1] != family.items.shape[1] or not len(words):
        found, width = _described(words), family.items.shape[1]
        raise RnnzooError(f"words: of {task.task_id}: found {found}, expected uint8 of {width} bytes a word")
    losses = np.full((len(words), words.shape[1] - 1), chance.mean)
    return scores | _mapping("score_words", family.score_words(task, losses))


def _some_strings(family: TaskFamily[Any], task: Task) -> Bytes:
    known = family.items[family.evaluation_items(task)[:TRIED]]
    drawn = np.random.default_rng(0).integers(0, min(family.output_size, 256), (TRIED, known.shape[1]), np.uint8)
    drawn[:, 0] = family.encoding.opening
    return np.concatenate([known, drawn])


def _mapping(method: str, scores: Any) -> dict[str, Any]:
    if not isinstance(scores, Mapping):
        raise RnnzooError(f"{method}: found a {type(scores).__name__}, expected a score for each column")
    return dict(scores)


def _as_numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A score as an array; one of a shape that no column has for what is no number."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        return np.full((0, 0), math.nan)


def _check_shown(family: TaskFamily[Any], tasks: Sequence[Task], most: int) -> None:
    """Rollouts show as many items of each task, `most` where there are so many."""
    shown = {min(most, len(family.evaluation_items(task))): task for task in tasks}
    if len(shown) > 1:
        counts = " and ".join(f"{count} of {shown[count].task_id}" for count in sorted(shown)[:2])
        raise RnnzooError(
            f"evaluation_items: found {counts}, of which rollouts show up to {most}; expected one number "
            "for all tasks"
        )


def _check_tasks(family: TaskFamily[Any], tasks: list[Task]) -> None:
    for task in tasks:
        if not isinstance(name := getattr(task, "task_id", None), str):
            raise RnnzooError(f"tasks: found {task!r} with the task_id {name!r}, expected a text")
    ids = Counter(task.task_id for task in tasks)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise RnnzooError(f"tasks: found two that differ with the task_id {twice[0]!r}, expected an id of its own")
    fields = family.task_columns
    for task in tasks[:LOOKED_AT]:
        values = task.columns()
        if sorted(values) != sorted(fields.names):
            raise RnnzooError(
                f"task_columns: found {', '.join(fields.names)}, expected those of the task: {', '.join(values)}"
            )
        row = {name: _as_stored(name, fields.field(name).type, value) for name, value in values.items()}
        if (found := family.task_of(row)) != task:
            raise RnnzooError(f"task_of: found {found!r} for the columns {row}, expected {task!r}")


def _as_stored(name: str, kind: pa.DataType, value: Any) -> Any:
    try:
        return pa.array([value], kind)[0].as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise RnnzooError(f"task_columns: {name}: found {value!r}, expected {kind}: {error}") from error


def _check_ood(family: TaskFamily[Any], tasks: list[Task]) -> None:
    if len(tasks) < FEWEST_TO_SPLIT:
        return
    ordered = sorted(tasks, key=lambda task: task.task_id)
    found = family.out_of_distribution(ordered)
    if not set(found) <= set(ordered) or not 0 < len(set(found)) < len(ordered):
        raise RnnzooError(
            f"out_of_distribution: found {len(set(found))} of {len(ordered)} tasks, expected some of them (about "
            "15 %) and not all"
        )

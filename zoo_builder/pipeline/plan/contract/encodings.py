"""The encoding of a family: what a manifest stores of it, what RNNs read by it, and what kernels take it for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.pipeline.plan.contract.asked import described
from rnnzoo.zoo_builder.tasks import installed_families
from rnnzoo.zoo_builder.tasks.encodings import ENCODINGS, CompiledForm, Encoding
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily

PATTERNS = torch.tensor(list(itertools.product([False, True], repeat=4)))
"""Which of four answers are right, in every way."""
READ, ANSWERED = 8, 1000
"""Items whose inputs are looked at, and items whose targets are."""


def check_encoding(family: TaskFamily[Any]) -> None:
    """The encoding says what it has to, and comes back from a manifest as it was."""
    encoding = family.encoding
    with blaming("encoding: check_bounds"):
        encoding.check_bounds()
    for name, kind, expected in (
        ("kind", str, "a name of its own"),
        ("needs_labels", bool, "whether targets are labels"),
        ("every_answer", bool, "whether all answers count"),
        ("input_size", int, "a whole number of inputs"),
    ):
        with blaming(f"encoding: {name}"):
            value = getattr(encoding, name, None)
        if type(value) is not kind or not (value or kind is bool):
            raise RnnzooError(f"encoding: {name}: found {value!r}, expected {expected}")
    if encoding.input_size < 1:
        raise RnnzooError(f"encoding: input_size: found {encoding.input_size}, expected at least 1")
    opening = encoding.opening
    if opening is not None and (type(opening) is not int or not 0 <= opening < 256):
        raise RnnzooError(f"encoding: opening: found {opening!r}, expected a byte, or None")
    others = {each.encoding.kind: type(each.encoding) for each in installed_families() if each.name != family.name}
    owner = (others | ENCODINGS).get(encoding.kind)
    if owner not in (None, type(encoding)):
        found = f"{encoding.kind!r} of {type(encoding).__name__}, which is that of {owner.__name__}"
        raise RnnzooError(f"encoding: kind: found {found}, expected a name of its own")
    with blaming("encoding: to_dict, by which a manifest stores it; expected a frozen dataclass"):
        values = json.loads(json.dumps(encoding.to_dict()))
        made = type(encoding)(**{name: value for name, value in values.items() if name != "kind"})
        if values.get("kind") != encoding.kind or made != encoding or values != made.to_dict():
            raise RnnzooError(
                f"encoding: found {made} made of {values}, which a manifest stores, expected {encoding}: "
                "a frozen dataclass of plain numbers and texts"
            )


def check_reading(family: TaskFamily[Any], tasks: Sequence[Task]) -> None:
    """Inputs and targets of some items are as RNNs need them, and as compiled kernels make them."""
    for task in tasks:
        if (view := family.view(task)) is not None or task is tasks[0]:
            _check_of_task(family, task, view)
            if task is not tasks[0]:
                break


def _check_of_task(family: TaskFamily[Any], task: Task, view: Any) -> None:
    encoding = family.encoding
    chosen = np.unique(np.concatenate([family.training_items(task), family.evaluation_items(task)]))
    chosen = chosen[:: -(-len(chosen) // ANSWERED)]
    raw = family.items[chosen]
    items = torch.from_numpy(np.ascontiguousarray(raw if view is None else np.where(view < 0, 0, raw[:, view])))
    labels = None if family.labels is None else torch.from_numpy(family.labels[chosen])
    with blaming("encoding: steps"):
        steps = encoding.steps(items.shape[1])
    for axes in (1, 2):  # a batch is [N, B, F]
        own = items if axes == 1 else items[None]
        some = own[..., :READ, :]
        answers = None if labels is None else labels.view(own.shape[:-1])
        with blaming("encoding: inputs"):
            inputs = encoding.inputs(some.clone())
        with blaming("encoding: targets"):
            targets = encoding.targets(own.clone(), answers)
        _check_tensor("inputs", inputs, torch.float32, (*some.shape[:-1], steps, encoding.input_size))
        _check_tensor("targets", targets, torch.int64, (*own.shape[:-1], steps))
    _check_targets(targets, family.output_size)
    if not inputs.isfinite().all():
        raise RnnzooError("encoding: inputs: found some that are not finite, expected numbers")
    _check_range(encoding, inputs)
    with blaming("encoding: compiled_form"):
        form = encoding.compiled_form()
    if form is not None:
        _check_form(encoding, form, items[:READ], None if labels is None else labels[:READ], steps)


def _check_tensor(method: str, found: Any, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor) or found.dtype != kind or found.shape != shape:
        raise RnnzooError(
            f"encoding: {method}: found {described(found)}, expected {str(kind).removeprefix('torch.')} of shape "
            f"{list(shape)}{'' if isinstance(found, Tensor) else ', a tensor'}"
        )


def _check_targets(targets: Tensor, outputs: int) -> None:
    least, most = int(targets.min()), int(targets.max())
    if least < 0 or most >= outputs:
        raise RnnzooError(f"encoding: targets: found {least} to {most}, expected 0 to {outputs - 1}, the outputs")


def _check_range(encoding: Encoding, inputs: Tensor) -> None:
    with blaming("encoding: input_range"):
        shown = encoding.input_range
    lacking = [name for name in ("sums_to_one", "forward", "backward", "near") if not hasattr(shown, name)]
    if lacking:
        raise RnnzooError(
            f"encoding: input_range: found {shown!r}, which has no {lacking[0]}, expected an InputRange"
        )
    with blaming("encoding: input_range"):
        made = shown.forward(shown.near(inputs, 0.9))
        slope = torch.linspace(-1, 1, made.numel()).view(made.shape)
        gradient = shown.backward(slope.clone(), made)
    for found in (made, gradient):
        _check_tensor("input_range", found, torch.float32, tuple(inputs.shape))
    with blaming("encoding: input_range"):
        scores = shown.near(inputs, 0.9).detach().requires_grad_()
        (expected,) = torch.autograd.grad(shown.forward(scores), scores, slope)
    if not torch.allclose(gradient, expected, rtol=1e-3, atol=1e-5):
        raise RnnzooError(
            "encoding: input_range: backward: found another gradient than that of forward, expected the same"
        )
    with blaming("encoding: judge"):
        right = encoding.judge(torch.ones(2, 3, dtype=torch.bool))
    _check_tensor("judge", right, torch.bool, (2,))


def _check_form(encoding: Encoding, form: CompiledForm, items: Tensor, labels: Tensor | None, steps: int) -> None:
    """Compiled kernels never call the encoding: they read items as its form says."""
    if not isinstance(form, CompiledForm):
        raise RnnzooError(f"encoding: compiled_form: found {described(form)}, expected a CompiledForm, or None")
    size, width = encoding.input_size, items.shape[1]
    if form.tokens:
        inputs = torch.nn.functional.one_hot(items[:, :steps].long().clamp_max(size - 1), size).float()
        targets: Tensor | None = items[:, width - steps :].long()
    else:
        pixels = items.float() * form.scale + form.shift
        whole = width == (steps - 1) * size
        inputs = (
            torch.cat([torch.zeros(len(items), size), pixels], dim=1).view(len(items), -1, size)
            if whole
            else pixels
        )
        targets = None if labels is None else labels.long().unsqueeze(-1).expand(-1, steps)
    same = {
        "inputs": inputs.shape == (len(items), steps, size)
        and torch.allclose(encoding.inputs(items.clone()), inputs),
        "targets": targets is not None and torch.equal(encoding.targets(items.clone(), labels), targets),
        "judge": torch.equal(encoding.judge(PATTERNS), Encoding.judge(encoding, PATTERNS)),
    }
    if wrong := [method for method, is_same in same.items() if not is_same]:
        raise RnnzooError(
            f"encoding: {wrong[0]}: found others than {form} says, by which compiled kernels read items; expected "
            "the same, or None as compiled_form"
        )

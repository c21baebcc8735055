"""The layout of the original release: one folder a zoo, one row a checkpoint in every array.

    args.json               how it was trained; may be missing
    parameters.npy          float32 [rows, P], in the order of `nn.LSTM(...).parameters()`, then the head
    sequences.npy           [rows, R, ...]: its rollouts
    logits.npy              float16 [rows, R, T, O]: what the RNN answers along them

and arrays of tasks, numbers (run, step) and scores, which are another family's each: see the `published.py` of a
family in `rnnzoo.zoo_builder.tasks`.

The published "step k" has seen k + 1 updates. Where args.json says {"rnnzoo": {"step_counts": "updates"}}, as
in an export of ours, it counts the updates themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.rnn.cells import LSTM
from rnnzoo.zoo_builder.storage.files import file_in, is_there, read_json
from rnnzoo.zoo_builder.tasks import installed_families
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.tasks.published import PublishedForm

ARGS = "args.json"
MENDED = "mended_sequences"
"""In the config of an imported zoo: how many sequences the published program had damaged."""
PUBLISHED_CELL = LSTM
"""The cell of all RNNs in the published arrays, which do not name one."""
MOST_UNITS = 1024
MOST_LAYERS = 64
MOST_ROWS = 10_000_000
LIKELY_LAYERS = (2, 1, 3, 4)


@dataclass(frozen=True)
class PublishedArrays:
    """Arrays mapped into memory.

    run, step: int64 [rows], step in updates taken. numbers: int64 [rows, ...], run and step first.
    scores: float64 [rows, ...], where the family has such an array.
    """

    folder: Path
    family: type[TaskFamily[Any]]
    form: PublishedForm
    args: dict[str, Any]
    spec: RNNSpec
    parameters: NDArray[np.float32]
    tasks: NDArray[Any]
    sequences: NDArray[Any]
    logits: NDArray[np.float16]
    run: NDArray[np.int64]
    step: NDArray[np.int64]
    numbers: NDArray[np.int64]
    scores: NDArray[np.float64] | None


def open_published(folder: Path) -> PublishedArrays:
    """Open the arrays of a published zoo and check that they fit together; nothing is unpickled.

    Raises RnnzooError, naming the file, what was found and what was expected.
    """
    args = _read_args(folder)
    family, form = _find_family(folder)
    encoding, output_size = family.encoding, family.output_size
    parameters = _open(folder, "parameters.npy", "f4", (None, None))
    rows = len(parameters)
    tasks = _open(folder, form.tasks.file, form.tasks.kind, (rows, form.tasks.width))
    shape = form.sequence_shape()
    kind = np.dtype(form.sequence_type).kind
    sequences = _open(folder, "sequences.npy", kind, (rows, None, *shape))
    numbers = np.array(_open(folder, form.numbers.file, form.numbers.kind, (rows, form.numbers.width)), np.int64)
    scores = None
    if form.scores is not None:
        found = _open(folder, form.scores.file, form.scores.kind, (rows, form.scores.width))
        scores = np.array(found, np.float64)
    steps = encoding.steps(form.item_bytes)
    logits = _open(folder, "logits.npy", "f2", (rows, sequences.shape[1], steps, output_size))
    return PublishedArrays(
        folder=folder,
        family=family,
        form=form,
        args=args,
        spec=_find_spec(folder, args, encoding.input_size, output_size, parameters.shape[1]),
        parameters=parameters,
        tasks=tasks,
        sequences=sequences,
        logits=logits,
        run=numbers[:, 0],
        step=numbers[:, 1] + uncounted_updates(args),
        numbers=numbers,
        scores=scores,
    )


def uncounted_updates(args: dict[str, Any]) -> int:
    """How many updates more than its "step" a checkpoint of arrays with these args has seen."""
    ours = args.get("rnnzoo")
    return 0 if isinstance(ours, dict) and ours.get("step_counts") == "updates" else 1


def _find_family(folder: Path) -> tuple[type[TaskFamily[Any]], PublishedForm]:
    """The family whose array of numbers is there."""
    known = []
    for family in installed_families():
        if family.published is not None:
            if is_there(folder / family.published.numbers.file):
                return family, family.published
            known.append(f"{family.published.numbers.file} ({family.name})")
    raise RnnzooError(f"{folder}: found neither {' nor '.join(known)}")


def _read_args(folder: Path) -> dict[str, Any]:
    if not os.path.lexists(folder / ARGS):
        return {}
    values = read_json(file_in(folder, ARGS), most=1_000_000)
    if not isinstance(values, dict):
        raise RnnzooError(f"{folder / ARGS}: found {type(values).__name__}, expected a JSON object")
    return values


def _open(folder: Path, name: str, dtype: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map an array into memory. dtype: a kind ("i", "f"), or a kind and its bytes. shape: None for any length."""
    path = file_in(folder, name)
    try:
        array = open_memmap(path, mode="r")  # knows no pickles, and refuses objects
    except Exception as error:  # the header is Python's text, and what its parser raises is of many kinds
        raise RnnzooError(f"{path}: not a whole .npy file of plain numbers: {error!s:.200}") from error
    if not array.dtype.str[1:].startswith(dtype):
        kinds = {"i": "whole numbers", "f": "floats", "f2": "float16", "f4": "float32"}
        raise RnnzooError(f"{path}: found {array.dtype}, expected {kinds[dtype]}")
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for found, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or 0 in array.shape or len(array) > MOST_ROWS:
        expected = ", ".join("any" if length is None else str(length) for length in shape)
        raise RnnzooError(f"{path}: found shape {list(array.shape)}, expected [{expected}]")
    return array


def _find_spec(folder: Path, args: dict[str, Any], inputs: int, outputs: int, parameters: int) -> RNNSpec:
    """The RNN with this number of parameters: of the sizes in args.json, or else of the likeliest depth."""
    hidden, layers = (args.get(f"rnn_{size}", args.get(size)) for size in ("hidden_size", "num_layers"))
    units = [hidden] if isinstance(hidden, int) else range(1, MOST_UNITS + 1)
    depths = [layers] if isinstance(layers, int) else LIKELY_LAYERS
    for depth in depths if max(depths) <= MOST_LAYERS else ():
        for size in units:
            try:
                spec = RNNSpec(inputs, size, outputs, depth, PUBLISHED_CELL.name)
            except RnnzooError as error:  # of what args.json says: the other sizes are sound
                raise RnnzooError(f"{folder / ARGS}: {error}") from error
            if spec.num_parameters == parameters:
                return spec
    raise RnnzooError(
        f"{folder / 'parameters.npy'}: found {parameters} parameters, expected those of an {PUBLISHED_CELL.title} "
        f"with {inputs} inputs, a head of {outputs} outputs, {hidden or 'any number of'} units and "
        f"{layers or '1 to 4'} layers"
    )

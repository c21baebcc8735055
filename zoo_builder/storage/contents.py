"""What the tensors of a shard must be: checked the same on disk, on the hub, and by `verify`.

Tensors are described by dtype and shape, so that those of a shard on the hub can be checked by its header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.shards import TensorSpec

LARGEST_ROLLOUTS = 64_000_000
"""Bytes of one model's."""


def check_weights(found: Mapping[str, TensorSpec], spec: RNNSpec, models: int, where: str) -> None:
    """Raise RnnzooError unless these are the weights of so many models."""
    expected = {p.name: TensorSpec(np.dtype(np.float32), (models, *p.shape)) for p in spec.parameters}
    if found.keys() != expected.keys():
        odd = min(found.keys() ^ expected.keys())
        raise RnnzooError(f"{where}: its tensors are not the spec's parameters, see {odd!r}")
    for name, tensor in expected.items():
        if found[name] != tensor:
            raise RnnzooError(f"{where}: {name}: found {found[name]}, expected {tensor}")


def check_rollouts(found: Mapping[str, TensorSpec], rows: NDArray[np.integer[Any]], where: str) -> None:
    """Raise RnnzooError unless these are rollouts: "inputs" uint8 [K, R, F] and, perhaps, "labels" uint8 [K, R].

    rows: those that the metadata name; all must be there.
    """
    if "inputs" not in found or not found.keys() <= {"inputs", "labels"}:
        raise RnnzooError(f"{where}: found tensors {sorted(found)}, expected 'inputs' and 'labels'")
    dimensions = {"inputs": 3, "labels": 2}
    for name, tensor in found.items():
        shape = found["inputs"].shape[: dimensions[name]]
        if tensor != (np.uint8, shape) or len(shape) != dimensions[name] or 0 in shape:
            raise RnnzooError(f"{where}: {name}: found {tensor}, expected uint8 [models, rollouts, bytes]")
    models, rollouts, width = found["inputs"].shape
    if (size := rollouts * width) > LARGEST_ROLLOUTS:
        raise RnnzooError(f"{where}: found rollouts of {size} bytes, expected at most {LARGEST_ROLLOUTS}")
    outside = rows[(rows < 0) | (rows >= models)]
    if len(outside):
        raise RnnzooError(f"{where}: found {models} rows, expected row {outside[0]} that the metadata name")

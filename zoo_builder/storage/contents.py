"""What the tensors of a shard must be: checked the same on disk, on the hub, and by `verify`.

Tensors are described by dtype and shape, so that those of a shard on the hub can be checked by its header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec

LARGEST_ROLLOUTS = 64_000_000
"""Bytes of one model's."""


class Kind(NamedTuple):
    """dtype and shape of a tensor."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def kinds_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Kind]:
    return {name: Kind(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}


def check_weights(found: Mapping[str, Kind], spec: RNNSpec, models: int, where: str) -> None:
    """Raise RnnzooError unless these are the weights of so many models."""
    expected = {p.name: Kind(np.dtype(np.float32), (models, *p.shape)) for p in spec.parameters}
    if found.keys() != expected.keys():
        odd = min(found.keys() ^ expected.keys())
        raise RnnzooError(f"{where}: its tensors are not the spec's parameters, see {odd!r}")
    for name, kind in expected.items():
        if found[name] != kind:
            raise RnnzooError(f"{where}: {name}: found {found[name]}, expected {kind}")


def check_rollouts(found: Mapping[str, Kind], rows: NDArray[np.integer[Any]], where: str) -> None:
    """Raise RnnzooError unless these are rollouts: "inputs" uint8 [K, R, F] and, perhaps, "labels" uint8 [K, R].

    rows: those that the metadata name; all must be there.
    """
    if "inputs" not in found or not found.keys() <= {"inputs", "labels"}:
        raise RnnzooError(f"{where}: found tensors {sorted(found)}, expected 'inputs' and 'labels'")
    dimensions = {"inputs": 3, "labels": 2}
    for name, kind in found.items():
        shape = found["inputs"].shape[: dimensions[name]]
        if kind != (np.uint8, shape) or len(shape) != dimensions[name] or 0 in shape:
            raise RnnzooError(f"{where}: {name}: found {kind}, expected uint8 [models, rollouts, bytes]")
    models, rollouts, width = found["inputs"].shape
    if (size := rollouts * width) > LARGEST_ROLLOUTS:
        raise RnnzooError(f"{where}: found rollouts of {size} bytes, expected at most {LARGEST_ROLLOUTS}")
    outside = rows[(rows < 0) | (rows >= models)]
    if len(outside):
        raise RnnzooError(f"{where}: found {models} rows, expected row {outside[0]} that the metadata name")

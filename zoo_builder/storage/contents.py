"""What the tensors of a shard are: written, and checked the same on disk, on the hub, and by `verify`.

Tensors are described by dtype and shape, so that those of a shard on the hub can be checked by its header.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, unflatten_weights
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import rollout_hashes
from rnnzoo.zoo_builder.storage.shards import TENSOR_DIGITS, TensorSpec, row_sha256, tensors_sha256, write_shard

LARGEST_ROLLOUTS = 64_000_000
"""Bytes of one model's."""


def write_contents(
    folder: Path,
    zoo: str,
    shard: str,
    spec: RNNSpec,
    flat: NDArray[np.float32],
    rollouts: Mapping[str, NDArray[np.uint8]],
) -> list[dict[str, Any]]:
    """Write the weights and rollouts of a shard's N models.

    Args:
        folder: The folder of the zoo.
        zoo: Name of the zoo.
        shard: Name of the shard.
        spec: That of the models.
        flat: Their weights [N, P], NaNs as `one_nan` leaves them.
        rollouts: name -> [K, ...], a row a model; or a row a run, where models stand run after run at each step.

    Returns:
        Of each model, what its row of metadata says of these files and of what it has in them.
    """
    weights = unflatten_weights(spec, torch.from_numpy(flat))
    named = {name: tensor.numpy() for name, tensor in weights.items()}
    header = {
        "format_version": schema.FORMAT_VERSION,
        "zoo": zoo,
        "shard": shard,
        "spec": spec.to_dict(),
    }
    write_shard(folder / schema.weights_file(shard), named, header)
    write_shard(folder / schema.rollouts_file(shard), rollouts, header)
    of_tensors = tensors_sha256(list(named.values()))
    of_rollouts = [digest.hex() for digest in rollout_hashes(rollouts)]
    return [
        {
            "diverged": not np.isfinite(model).all(),
            **spec.to_dict(),
            "num_parameters": spec.num_parameters,
            "shard": schema.weights_file(shard),
            "row": row,
            "rollout_row": row % len(of_rollouts),
            "sha256": row_sha256(model),
            "tensors_sha256": of_tensors[row],
            "rollout_sha256": of_rollouts[row % len(of_rollouts)],
        }
        for row, model in enumerate(flat)
    ]


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


def check_weight_hashes(
    metadata: pa.Table, spec: RNNSpec, tensors: Mapping[str, NDArray[Any]], places: NDArray[Any], where: str
) -> None:
    """Raise RnnzooError unless the weights of B checkpoints have the hashes that their metadata say.

    tensors: some of the parameters or all, name -> [N, *shape]. places: which of the N rows each checkpoint has,
    [B]. Of a zoo that was built before single parameters had hashes, only whole checkpoints are looked at.
    """
    parameters = [parameter.name for parameter in spec.parameters]
    if "tensors_sha256" in metadata.column_names:
        hashes = metadata["tensors_sha256"].to_pylist()
        for name, tensor in tensors.items():
            digits = slice(first := parameters.index(name) * TENSOR_DIGITS, first + TENSOR_DIGITS)
            _compare_hashes(
                tensors_sha256([tensor[places]]), [text[digits] for text in hashes], places, name, where
            )
    elif tensors.keys() == set(parameters):
        flat = np.concatenate([tensors[name][places].reshape(len(places), -1) for name in parameters], axis=1)
        found = [row_sha256(row) for row in flat]
        _compare_hashes(found, metadata["sha256"].to_pylist(), places, "weights", where)


def check_rollout_hashes(
    metadata: pa.Table, tensors: Mapping[str, NDArray[np.uint8]], places: NDArray[Any], where: str
) -> None:
    """Likewise of the rollouts of B checkpoints. tensors: all that the file has."""
    if "rollout_sha256" in metadata.column_names and len(places):
        different, numbers = np.unique(places, return_inverse=True)
        hashes = rollout_hashes({name: tensor[different] for name, tensor in tensors.items()})
        found = [hashes[number].hex() for number in numbers.reshape(-1)]
        _compare_hashes(found, metadata["rollout_sha256"].to_pylist(), places, "rollouts", where)


def _compare_hashes(found: list[str], expected: list[str], places: NDArray[Any], what: str, where: str) -> None:
    for place, got, wanted in zip(places.tolist(), found, expected, strict=True):
        if got != wanted:
            raise RnnzooError(
                f"{where}: {what} of row {place}: found sha256 {got}, expected {wanted} by the metadata; the file "
                "was damaged or changed"
            )

"""What was trained for results, kept beside them: one safetensors file, writer beside reader.

An encoder and emulator trained by emulation are kept for more targets; these, and an encoder and readout trained
on a target, are kept to be published.

Its header has the key of the training, and a SHA-256 of the tensors, which safetensors does not check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rnnzoo.loaders.benchmark.results.content import Result
from rnnzoo.loaders.benchmark.results.files import emulation_path, result_path
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.shards import METADATA_KEY, encode_note, parse_note
from rnnzoo.zoo_builder.storage.writing import write_file

KEPT = ".safetensors"
ENCODER_PART = "encoder."
"""Tensors whose names begin so are the encoder's; others are its emulator's or readout's."""


def write_kept(path: Path, tensors: Mapping[str, Tensor], key: ResultKey) -> None:
    """Write what was trained, whole or not at all.

    Args:
        path: The file.
        tensors: Their state, name -> tensor.
        key: That of the training.
    """
    state = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_file(
        path, save(state, metadata={METADATA_KEY: encode_note({"key": key.digest, "sha256": _digest(state)})})
    )


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own: safetensors takes no others, such as tied weights."""
    apart: dict[str, Tensor] = {}
    met = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in met else tensor
        met.add(place)
    return apart


def read_kept(path: Path, key: ResultKey) -> dict[str, Tensor]:
    """Read what was trained.

    Args:
        path: The file.
        key: That of the training it has to be of.

    Returns:
        Their state, name -> tensor.

    Raises:
        RnnzooError: The file is broken, or of another training.
    """
    try:
        with safe_open(file_in(path.parent, path.name), framework="pt") as file:
            note = (file.metadata() or {}).get(METADATA_KEY, "{}")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise RnnzooError(f"{path}: is no safetensors file ({error}); delete it to train again") from error
    metadata = parse_note(note, path)
    expected = {"key": key.digest, "sha256": _digest(state)}
    for name, value in expected.items():
        if metadata.get(name) != value:
            raise RnnzooError(
                f"{path}: {name}: found {metadata.get(name, 'nothing')}, expected {value}; delete it to train "
                "again"
            )
    return state


def kept_path(board: Path, result: Result) -> Path:
    """Where that stands which was trained for a result, in the folder of its zoo and protocol."""
    if result.track == "frozen":
        return emulation_path(board, result.encoder, result.seed).with_suffix(KEPT)
    return result_path(board, result.encoder, result.track, result.target, result.seed).with_suffix(KEPT)


def read_encoder(board: Path, result: Result) -> dict[str, Tensor]:
    """Read the state of the encoder that was trained for a result.

    Args:
        board: The folder of its zoo and protocol.
        result: The result, of a track that trains.

    Returns:
        Name -> tensor.

    Raises:
        RnnzooError: The file is missing or broken, or of another training.
    """
    path = kept_path(board, result)
    if not path.is_file():
        name = path.with_suffix(".json").name
        raise RnnzooError(f"{path}: what was trained is missing; delete {name} and run the same command again")
    return {
        name.removeprefix(ENCODER_PART): tensor
        for name, tensor in read_kept(path, result.key).items()
        if name.startswith(ENCODER_PART)
    }


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()

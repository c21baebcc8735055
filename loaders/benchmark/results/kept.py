"""What was trained for results, kept beside them: one safetensors file, writer beside reader.

An encoder and emulator trained by emulation are kept for more targets; these, and an encoder and readout trained
on a target, are kept to be published.

Its header has the key of the training, and a SHA-256 of the tensors, which safetensors does not check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.shards import METADATA_KEY, encode_note, parse_note, write_file

KEPT = ".safetensors"


def write_kept(path: Path, tensors: Mapping[str, Tensor], key: ResultKey) -> None:
    """Write what was trained, whole or not at all.

    Args:
        path: The file.
        tensors: Their state, name -> tensor.
        key: That of the training.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(
        path, save(state, metadata={METADATA_KEY: encode_note({"key": key.digest, "sha256": _digest(state)})})
    )


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


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).numpy().tobytes())
    return digest.hexdigest()

"""A zoo's digest: a short text that says which zoo this is, down to every value in it.

    fma-1-5be01f3a-09ab34cd56ef7890    <arithmetic>-<8 digits of the config>-<16 digits of the contents>

The contents are a set of checkpoints. Each has a SHA-256 of its weights, its rollouts and its metadata; these are
added up as numbers modulo 2^256, so a shard's share can be computed when the shard is, the shares can be joined in
any order, and how shards are cut or files compressed makes no difference. The digest tells zoos apart; it is no
protection from somebody who looks for two zoos with one digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import current_names

ARITHMETIC = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
"""The names of arithmetics, such as fma-1, torch-cuda, or imported of weights that were computed elsewhere."""
SAME_EVERYWHERE = "fma-"
"""How the names of arithmetics begin whose bits do not depend on the machine."""
UNRECORDED = "arithmetic: not recorded (built before fma-1)"
"""What is said of a zoo that has no digest."""
OF_STORAGE = ("shard", "row", "rollout_row", "sha256", "tensors_sha256", "rollout_sha256")
"""Columns that say where a checkpoint lies, or are hashes of what it holds."""
NOT_OF_CONTENTS = ("preset", "runs_per_shard")
"""Fields of a config that no value in a zoo depends on."""
NEUTRAL = {"batch_size_scales": [1], "initial_scales": [1.0], "data_fractions": [1.0]}
"""Fields that came later than the first digests, and the values of zoos that were built without them."""
SHARE = "[0-9a-f]{64}"
"""The form of a share of the contents, as shard records have it."""
_DIGEST = re.compile(f"({ARITHMETIC})-([0-9a-f]{{8}})-([0-9a-f]{{16}})")
_MODULUS = 1 << 256


@dataclass(frozen=True)
class ZooDigest:
    """A digest in its parts; `str` gives its text.

    Attributes:
        arithmetic: Name of the arithmetic that the weights were computed in.
        config: 8 hexadecimal digits of the config.
        contents: 16 hexadecimal digits of all checkpoints.
    """

    arithmetic: str
    config: str
    contents: str

    @classmethod
    def parse(cls, text: str) -> ZooDigest:
        """A digest from its text.

        Raises:
            RnnzooError: The text is no digest.
        """
        found = _DIGEST.fullmatch(text)
        if found is None:
            raise RnnzooError(
                f"digest: found {text!r:.80}, expected <arithmetic>-<8 hexadecimal digits>-<16 hexadecimal digits>"
            )
        return cls(*found.groups())

    @property
    def is_same_everywhere(self) -> bool:
        """Whether the arithmetic gives the same bits on every machine."""
        return self.arithmetic.startswith(SAME_EVERYWHERE)

    def __str__(self) -> str:
        return f"{self.arithmetic}-{self.config}-{self.contents}"


def config_digest(config: Mapping[str, Any]) -> str:
    """The digits of a config: 8 of a SHA-256 over its fields, without those that no value depends on, and without
    those of `NEUTRAL` that change nothing."""
    fields = {name: value for name, value in current_names(config).items() if name not in NOT_OF_CONTENTS}
    fields = {name: value for name, value in fields.items() if name not in NEUTRAL or list(value) != NEUTRAL[name]}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


def join_contents(shares: Iterable[str]) -> str:
    """The digits of a zoo's contents, from the shares of its shards, in any order."""
    total = sum(int(share, 16) for share in shares) % _MODULUS
    return hashlib.sha256(total.to_bytes(32, "big")).hexdigest()[:16]


def contents_share(checkpoints: Iterable[bytes]) -> str:
    """The share that some checkpoints have in a zoo's contents. checkpoints: what `checkpoint_hashes` gives."""
    total = sum(int.from_bytes(checkpoint, "big") for checkpoint in checkpoints) % _MODULUS
    return f"{total:064x}"


def checkpoint_hashes(
    metadata: pa.Table, weights: Sequence[str], rollouts: Mapping[str, NDArray[np.uint8]]
) -> list[bytes]:
    """A SHA-256 of each checkpoint of a shard.

    Args:
        metadata: The shard's rows of metadata.
        weights: The SHA-256 of each row's weights (`row_sha256`), NaNs as `one_nan` leaves them, in hexadecimal.
        rollouts: The shard's rollouts, name -> [K, ...].
    """
    names = [name for name in metadata.column_names if name not in OF_STORAGE]
    header = _sha256(json.dumps(names).encode())
    texts = zip(*(value_texts(metadata[name]) for name in names), strict=True)
    of_rollouts = rollout_hashes(rollouts)
    places = metadata["rollout_row"].to_pylist()
    return [
        _sha256(bytes.fromhex(model) + of_rollouts[place] + header + ",".join(values).encode())
        for model, place, values in zip(weights, places, texts, strict=True)
    ]


def one_nan(values: NDArray[Any]) -> NDArray[Any]:
    """Floats with every NaN replaced by the one NaN; the same array where there is none."""
    missing = np.isnan(values)
    return np.where(missing, values.dtype.type(np.nan), values) if missing.any() else values


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def rollout_hashes(rollouts: Mapping[str, NDArray[np.uint8]]) -> list[bytes]:
    """A SHA-256 of each row of the rollouts: names, shapes and bytes."""
    names = sorted(rollouts)
    header = json.dumps([[name, list(rollouts[name].shape[1:])] for name in names]).encode()
    rows = zip(*(rollouts[name] for name in names), strict=True)
    return [_sha256(header + b"".join(np.ascontiguousarray(part).tobytes() for part in row)) for row in rows]


def value_texts(values: pa.ChunkedArray) -> list[str]:
    """The canonical text of each value of a column: JSON, a float as a text of its bits in hexadecimal digits."""
    return _texts(values.combine_chunks())


def _texts(values: pa.Array) -> list[str]:
    kind = values.type
    if pa.types.is_floating(kind):
        return _float_texts(values)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _list_texts(values)
    return [json.dumps(value) for value in values.to_pylist()]


def _float_texts(values: pa.Array) -> list[str]:
    size = values.type.bit_width // 8
    bits = one_nan(values.to_numpy(zero_copy_only=False).astype(f"<f{size}")).view(f"<u{size}")
    return _with_nulls(values, [f'"{number:0{2 * size}x}"' for number in bits.tolist()])


def _list_texts(values: pa.Array) -> list[str]:
    texts = iter(_texts(values.flatten()))
    lengths = pc.list_value_length(values).fill_null(0).to_pylist()
    return _with_nulls(values, ["[" + ",".join(next(texts) for _ in range(length)) + "]" for length in lengths])


def _with_nulls(values: pa.Array, texts: list[str]) -> list[str]:
    if values.null_count == 0:
        return texts
    return [text if valid else "null" for text, valid in zip(texts, values.is_valid().to_pylist(), strict=True)]

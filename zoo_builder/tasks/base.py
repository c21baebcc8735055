"""What a family of tasks has to say, so that RNNs can be trained, scored and stored on it.

A family's raw material is a table of `Items` (byte rows, shared by all runs). A run's batch is a list of
item numbers, and an optional per-run view (which byte of the item stands where: a rotation, say). The
`Encoding` turns the bytes into the network's inputs and targets. Because a batch is nothing but item
numbers, the data of a run are the same on every device and in every kernel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from rnnzoo.zoo_builder.errors import RnnzooError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """What N models see and must answer: inputs float32 [N, B, T, D], targets int64 [N, B, T]."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class TokenEncoding:
    """Items are token sequences that open with `begin`; inputs are one-hot, the target is the next token.

    An item of F bytes gives T = F - 1 steps of D = vocabulary inputs.
    """

    vocabulary: int
    begin: int

    @property
    def input_size(self) -> int:
        return self.vocabulary

    def steps(self, item_bytes: int) -> int:
        """T, steps of an item of this many bytes."""
        return item_bytes - 1

    def inputs(self, items: Tensor) -> Tensor:
        """uint8 [..., F] -> float32 [..., T, D]."""
        return one_hot(items[..., :-1].long(), self.vocabulary).float()

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        """uint8 [..., F] -> int64 [..., T]."""
        return items[..., 1:].long()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, for `encoding_of`."""
        return {"kind": "tokens", **asdict(self)}


@dataclass(frozen=True)
class TileEncoding:
    """Items are pixels, read `tile` at a time after one all-zero BEGIN step; the target is the item's label.

    A pixel p becomes p * scale + shift. An item of F bytes gives T = 1 + F / tile steps of D = tile inputs,
    each with the label as its target.
    """

    tile: int
    scale: float
    shift: float

    @property
    def input_size(self) -> int:
        return self.tile

    def steps(self, item_bytes: int) -> int:
        """T, steps of an item of this many bytes."""
        return 1 + item_bytes // self.tile

    def inputs(self, items: Tensor) -> Tensor:
        """uint8 [..., F] -> float32 [..., T, D]."""
        tiles = items.float().mul_(self.scale).add_(self.shift).unflatten(-1, (-1, self.tile))
        return torch.cat([torch.zeros_like(tiles[..., :1, :]), tiles], dim=-2)

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        """Labels [...] of items [..., F] -> int64 [..., T]."""
        assert labels is not None, "tile encodings need labels"
        return labels.long().unsqueeze(-1).expand(*labels.shape, self.steps(items.shape[-1]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, for `encoding_of`."""
        return {"kind": "tiles", **asdict(self)}


Encoding = TokenEncoding | TileEncoding
MOST_PIXELS = 65_536
ENCODINGS: dict[str, type[Encoding]] = {"tokens": TokenEncoding, "tiles": TileEncoding}


def encoding_of(values: Mapping[str, Any]) -> Encoding:
    """The encoding from what `to_dict` gave. Raises RnnzooError for anything else."""
    try:
        encoding = ENCODINGS[values["kind"]](**{name: value for name, value in values.items() if name != "kind"})
    except (KeyError, TypeError) as error:
        raise RnnzooError(f"encoding: found {dict(values)!r:.200}, expected one of {list(ENCODINGS)}") from error
    if isinstance(encoding, TokenEncoding):
        fits = all(type(n) is int for n in (encoding.vocabulary, encoding.begin))
        fits = fits and 0 <= encoding.begin < encoding.vocabulary <= 256
    else:
        fits = type(encoding.tile) is int and 0 < encoding.tile <= MOST_PIXELS
        fits = fits and all(type(x) is float and math.isfinite(x) for x in (encoding.scale, encoding.shift))
    if not fits:
        raise RnnzooError(f"encoding: found {encoding}, expected numbers within their bounds")
    return encoding


def check_items(
    encoding: Encoding, outputs: int, inputs: Bytes | None = None, labels: Bytes | None = None
) -> None:
    """Raise RnnzooError for items uint8 [..., F], or labels uint8 [...], that are not of a network like this."""
    if labels is not None and labels.size and (found := labels.max()) >= outputs:
        raise RnnzooError(f"labels: found {found}, expected 0 to {outputs - 1}")
    if inputs is None or not inputs.size:
        return
    if isinstance(encoding, TileEncoding):
        if inputs.shape[-1] % encoding.tile:
            raise RnnzooError(f"inputs: found {inputs.shape[-1]} bytes, expected whole tiles of {encoding.tile}")
    elif (found := inputs.max()) >= encoding.vocabulary:
        raise RnnzooError(f"inputs: found token {found}, expected 0 to {encoding.vocabulary - 1}")


@dataclass(frozen=True)
class Data:
    """Everything that turns item numbers of N runs into batches.

    items: uint8 [I, F], shared. labels: uint8 [I], or None where targets come from the item itself.
    views: int16 [N, F'], or None: byte j of run n's view of an item is items[i, views[n, j]], and 0 where
    views[n, j] is -1.
    """

    encoding: Encoding
    items: Tensor
    labels: Tensor | None = None
    views: Tensor | None = None

    @property
    def steps(self) -> int:
        """T, steps of a sequence."""
        width = self.items.shape[1] if self.views is None else self.views.shape[1]
        return self.encoding.steps(width)

    def raw(self, item_ids: Tensor) -> Tensor:
        """Item numbers [N, ...] to the runs' views of the items, uint8 [N, ..., F']."""
        if self.views is None:
            return self.items[item_ids.long()]
        views = self.views.long().view(len(self.views), *[1] * (item_ids.dim() - 1), -1)
        seen = torch.take_along_dim(self.items[item_ids.long()], views.clamp_min(0), dim=-1)
        return seen.masked_fill_(views < 0, 0)

    def batch(self, item_ids: Tensor) -> Batch:
        """Item numbers [N, B] to inputs and targets."""
        raw = self.raw(item_ids)
        labels = None if self.labels is None else self.labels[item_ids.long()]
        return Batch(self.encoding.inputs(raw), self.encoding.targets(raw, labels))

    def of_runs(self, first: int, last: int) -> Data:
        """The data of runs first to last - 1."""
        return self if self.views is None else replace(self, views=self.views[first:last])

    def to(self, device: torch.device | str) -> Data:
        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(self, items=self.items.to(device), labels=move(self.labels), views=move(self.views))


class Task(Protocol):
    """What one RNN learned: a language, an angle. Hashable; equal tasks have equal ids."""

    @property
    def task_id(self) -> str: ...

    def columns(self) -> dict[str, Any]:
        """The task's values in the metadata, by column name."""
        ...


TaskT = TypeVar("TaskT", bound=Task)


class TaskFamily(ABC, Generic[TaskT]):
    """All tasks of one kind, with the items they are made of.

    name: as in `TASK_FAMILIES`. output_size: O. encoding: how items become inputs and targets.
    items: uint8 [I, F], the raw material of every task. labels: uint8 [I], where an item has a label.
    source: where the items come from, for the metadata ("generated", "mnist", "digits").
    generates: whether accuracy is that of strings which the RNN writes itself (else: of its answers at the
    last step). schema: the family's metadata columns, those of `Task.columns` and of `score`.
    """

    name: ClassVar[str]
    output_size: ClassVar[int]
    encoding: ClassVar[Encoding]
    generates: ClassVar[bool]
    schema: ClassVar[pa.Schema]
    source: str
    items: Bytes
    labels: Bytes | None = None

    @abstractmethod
    def tasks(self, runs: int, seed: int) -> list[TaskT]:
        """The task of each run; run r's task does not depend on how many runs there are."""

    def view(self, task: TaskT) -> NDArray[np.int16] | None:
        """int16 [F']: which byte of an item stands at each place of the task's view of it; -1 for zero."""
        return None

    @abstractmethod
    def training_items(self, task: TaskT) -> NDArray[np.int32]:
        """The numbers of the items that training draws from, uniformly."""

    @abstractmethod
    def evaluation_items(self, task: TaskT) -> NDArray[np.int32]:
        """The numbers of the items that the evaluation loss is about."""

    def score(self, task: TaskT, strings: Bytes) -> dict[str, float]:
        """For a family that generates: scores of sampled strings uint8 [M, F], "accuracy" among them."""
        raise NotImplementedError(f"{self.name} writes no strings")

    @abstractmethod
    def out_of_distribution(self, tasks: Sequence[TaskT]) -> list[TaskT]:
        """The tasks of the `ood` split: about 15 % of `tasks`, further out than all others."""

    @abstractmethod
    def paper_rank(self, task: TaskT) -> tuple[Any, ...]:
        """Sorts tasks by the paper's rule: the 15 % that come last are its out-of-distribution tasks."""

"""How the bytes of an item become a network's inputs and targets. A zoo's manifest stores its encoding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes
from rnnzoo.zoo_builder.tasks.input_ranges import InputRange, Interval, Simplex

if TYPE_CHECKING:
    from torch import Tensor

MOST_PIXELS = 65_536


@dataclass(frozen=True)
class CompiledForm:
    """An encoding as compiled kernels know it.

    Attributes:
        tokens: Whether bytes are tokens: the first T bytes of an item are one-hot inputs, its last T bytes are the
            targets. Otherwise a step of zeros comes first; each later step reads as many bytes p as there are
            inputs, as p * scale + shift; and the targets are the labels.
        scale: Factor of a byte.
        shift: What is added to a scaled byte.
    """

    tokens: bool
    scale: float = 1.0
    shift: float = 0.0


class Encoding(ABC):
    """What turns stored bytes into inputs and targets.

    Attributes:
        kind: Its name in a manifest.
        needs_labels: Whether targets are labels, and not the items' own bytes.
        every_answer: Whether a sequence is answered right if all answers are, and not by the last alone.
    """

    kind: ClassVar[str]
    needs_labels: ClassVar[bool]
    every_answer: ClassVar[bool] = False

    @property
    @abstractmethod
    def input_size(self) -> int:
        """D, inputs a step."""

    @property
    def opening(self) -> int | None:
        """The byte that opens every sequence which an RNN writes; None where RNNs write nothing."""
        return None

    @property
    @abstractmethod
    def input_range(self) -> InputRange:
        """Which inputs make sense: real ones, and all between them."""

    @abstractmethod
    def steps(self, item_bytes: int) -> int:
        """T, steps of an item of this many bytes."""

    @abstractmethod
    def inputs(self, items: Tensor) -> Tensor:
        """Items uint8 [..., F] -> inputs float32 [..., T, D]."""

    @abstractmethod
    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        """What an RNN has to answer.

        Args:
            items: uint8 [..., F].
            labels: [...], where items have some.

        Returns:
            Targets, int64 [..., T].

        Raises:
            RnnzooError: Labels are needed, and there are none.
        """

    def judge(self, right: Tensor) -> Tensor:
        """Which sequences are answered right, bool [...], from which answers are, bool [..., T]."""
        return right.all(dim=-1) if self.every_answer else right[..., -1]

    @abstractmethod
    def check_items(self, items: Bytes) -> None:
        """Check that this encoding can read items uint8 [..., F].

        Raises:
            RnnzooError: It cannot.
        """

    @abstractmethod
    def check_bounds(self) -> None:
        """Check an encoding that was read from a file.

        Raises:
            RnnzooError: Its numbers make no sense.
        """

    def compiled_form(self) -> CompiledForm | None:
        """The encoding as compiled kernels know it; None where they do not, and plain torch has to do."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, for `encoding_of`."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class TokenEncoding(Encoding):
    """Items are token sequences that open with `begin`; inputs are one-hot, the target is the next token.

    An item of F bytes gives T = F - 1 steps of D = vocabulary inputs.

    Attributes:
        vocabulary: How many tokens there are, at most 256.
        begin: The token that opens every sequence.
    """

    vocabulary: int
    begin: int

    kind = "tokens"
    needs_labels = False

    @property
    def input_size(self) -> int:
        return self.vocabulary

    @property
    def opening(self) -> int:
        return self.begin

    @property
    def input_range(self) -> InputRange:
        return Simplex()

    def steps(self, item_bytes: int) -> int:
        return item_bytes - 1

    def inputs(self, items: Tensor) -> Tensor:
        from torch.nn.functional import one_hot

        return one_hot(items[..., :-1].long(), self.vocabulary).float()

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        return items[..., 1:].long()

    def check_items(self, items: Bytes) -> None:
        if items.size and (found := items.max()) >= self.vocabulary:
            raise RnnzooError(f"inputs: found token {found}, expected 0 to {self.vocabulary - 1}")

    def check_bounds(self) -> None:
        whole = all(type(n) is int for n in (self.vocabulary, self.begin))
        if not whole or not 0 <= self.begin < self.vocabulary <= 256:
            raise RnnzooError(f"encoding: found {self}, expected 0 <= begin < vocabulary <= 256")

    def compiled_form(self) -> CompiledForm:
        return CompiledForm(tokens=True)


@dataclass(frozen=True)
class TileEncoding(Encoding):
    """Items are pixels, read `tile` at a time after one all-zero BEGIN step; the target is the item's label.

    An item of F bytes gives T = 1 + F / tile steps of D = tile inputs, each with the label as its target.

    Attributes:
        tile: Pixels read at each step.
        scale: A pixel p becomes p * scale + shift.
        shift: See `scale`.
    """

    tile: int
    scale: float
    shift: float

    kind = "tiles"
    needs_labels = True

    @property
    def input_size(self) -> int:
        return self.tile

    @property
    def input_range(self) -> InputRange:
        return Interval(self.shift, 255 * self.scale)

    def steps(self, item_bytes: int) -> int:
        return 1 + item_bytes // self.tile

    def inputs(self, items: Tensor) -> Tensor:
        from torch.nn.functional import pad

        tiles = items.float().mul_(self.scale).add_(self.shift).unflatten(-1, (-1, self.tile))
        return pad(tiles, (0, 0, 1, 0))

    def targets(self, items: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise RnnzooError("labels: found none, expected one an item: they are what the RNN answers")
        return labels.long().unsqueeze(-1).expand(*labels.shape, self.steps(items.shape[-1]))

    def check_items(self, items: Bytes) -> None:
        if items.size and items.shape[-1] % self.tile:
            raise RnnzooError(f"inputs: found {items.shape[-1]} bytes, expected whole tiles of {self.tile}")

    def check_bounds(self) -> None:
        fits = type(self.tile) is int and 0 < self.tile <= MOST_PIXELS
        if not fits or not all(type(x) is float and math.isfinite(x) for x in (self.scale, self.shift)):
            raise RnnzooError(f"encoding: found {self}, expected a tile of 1 to {MOST_PIXELS} and finite numbers")

    def compiled_form(self) -> CompiledForm:
        return CompiledForm(tokens=False, scale=self.scale, shift=self.shift)


ENCODINGS: dict[str, type[Encoding]] = {made.kind: made for made in (TokenEncoding, TileEncoding)}


def encoding_of(values: Mapping[str, Any]) -> Encoding:
    """The encoding that a dict describes.

    Args:
        values: What `Encoding.to_dict` gave.

    Returns:
        The encoding, checked.

    Raises:
        RnnzooError: The kind is unknown, or the values are not those of such an encoding.
    """
    try:
        made = _class_of(values["kind"])
        encoding = made(**{name: value for name, value in values.items() if name != "kind"})
    except (KeyError, TypeError) as error:
        raise RnnzooError(
            f"encoding: found {dict(values)!r:.200}, expected one of {', '.join(ENCODINGS)}, or that of a family "
            "that is installed"
        ) from error
    encoding.check_bounds()
    return encoding


def _class_of(kind: str) -> type[Encoding]:
    """Raises KeyError for a kind that is neither one of ENCODINGS nor that of an installed family."""
    if kind in ENCODINGS:
        return ENCODINGS[kind]
    from rnnzoo.zoo_builder.tasks import installed_families

    return {family.encoding.kind: type(family.encoding) for family in installed_families()}[kind]


def check_items(
    encoding: Encoding, outputs: int, inputs: Bytes | None = None, labels: Bytes | None = None
) -> None:
    """Check that a network can read these items and answer these labels.

    Args:
        encoding: That of the network.
        outputs: O.
        inputs: Items uint8 [..., F].
        labels: uint8 [...].

    Raises:
        RnnzooError: The encoding cannot read the items, or a label is not below O.
    """
    if labels is not None and labels.size and (found := labels.max()) >= outputs:
        raise RnnzooError(f"labels: found {found}, expected 0 to {outputs - 1}")
    if inputs is not None:
        encoding.check_items(inputs)

"""Encoders: from the weights of N RNNs to N vectors. One file each; a new one is a line in `ENCODERS`."""

from collections.abc import Callable

from loaders.encoders.base import (
    EMBEDDING_SIZE,
    Encoder,
    LabelledItems,
    Population,
    RegisteredEncoder,
    check_encoder,
    declared,
    is_learned,
    load_encoder,
)
from loaders.encoders.layer_statistics import LayerStatistics

__all__ = [
    "EMBEDDING_SIZE",
    "ENCODERS",
    "Encoder",
    "LabelledItems",
    "Population",
    "RegisteredEncoder",
    "check_encoder",
    "declared",
    "is_learned",
    "load_encoder",
]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "layer_statistics": LayerStatistics,
}

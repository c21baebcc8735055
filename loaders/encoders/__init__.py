"""Encoders: from the weights of N RNNs to N vectors. One file each; a new one is a line in `ENCODERS`."""

from collections.abc import Callable

from loaders.encoders.base import Encoder, check_encoder, load_encoder
from loaders.encoders.layer_statistics import LayerStatistics
from zoo_builder.rnn import RNNSpec

__all__ = ["ENCODERS", "Encoder", "LayerStatistics", "check_encoder", "load_encoder"]

ENCODERS: dict[str, Callable[[RNNSpec], Encoder]] = {
    "layer_statistics": LayerStatistics,
}

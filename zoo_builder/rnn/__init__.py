"""Recurrent networks, N at once, and what leaves their function unchanged."""

from rnnzoo.zoo_builder.rnn.cells import CELLS, Cell, State
from rnnzoo.zoo_builder.rnn.functional import (
    Weights,
    flatten_weights,
    init_parameters,
    rnn_forward,
    unflatten_weights,
)
from rnnzoo.zoo_builder.rnn.module import RNNModule
from rnnzoo.zoo_builder.rnn.spec import Axis, Parameter, RNNSpec

__all__ = [
    "CELLS",
    "Axis",
    "Cell",
    "Parameter",
    "RNNModule",
    "RNNSpec",
    "State",
    "Weights",
    "flatten_weights",
    "init_parameters",
    "rnn_forward",
    "unflatten_weights",
]

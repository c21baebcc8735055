"""Recurrent networks, N at once, and what leaves their function unchanged.

`from rnnzoo import rnn` gives all names here.
"""

from rnnzoo.zoo_builder.rnn.cells import CELLS, Cell, State
from rnnzoo.zoo_builder.rnn.functional import (
    Weights,
    flatten_weights,
    init_parameters,
    rnn_forward,
    unflatten_weights,
)
from rnnzoo.zoo_builder.rnn.mode_connectivity import align, interpolate
from rnnzoo.zoo_builder.rnn.module import RNNModule
from rnnzoo.zoo_builder.rnn.spec import Axis, Parameter, RNNSpec
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs, permute_units, split_biases

__all__ = [
    "CELLS",
    "Axis",
    "Cell",
    "Parameter",
    "RNNModule",
    "RNNSpec",
    "State",
    "Weights",
    "align",
    "flatten_weights",
    "flip_signs",
    "init_parameters",
    "interpolate",
    "permute_units",
    "rnn_forward",
    "split_biases",
    "unflatten_weights",
]

"""A recurrent layer of N models with constant weights of their own, over many steps or one: compiled, for CPUs.

Batched matrix products of torch take each model's small matrices from memory at every step. Here a model takes
all its steps at once with its weights in the cache, and a step's sums stay in registers until they are a state.
Everything is float32, time first: [T, N, B, ...]. The C++ code checks nothing, so this module does.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, cell_definition, load_library
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, Weights

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")
LANES = 16
"""Floats of the widest vector there is."""
THREAD_WORK = 20_000_000
"""Multiplications that are worth a thread's start, beside torch's own threads, which wait by spinning."""
_Pointer = ctypes.c_void_p
_Count = ctypes.c_int64


class _Layer(ctypes.Structure):
    """`struct Layer` of frozen_layers.cpp."""

    _fields_ = tuple(
        [(name, _Pointer) for name in ("input", "recurrent", "bias", "input_back", "recurrent_back")]
        + [(name, _Count) for name in ("models", "units", "width", "padded")]
    )


class _Trace(ctypes.Structure):
    """`struct Trace` of frozen_layers.cpp."""

    _fields_ = (
        *[(name, _Pointer) for name in ("sums", "hidden", "memory")],
        ("rows", _Count),
    )


class Trace(NamedTuple):
    """What the steps of a layer leave behind, which is all that the way back needs; time first.

    sums [T, .., S H]: what became of the pre-activations, see cell.h; of an LSTM the gates [T, .., 4 H].
    hidden [T, .., H]: h. memory [T, .., H]: c of an LSTM; empty in cells without a second state variable.
    """

    sums: Tensor
    hidden: Tensor
    memory: Tensor

    @property
    def has_memory(self) -> bool:
        return self.memory.dim() > 1


@dataclass(frozen=True)
class CompiledCell:
    """The compiled functions of a cell, and what the arrays depend on in it: see cell.h.

    sums: S. input_order: numbers of the gates, in the order in which those of W_ih and b_ih stand among the sums.
    """

    library: ctypes.CDLL
    sums: int
    input_order: tuple[int, ...]
    has_memory: bool


class CompiledLayer:
    """One layer's W_ih [N, G H, D], W_hh [N, G H, H], b_ih and b_hh [N, G H], laid out for both ways."""

    def __init__(
        self, cell: CompiledCell, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
    ) -> None:
        self.models, rows, self.width = weight_ih.shape
        self.units = weight_hh.shape[-1]
        if self.units % LANES:
            raise RnnzooError(f"hidden units: found {self.units}, expected a multiple of {LANES}")
        self.cell = cell
        gates = len(cell.input_order)
        weight_ih, bias_ih = (
            tensor.unflatten(1, (gates, self.units))[:, cell.input_order].flatten(1, 2)
            for tensor in (weight_ih, bias_ih)
        )
        of_one_bias = cell.sums * self.units - rows
        bias = pad(bias_ih, (0, of_one_bias)) + pad(bias_hh, (of_one_bias, 0))
        back = _padded(weight_ih)
        self._kept = [  # as long as the struct points to it
            tensor.contiguous() for tensor in (weight_ih.mT, weight_hh.mT, bias, back, weight_hh)
        ]
        sizes = (self.models, self.units, self.width, back.shape[-1])
        self._layer = _Layer(*map(Tensor.data_ptr, self._kept), *sizes)

    def room(self, steps: int, sequences: int) -> Trace:
        """For what T steps on B sequences leave behind."""
        shape = (steps, self.models, sequences)
        return Trace(
            torch.empty(*shape, self.cell.sums * self.units),
            torch.empty(*shape, self.units),
            torch.empty(*shape, self.units) if self.cell.has_memory else torch.empty(0),
        )

    def forward(self, inputs: Tensor, trace: Trace, first: int, end: int) -> Tensor:
        """Runs steps first to end - 1, writes them to the trace, which holds step first - 1, and returns their h.

        inputs [end - first, N or 1, B, D]; with 1, all models share them.
        """
        rows = self._rows_of(trace, first, end)
        models = 1 if inputs.shape[1] == 1 else self.models
        inputs = _dense("inputs", inputs, (end - first, models, rows, self.width))
        self.cell.library.rnnzoo_layer_forward(
            *(self._layer, _struct_of(trace), inputs.data_ptr(), models == 1, first, end),
            self._threads(rows * (end - first)),
        )
        return trace.hidden[first:end]

    def back(self, trace: Trace) -> CompiledLayerBack:
        """The way back through the steps of a trace."""
        return CompiledLayerBack(self, trace)

    def backward(
        self, trace: Trace, d_hidden: Tensor, carried: Tensor, above: Tensor, first: int, d_memory: Tensor | None
    ) -> Tensor:
        """See `CompiledLayerBack`. d_hidden, carried [N, B, H]: the gradients that later steps hand back; in place
        they become what the steps before these need.
        """
        steps = len(above)
        rows = self._rows_of(trace, first, first + steps)
        above = _dense("above", above, (steps, self.models, rows, self.units))
        if d_memory is not None:
            d_memory = _dense("d_memory", d_memory, above.shape)
        d_sums = above.new_empty(self.models, rows, self.cell.sums * self.units)
        d_inputs = above.new_empty(steps, self.models, rows, self.width)
        self.cell.library.rnnzoo_layer_backward(
            *(self._layer, _struct_of(trace), above.data_ptr(), None if d_memory is None else d_memory.data_ptr()),
            *map(Tensor.data_ptr, (d_hidden, carried, d_sums, d_inputs)),
            *(first, first + steps, self._threads(rows * steps)),
        )
        return d_inputs

    def _rows_of(self, trace: Trace, first: int, end: int) -> int:
        """B of a trace that has room for these steps."""
        sums, hidden, memory = trace
        steps, _, rows, _ = sums.shape
        _dense("sums", sums, (steps, self.models, rows, self.cell.sums * self.units))
        for state in (hidden, memory) if self.cell.has_memory else (hidden,):
            _dense("trace", state, (steps, self.models, rows, self.units))
        if not 0 <= first <= end <= steps:
            raise RnnzooError(f"steps: found {first} to {end}, expected some of 0 to {steps}")
        return rows

    def _threads(self, rows: int) -> int:
        gates = len(self.cell.input_order)
        return _threads(self.models * rows * gates * self.units * (self.units + self.width))


class CompiledLayerBack:
    """The way back through a layer's steps, from the last to the first, many at a time or one."""

    def __init__(self, layer: CompiledLayer, trace: Trace) -> None:
        self._layer, self._trace = layer, trace
        self._d_hidden, self._carried = torch.zeros(2, *trace.hidden.shape[1:]).unbind(0)

    def backward(self, above: Tensor, first: int, d_memory: Tensor | None = None) -> Tensor:
        """The t steps from `first` on: gradients of h, and of the memory, by all but later steps [t, N, B, H] ->
        that of the inputs [t, N, B, D].
        """
        return self._layer.backward(self._trace, self._d_hidden, self._carried, above, first, d_memory)


class CompiledMap:
    """A map [N, depth, columns] of N models' own, and a bias [N, columns] or none."""

    def __init__(self, cell: CompiledCell, matrix: Tensor, bias: Tensor | None = None) -> None:
        self.cell = cell
        self.matrix = _padded(matrix).contiguous()
        self.bias = None if bias is None else _padded(bias).contiguous()
        self.columns = matrix.shape[-1]

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, N, B, depth] -> [T, N, B, columns]."""
        rows = _dense("rows", rows, (*rows.shape[:1], len(self.matrix), *rows.shape[2:3], self.matrix.shape[1]))
        mapped = rows.new_empty(*rows.shape[:-1], self.columns)
        bias = None if self.bias is None else self.bias.data_ptr()
        self.cell.library.rnnzoo_products(
            *(mapped.data_ptr(), bias, rows.data_ptr(), self.matrix.data_ptr(), *rows.shape),
            *(self.columns, self.matrix.shape[-1], _threads(rows.numel() * self.columns)),
        )
        return mapped


def compiled_cell(name: str, weights: Tensor) -> CompiledCell | None:
    """The cell compiled, where layers with such weights can run here: float32, on a CPU with a compiler."""
    return _load(name) if weights.dtype == torch.float32 and weights.device.type == "cpu" else None


def in_whole_vectors(spec: RNNSpec, weights: Weights) -> Weights:
    """N models with as many more hidden units as a multiple of LANES needs. They are zero for ever: all their
    weights are.
    """
    missing = -spec.hidden_size % LANES
    if not missing:
        return weights
    padded = dict(weights)
    for parameter in spec.parameters:
        for dim, axis in enumerate(parameter.axes, start=1):
            if axis.kind == "hidden":
                blocks = padded[parameter.name].unflatten(dim, (axis.gates, spec.hidden_size))
                behind = blocks.dim() - 2 - dim
                padded[parameter.name] = pad(blocks, (0, 0) * behind + (0, missing)).flatten(dim, dim + 1)
    return padded


def _dense(name: str, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor in one piece, if it is float32 of this shape on the CPU."""
    if tensor.shape != tuple(shape) or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise RnnzooError(
            f"{name}: found {tensor.dtype} {list(tensor.shape)} on {tensor.device}, "
            f"expected {torch.float32} {list(shape)} on cpu"
        )
    return tensor.contiguous()


def _padded(tensor: Tensor) -> Tensor:
    """With zeros up to a multiple of LANES on the last axis."""
    missing = -tensor.shape[-1] % LANES
    return pad(tensor, (0, missing)) if missing else tensor


def _threads(multiplications: int) -> int:
    return min(torch.get_num_threads(), 1 + multiplications // THREAD_WORK)


def _struct_of(trace: Trace) -> _Trace:
    return _Trace(*map(Tensor.data_ptr, trace), trace.sums.shape[2])


@cache
def _load(name: str) -> CompiledCell | None:
    try:
        library = load_library(SOURCE, cell_definition(name))
    except KernelUnavailable as error:
        log.debug("probing with torch's batched products: %s", error)
        return None
    layer, trace = ctypes.POINTER(_Layer), ctypes.POINTER(_Trace)
    library.rnnzoo_layer_forward.argtypes = [layer, trace, _Pointer, ctypes.c_bool, *[_Count] * 3]
    library.rnnzoo_layer_backward.argtypes = [layer, trace, *[_Pointer] * 6, *[_Count] * 3]
    library.rnnzoo_products.argtypes = [*[_Pointer] * 4, *[_Count] * 7]
    for function in (library.rnnzoo_layer_forward, library.rnnzoo_layer_backward, library.rnnzoo_products):
        function.restype = None
    library.rnnzoo_has_memory.restype = ctypes.c_bool
    gates = sorted(range(len(CELLS[name].gates)), key=library.rnnzoo_input_place)
    return CompiledCell(library, library.rnnzoo_sums(), tuple(gates), library.rnnzoo_has_memory())

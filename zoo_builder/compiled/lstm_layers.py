"""One LSTM layer of N models, each with constant weights of its own, over many steps or one: compiled, for CPUs.

Batched matrix products of torch take each model's small matrices from memory at every step. Here a model takes
all its steps at once with its weights in the cache, and a step's sums stay in registers until they are gates.
Everything is float32, time first: [T, N, B, ...]. The C++ code checks nothing, so this module does.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, load_library
from rnnzoo.zoo_builder.errors import RnnzooError

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")
LANES = 16
"""Floats of the widest vector there is."""
THREAD_WORK = 20_000_000
"""Multiplications that are worth a thread's start, beside torch's own threads, which wait by spinning."""
_Pointer = ctypes.c_void_p
_Count = ctypes.c_int64


class _Layer(ctypes.Structure):
    """`struct Layer` of lstm_layers.cpp."""

    _fields_ = tuple(
        [(name, _Pointer) for name in ("input", "recurrent", "bias", "input_back", "recurrent_back")]
        + [(name, _Count) for name in ("models", "units", "width", "padded")]
    )


class _Trace(ctypes.Structure):
    """`struct Trace` of lstm_layers.cpp."""

    _fields_ = (
        *[(name, _Pointer) for name in ("gates", "cells", "squashed", "hidden")],
        ("rows", _Count),
    )


Trace = Sequence[Tensor]
"""gates [T, N, B, 4H]; c, tanh(c) and h [T, N, B, H]: what the steps of a layer leave behind."""


class CompiledLayer:
    """W [N, 4H, D], U [N, 4H, H] and b [N, 4H], laid out for both ways."""

    def __init__(self, input_weights: Tensor, recurrent_weights: Tensor, bias: Tensor) -> None:
        self.models, _, self.width = input_weights.shape
        self.units = recurrent_weights.shape[-1]
        back = _padded(input_weights)
        self._kept = [  # as long as the struct points to it
            tensor.contiguous()
            for tensor in (input_weights.mT, recurrent_weights.mT, bias, back, recurrent_weights)
        ]
        sizes = (self.models, self.units, self.width, back.shape[-1])
        self._layer = _Layer(*map(Tensor.data_ptr, self._kept), *sizes)

    def forward(self, inputs: Tensor, trace: Trace, first: int, end: int) -> None:
        """Steps first to end - 1 from inputs [end - first, N or 1, B, D], written to the trace, which holds step
        first - 1; with 1, all models share them.
        """
        rows = self._rows_of(trace, first, end)
        models = 1 if inputs.shape[1] == 1 else self.models
        inputs = _dense("inputs", inputs, (end - first, models, rows, self.width))
        _library().rnnzoo_layer_forward(
            *(self._layer, _trace(trace), inputs.data_ptr(), models == 1, first, end),
            self._threads(rows * (end - first)),
        )

    def backward(
        self, trace: Trace, d_hidden: Tensor, d_cell: Tensor, above: Tensor, d_squashed: Tensor | None, first: int
    ) -> Tensor:
        """The gradient of the inputs [t, N, B, D] of the t steps from `first` on.

        above, d_squashed [t, N, B, H]: gradients of h and tanh(c). d_hidden, d_cell [N, B, H]: those of h and c
        that come by way of later steps; in place they become what the steps before these need.
        """
        steps = len(above)
        rows = self._rows_of(trace, first, first + steps)
        above = _dense("above", above, (steps, self.models, rows, self.units))
        if d_squashed is not None:
            d_squashed = _dense("d_squashed", d_squashed, above.shape)
        _dense("d_hidden", d_hidden, above.shape[1:])
        _dense("d_cell", d_cell, above.shape[1:])
        scratch = above.new_empty(self.models, rows, 4 * self.units)
        d_inputs = above.new_empty(steps, self.models, rows, self.width)
        _library().rnnzoo_layer_backward(
            *(self._layer, _trace(trace), above.data_ptr(), None if d_squashed is None else d_squashed.data_ptr()),
            *map(Tensor.data_ptr, (d_hidden, d_cell, scratch, d_inputs)),
            *(first, first + steps, self._threads(rows * steps)),
        )
        return d_inputs

    def _rows_of(self, trace: Trace, first: int, end: int) -> int:
        """B of a trace that has room for these steps."""
        gates, *states = trace
        steps, _, rows, _ = gates.shape
        _dense("gates", gates, (steps, self.models, rows, 4 * self.units))
        for state in states:
            _dense("trace", state, (steps, self.models, rows, self.units))
        if not 0 <= first <= end <= steps:
            raise RnnzooError(f"steps: found {first} to {end}, expected some of 0 to {steps}")
        return rows

    def _threads(self, rows: int) -> int:
        return _threads(self.models * rows * 4 * self.units * (self.units + self.width))


class CompiledMap:
    """A map [N, depth, columns] of N models' own, and a bias [N, columns] or none."""

    def __init__(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        self.matrix = _padded(matrix).contiguous()
        self.bias = None if bias is None else _padded(bias).contiguous()
        self.columns = matrix.shape[-1]

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, N, B, depth] -> [T, N, B, columns]."""
        rows = _dense("rows", rows, (*rows.shape[:1], len(self.matrix), *rows.shape[2:3], self.matrix.shape[1]))
        mapped = rows.new_empty(*rows.shape[:-1], self.columns)
        bias = None if self.bias is None else self.bias.data_ptr()
        _library().rnnzoo_products(
            *(mapped.data_ptr(), bias, rows.data_ptr(), self.matrix.data_ptr(), *rows.shape),
            *(self.columns, self.matrix.shape[-1], _threads(rows.numel() * self.columns)),
        )
        return mapped


def can_compile(weights: Tensor, units: int) -> bool:
    """Whether layers of so many hidden units, with such weights, run here: float32, on a CPU with a compiler."""
    plain = weights.dtype == torch.float32 and weights.device.type == "cpu"
    return plain and units % LANES == 0 and _is_available()


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


def _trace(trace: Trace) -> _Trace:
    return _Trace(*map(Tensor.data_ptr, trace), trace[0].shape[2])


@cache
def _is_available() -> bool:
    try:
        _library()
    except KernelUnavailable as error:
        log.debug("probing with torch's batched products: %s", error)
        return False
    return True


@cache
def _library() -> ctypes.CDLL:
    library = load_library(SOURCE, {})
    layer, trace = ctypes.POINTER(_Layer), ctypes.POINTER(_Trace)
    library.rnnzoo_layer_forward.argtypes = [layer, trace, _Pointer, ctypes.c_bool, *[_Count] * 3]
    library.rnnzoo_layer_backward.argtypes = [layer, trace, *[_Pointer] * 6, *[_Count] * 3]
    library.rnnzoo_products.argtypes = [*[_Pointer] * 4, *[_Count] * 7]
    for function in (library.rnnzoo_layer_forward, library.rnnzoo_layer_backward, library.rnnzoo_products):
        function.restype = None
    return library

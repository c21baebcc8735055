"""What an LSTM step does beside its matrix products, forward and backward, in place.

Of a layer of H units on any rows: gates [.., 4H] in PyTorch's order i, f, g, o; c, tanh(c) and h [.., H]. On a CPU
with a compiler each is one pass over memory (`lstm_steps.cpp`), elsewhere a dozen operations of torch.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, load_library

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")


def activate(gates: Tensor, previous: Tensor | None, cell: Tensor, squashed: Tensor, hidden: Tensor) -> None:
    """Gates from their pre-activations, in place; c, tanh(c) and h written. previous: c before, or none for 0.

    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')
    """
    library = _library_for(gates, previous, cell, squashed, hidden)
    if library is not None:
        library.rnnzoo_activate(*map(_address, (gates, previous, cell, squashed, hidden)), *_sizes(cell))
        return
    width = cell.shape[-1]
    gates[..., : 2 * width].sigmoid_()
    i, f, g, o = gates.split(width, dim=-1)
    g.tanh_()
    o.sigmoid_()
    torch.mul(i, g, out=cell)
    if previous is not None:
        cell.addcmul_(f, previous)
    torch.tanh(cell, out=squashed)
    torch.mul(o, squashed, out=hidden)


def deactivate(
    gates: Tensor, previous: Tensor | None, squashed: Tensor, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor
) -> None:
    """The way back through `activate`: gradients of the pre-activations written to d_gates [.., 4H].

    d_hidden: the gradient of h. d_cell: that of c by way of later steps; becomes that of the c before, in place.
    With dc = d_cell + d_hidden o (1 - tanh(c)^2) the pre-activations' are dc g i(1-i), dc c f(1-f) with the c
    before, dc i (1-g^2), and d_hidden tanh(c) o(1-o).
    """
    library = _library_for(gates, previous, squashed, d_hidden, d_cell, d_gates)
    if library is not None:
        arrays = map(_address, (gates, previous, squashed, d_hidden, d_cell, d_gates))
        library.rnnzoo_deactivate(*arrays, *_sizes(squashed))
        return
    width = squashed.shape[-1]
    i, f, g, o = gates.split(width, dim=-1)
    to_i, to_f, to_g, to_o = torch.addcmul(gates, gates, gates, value=-1, out=d_gates).split(width, dim=-1)
    d_cell.addcmul_(d_hidden, torch.addcmul(o, o, squashed * squashed, value=-1))
    to_i.mul_(g).mul_(d_cell)
    to_f.mul_(d_cell).mul_(0 if previous is None else previous)
    torch.mul(g, g, out=to_g)
    to_g.neg_().add_(1).mul_(i).mul_(d_cell)
    to_o.mul_(squashed).mul_(d_hidden)
    d_cell.mul_(f)


def _library_for(*tensors: Tensor | None) -> ctypes.CDLL | None:
    """The compiled functions, where there are some and all these tensors are plain float32 arrays in memory."""
    for tensor in tensors:
        if tensor is not None and not (
            tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()
        ):
            return None
    return _library()


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = load_library(SOURCE, {})
    except KernelUnavailable as error:
        log.warning("probing with torch, some 1.2 times slower: %s", error)
        return None
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.rnnzoo_activate.argtypes = [*[pointer] * 5, count, count]
    library.rnnzoo_deactivate.argtypes = [*[pointer] * 6, count, count]
    library.rnnzoo_activate.restype = library.rnnzoo_deactivate.restype = None
    return library


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _sizes(cell: Tensor) -> tuple[int, int]:
    """Rows and units of [.., H]."""
    units = cell.shape[-1]
    return cell.numel() // units, units

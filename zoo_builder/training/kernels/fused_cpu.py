"""The fused CPU kernel: forward, backward and AdamW of one model at a time in the cache, threads over models.

The work is done by `fused.cpp`, compiled for each shape of RNN on first use. This module checks what it is
given, because the C++ code does not, and hands over pointers.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rnnzoo.zoo_builder.compiled.compiler import (
    KernelUnavailable,
    cell_definition,
    library_file,
    load_library,
)
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import CompiledForm, Encoding
from rnnzoo.zoo_builder.training.kernels.base import EXACT_ARITHMETIC, TrainState, check_batches
from rnnzoo.zoo_builder.training.kernels.self_test import check_bits, check_step, self_test_spec

SOURCE = Path(__file__).with_name("fused.cpp")
_Pointer = ctypes.c_void_p
_Count = ctypes.c_int64


class CompiledData(ctypes.Structure):
    """`struct Data` of fused.cpp."""

    _fields_ = (
        ("items", _Pointer),
        ("labels", _Pointer),
        ("views", _Pointer),
        ("item_bytes", _Count),
        ("view_bytes", _Count),
        ("steps", _Count),
        ("scale", ctypes.c_float),
        ("shift", ctypes.c_float),
        ("every_answer", ctypes.c_bool),
    )


class FusedCpuKernel:
    """Implements `Kernel` on CPU tensors.

    threads: how many models to work on at once; None takes every core this process may run on. Results do not
    depend on it. Raises KernelUnavailable at the first call for a shape that cannot be compiled, or where the
    compiler fails the self-test of the cell.
    """

    name = "fused-cpu"
    arithmetic = EXACT_ARITHMETIC

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise RnnzooError(f"threads: found {threads}, expected at least 1")
        self.threads = available_cores() if threads is None else threads

    @staticmethod
    def _library(spec: RNNSpec, tokens: bool) -> ctypes.CDLL:
        return _library(spec, tokens)

    def prepare(self, spec: RNNSpec, encoding: Encoding) -> None:
        """Compile (or find in the cache) what this shape needs. Raises KernelUnavailable."""
        self._library(spec, compiled_form_of(encoding).tokens)

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """See `Kernel.train_steps`."""
        models, train_steps, sequences = check_training(state, item_ids, learning_rates, weight_decays)
        spec = state.spec
        library = self._library(spec, compiled_form_of(data.encoding).tokens)
        losses = torch.empty(models, train_steps)
        status = library.rnnzoo_train(
            compiled_data(spec, data, item_ids),
            *map(_address, (state.weights, state.first_moment, state.second_moment)),
            *map(_address, (item_ids, learning_rates, weight_decays, losses)),
            *(models, train_steps, sequences, state.step, self.threads),
        )
        _check_status(status)
        state.step += train_steps
        return losses

    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernel.score_items`."""
        models, sequences = check_tensor("item_ids", item_ids, torch.int32, (None, None))
        check_tensor("weights", weights, torch.float32, (models, spec.num_parameters))
        library = self._library(spec, compiled_form_of(data.encoding).tokens)
        losses = torch.empty(models, sequences)
        correct = torch.empty(models, sequences, dtype=torch.bool)
        status = library.rnnzoo_score(
            compiled_data(spec, data, item_ids),
            *map(_address, (weights, item_ids, losses, correct)),
            *(models, sequences, self.threads),
        )
        _check_status(status)
        return losses, correct

    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        """See `Kernel.step_losses`."""
        models, sequences = check_tensor("item_ids", item_ids, torch.int32, (None, None))
        check_tensor("weights", weights, torch.float32, (models, spec.num_parameters))
        library = self._library(spec, compiled_form_of(data.encoding).tokens)
        losses = torch.empty(models, sequences, data.steps, dtype=torch.float64)
        status = library.rnnzoo_step_losses(
            compiled_data(spec, data, item_ids),
            *map(_address, (weights, item_ids, losses)),
            *(models, sequences, self.threads),
        )
        _check_status(status)
        return losses

    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        """See `Kernel.sample_strings`."""
        models, strings, steps = check_tensor("uniforms", uniforms, torch.float32, (None, None, None))
        check_tensor("weights", weights, torch.float32, (models, spec.num_parameters))
        if not spec.output_size <= spec.input_size <= 256:
            raise RnnzooError(
                f"spec: found {spec.output_size} outputs and {spec.input_size} inputs, "
                "expected every output to be a one-hot input, and at most 256"
            )
        if not 0 <= begin < spec.input_size:
            raise RnnzooError(f"begin: found {begin}, expected one of the {spec.input_size} inputs")
        library = self._library(spec, tokens=True)
        written = torch.empty(models, strings, steps + 1, dtype=torch.uint8)
        status = library.rnnzoo_sample(
            _address(weights),
            begin,
            *map(_address, (uniforms, written)),
            *(models, strings, steps, self.threads),
        )
        _check_status(status)
        return written


def available_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _library(spec: RNNSpec, tokens: bool) -> ctypes.CDLL:
    """The library for one shape, of a compiler and a cell that passed the self-test."""
    definitions_of(spec, tokens)  # first of all, so that a cell without a header is told so at once
    tested = self_test_spec(spec.cell)
    check_bits(tested, _UntestedKernel(threads=1), library_file(SOURCE, definitions_of(tested, tokens=False)))
    _check_step(spec.cell)
    return _untested_library(spec, tokens)


@cache
def _check_step(cell: str) -> None:
    check_step(cell, _UntestedKernel(threads=1))


@cache
def _untested_library(spec: RNNSpec, tokens: bool) -> ctypes.CDLL:
    """The library for one shape, with the types of its functions declared."""
    library = load_library(SOURCE, definitions_of(spec, tokens))
    threads = ctypes.c_int
    library.rnnzoo_train.argtypes = [ctypes.POINTER(CompiledData), *[_Pointer] * 7, *[_Count] * 4, threads]
    library.rnnzoo_score.argtypes = [ctypes.POINTER(CompiledData), *[_Pointer] * 4, *[_Count] * 2, threads]
    library.rnnzoo_step_losses.argtypes = [
        ctypes.POINTER(CompiledData),
        *[_Pointer] * 3,
        *[_Count] * 2,
        threads,
    ]
    library.rnnzoo_sample.argtypes = [_Pointer, ctypes.c_int, *[_Pointer] * 2, *[_Count] * 3, threads]
    return library


class _UntestedKernel(FusedCpuKernel):
    """What the self-test tests."""

    _library = staticmethod(_untested_library)


def definitions_of(spec: RNNSpec, tokens: bool) -> dict[str, str]:
    """What fused.cpp is compiled with, for RNNs that read tokens or not. Raises KernelUnavailable."""
    return {
        **cell_definition(spec.cell),
        "RNNZOO_INPUTS": str(spec.input_size),
        "RNNZOO_HIDDEN": str(spec.hidden_size),
        "RNNZOO_OUTPUTS": str(spec.output_size),
        "RNNZOO_LAYERS": str(spec.num_layers),
        "RNNZOO_TOKENS": str(tokens).lower(),
    }


def compiled_form_of(encoding: Encoding) -> CompiledForm:
    """How the C++ code is to read items."""
    form = encoding.compiled_form()
    if form is None:
        raise KernelUnavailable(f"encoding: found {encoding.kind!r}, which has no compiled form")
    return form


def check_training(
    state: TrainState, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
) -> tuple[int, int, int]:
    """N, S and B, if what is to be trained has the shapes of `Kernel.train_steps`."""
    models = len(state.weights)
    _, train_steps, sequences = check_tensor("item_ids", item_ids, torch.int32, (models, None, None))
    check_tensor("learning_rates", learning_rates, torch.float32, (models, train_steps))
    check_tensor("weight_decays", weight_decays, torch.float32, (models,))
    for name in ("weights", "first_moment", "second_moment"):
        check_tensor(name, getattr(state, name), torch.float32, (models, state.spec.num_parameters))
    check_batches(item_ids)
    return models, train_steps, sequences


def compiled_data(spec: RNNSpec, data: Data, item_ids: Tensor) -> CompiledData:
    """`data` for the C++ code, after making sure that no index leaves its table."""
    items, labels, views = data.items, data.labels, data.views
    encoding, form = data.encoding, compiled_form_of(data.encoding)
    count, item_bytes = check_tensor("items", items, torch.uint8, (None, None))
    view_bytes = item_bytes
    if views is not None:
        _, view_bytes = check_tensor("views", views, torch.int16, (len(item_ids), None))
        _check_range("views", views, -1, item_bytes)
    _check_range("item_ids", item_ids, 0, count)
    if encoding.input_size != spec.input_size:
        raise RnnzooError(f"encoding: found {encoding.input_size} inputs, expected the spec's {spec.input_size}")
    if form.tokens:
        labels = None
    else:
        if labels is None:
            raise RnnzooError("labels: found none, expected one an item: they are what the RNN answers")
        check_tensor("labels", labels, torch.uint8, (count,))
        _check_range("labels", labels, 0, spec.output_size)
    steps = encoding.steps(view_bytes)
    possible = range(1, view_bytes + 1) if form.tokens else [1 + view_bytes // spec.input_size]
    if steps not in possible:
        raise RnnzooError(
            f"items: found {steps} steps in {view_bytes} bytes, expected {possible[0]} to {possible[-1]} by the "
            "encoding's compiled form"
        )
    if (
        form.tokens
    ):  # the first T bytes are read, and the last T are answers; through views, any byte may be either
        _check_range("items", items if views is not None else items[:, :steps], 0, spec.input_size)
        _check_range("items", items if views is not None else items[:, -steps:], 0, spec.output_size)
    return CompiledData(
        _address(items),
        None if labels is None else _address(labels),
        None if views is None else _address(views),
        *(item_bytes, view_bytes, steps, form.scale, form.shift, encoding.every_answer),
    )


def check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The tensor's shape, if it is what the C++ code reads: this type and shape (None: any), on the CPU, dense."""
    fits = len(tensor.shape) == len(shape) and all(
        expected is None or found == expected for found, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits or tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        dense = "contiguous" if tensor.is_contiguous() else "not contiguous"
        expected_shape = ["any" if size is None else size for size in shape]
        raise RnnzooError(
            f"{name}: found {tensor.dtype} {list(tensor.shape)} on {tensor.device}, {dense}, "
            f"expected {dtype} {expected_shape} on cpu, contiguous"
        )
    return tuple(tensor.shape)


def _check_range(name: str, tensor: Tensor, low: int, end: int) -> None:
    if tensor.numel() == 0:
        return
    least, most = (int(extreme) for extreme in tensor.aminmax())
    if least < low or most >= end:
        raise RnnzooError(f"{name}: found values from {least} to {most}, expected {low} to {end - 1}")


def _address(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _check_status(status: int) -> None:
    if status != 0:
        raise MemoryError("fused CPU kernel: no memory for a thread's workspace")

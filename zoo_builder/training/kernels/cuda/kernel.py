"""The fused CUDA kernel: all training steps of a model in one thread block, the bits of the fused CPU kernel.

NVRTC compiles `train.cu` for each shape of RNN. This module checks what it is given, as the fused CPU kernel does,
and copies it to the GPU and back. Strings are sampled, and words scored, by the fused CPU kernel: they are few.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import torch
from torch import Tensor

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.training.kernels.base import BETA1, BETA2, EXACT_ARITHMETIC, TrainState
from rnnzoo.zoo_builder.training.kernels.cuda.program import Program
from rnnzoo.zoo_builder.training.kernels.fused_cpu import (
    CompiledData,
    FusedCpuKernel,
    check_tensor,
    check_training,
    compiled_data,
    compiled_form_of,
    definitions_of,
)
from rnnzoo.zoo_builder.training.kernels.self_test import check_problem, check_step, problem_of, self_test_spec

MOST_INDEX = 2**31
SCORING_BLOCKS = 1056
"""Blocks that score: some for each multiprocessor of the largest GPUs, to share the work out evenly."""
SCORED_AT_ONCE = 1 << 28
"""Sequences of all models that one launch scores, at most: what is copied of each takes some bytes."""
_Pointer, _Count = ctypes.c_void_p, ctypes.c_int64


class CompiledTraining(ctypes.Structure):
    """`struct Training` of train.h."""

    _fields_ = (
        ("data", CompiledData),
        ("weights", _Pointer),
        ("first_moments", _Pointer),
        ("second_moments", _Pointer),
        ("item_ids", _Pointer),
        ("rates", _Pointer),
        ("losses", _Pointer),
        ("workspace", _Pointer),
        ("workspace_bytes", _Count),
        ("train_steps", _Count),
        ("sequences", _Count),
    )


class CompiledScoring(ctypes.Structure):
    """`struct Scoring` of score.h."""

    _fields_ = (
        ("data", CompiledData),
        ("weights", _Pointer),
        ("item_ids", _Pointer),
        ("losses", _Pointer),
        ("correct", _Pointer),
        ("workspace", _Pointer),
        ("models", _Count),
        ("sequences", _Count),
        ("blocks", _Count),
    )


class FusedCudaKernel:
    """Implements `Kernel` on CPU tensors; it trains and scores on a GPU.

    Args:
        device: The GPU.
        threads: CPU threads that sample. None takes every core this process may run on.
    """

    name = "fused-cuda"
    arithmetic = EXACT_ARITHMETIC

    def __init__(self, device: torch.device | str = "cuda", threads: int | None = None) -> None:
        self.device = torch.device(device)
        self.on_cpu = FusedCpuKernel(threads)

    def _program(self, spec: RNNSpec, tokens: bool) -> Program:
        return _program(self.device, spec, tokens)

    def prepare(self, spec: RNNSpec, encoding: Encoding) -> None:
        """Compile what this shape needs, and test its bits on this GPU. Raises KernelUnavailable."""
        self.on_cpu.prepare(spec, encoding)
        self._program(spec, compiled_form_of(encoding).tokens)

    def train_steps(
        self, state: TrainState, data: Data, item_ids: Tensor, learning_rates: Tensor, weight_decays: Tensor
    ) -> Tensor:
        """See `Kernel.train_steps`."""
        models, train_steps, sequences = check_training(state, item_ids, learning_rates, weight_decays)
        checked = compiled_data(state.spec, data, item_ids)
        program = self._program(state.spec, compiled_form_of(data.encoding).tokens)
        sizes = program.sizes(checked.steps, sequences, checked.view_bytes)
        if sizes.workspace // 4 >= MOST_INDEX or sequences**2 >= MOST_INDEX:
            raise RnnzooError(
                f"item_ids: found batches of {sequences} items, too large for the kernel {self.name}"
            )
        rates = update_rates(learning_rates, weight_decays, state.step)
        losses = torch.empty(models, train_steps)
        at_once = max(1, int(0.75 * program.free_bytes) // sizes.workspace)
        for first in range(0, models, at_once):
            part = slice(first, min(first + at_once, models))
            changed = [state.weights[part], state.first_moment[part], state.second_moment[part], losses[part]]
            moved = [tensor.to(self.device, copy=True) for tensor in changed]
            ids, part_rates = item_ids[part].to(self.device), rates[part].to(self.device)
            there = data.of_runs(part.start, part.stop).to(self.device)
            workspace = torch.empty(len(ids) * sizes.workspace, dtype=torch.uint8, device=self.device)
            training = CompiledTraining(
                _moved(checked, there),
                *(tensor.data_ptr() for tensor in (*moved[:3], ids, part_rates, moved[3], workspace)),
                *(sizes.workspace, train_steps, sequences),
            )
            program.train(training, len(ids), sizes)
            for tensor, result in zip(changed, moved, strict=True):
                tensor.copy_(result)
        state.step += train_steps
        return losses

    def score_items(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernel.score_items`."""
        models, sequences = check_tensor("item_ids", item_ids, torch.int32, (None, None))
        check_tensor("weights", weights, torch.float32, (models, spec.num_parameters))
        checked = compiled_data(spec, data, item_ids)
        program = self._program(spec, compiled_form_of(data.encoding).tokens)
        sizes = program.sizes(checked.steps, sequences, checked.view_bytes)
        losses = torch.empty(models, sequences)
        correct = torch.empty(models, sequences, dtype=torch.bool)
        workspace = torch.empty(SCORING_BLOCKS * sizes.scoring_workspace, dtype=torch.uint8, device=self.device)
        at_once = max(1, SCORED_AT_ONCE // max(1, sequences))
        for first in range(0, models, at_once):
            part = slice(first, min(first + at_once, models))
            there = data.of_runs(part.start, part.stop).to(self.device)
            moved = [tensor[part].to(self.device, copy=True) for tensor in (weights, item_ids, losses, correct)]
            scoring = CompiledScoring(
                _moved(checked, there),
                *(tensor.data_ptr() for tensor in (*moved, workspace)),
                *(len(moved[0]), sequences, SCORING_BLOCKS),
            )
            program.score(scoring, SCORING_BLOCKS, sizes)
            losses[part], correct[part] = moved[2], moved[3]
        return losses, correct

    def step_losses(self, spec: RNNSpec, weights: Tensor, data: Data, item_ids: Tensor) -> Tensor:
        """See `Kernel.step_losses`."""
        return self.on_cpu.step_losses(spec, weights, data, item_ids)

    def sample_strings(self, spec: RNNSpec, weights: Tensor, begin: int, uniforms: Tensor) -> Tensor:
        """See `Kernel.sample_strings`."""
        return self.on_cpu.sample_strings(spec, weights, begin, uniforms)


def _moved(checked: CompiledData, there: Data) -> CompiledData:
    """Data that were checked, at their addresses on a GPU."""
    tables = (None if table is None else table.data_ptr() for table in (there.items, there.labels, there.views))
    numbers = (getattr(checked, name) for name, _ in CompiledData._fields_[3:])
    return CompiledData(*tables, *numbers)


def update_rates(learning_rates: Tensor, weight_decays: Tensor, steps_before: int) -> Tensor:
    """What AdamW multiplies with, as docs/arithmetic.md defines it.

    Args:
        learning_rates: float32 [N, S].
        weight_decays: float32 [N].
        steps_before: Updates before these.

    Returns:
        keep, rate and correction of each update, float32 [N, S, 3].
    """
    rates, decays = learning_rates.numpy().astype(np.float64), weight_decays.numpy().astype(np.float64)
    updates = range(steps_before + 1, steps_before + 1 + rates.shape[1])
    of_first, of_second = (np.array([1 - power(beta, t) for t in updates]) for beta in (BETA1, BETA2))
    keep = 1 - rates * decays[:, None]
    correction = np.broadcast_to(1 / np.sqrt(of_second), rates.shape)
    return torch.from_numpy(np.stack([keep, rates / of_first, correction], axis=-1).astype(np.float32))


def power(base: float, exponent: int) -> float:
    """base^exponent by squaring, the same everywhere."""
    result = 1.0
    while exponent:
        if exponent % 2:
            result *= base
        base *= base
        exponent //= 2
    return result


class _UntestedKernel(FusedCudaKernel):
    """What the self-test tests."""

    def _program(self, spec: RNNSpec, tokens: bool) -> Program:
        return _load(self.device, spec, tokens)


def _load(device: torch.device, spec: RNNSpec, tokens: bool) -> Program:
    return Program(definitions_of(spec, tokens), device)


@cache
def _program(device: torch.device, spec: RNNSpec, tokens: bool) -> Program:
    """The program for one shape, on a GPU that passed the self-test of the cell, and of tokens or pixels."""
    _check_gpu(device, spec.cell, tokens)
    return _load(device, spec, tokens)


@cache
def _check_gpu(device: torch.device, cell: str, tokens: bool) -> None:
    """Raise KernelUnavailable where a GPU has other bits than those of the arithmetic."""
    problem = problem_of(self_test_spec(cell).cell, tokens)
    check_problem(_UntestedKernel(device), problem, torch.cuda.get_device_name(device))
    check_step(cell, _UntestedKernel(device))

"""Which kernel trains on this machine, and how many runs it takes at once."""

from __future__ import annotations

import logging

import torch

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.training.kernels.base import Kernel
from rnnzoo.zoo_builder.training.kernels.cuda.kernel import FusedCudaKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.training.kernels.reference import TorchKernel

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")
KERNELS = ("auto", "fused", "torch")
CPU_RUNS = 64
GPU_BLOCKS_RUNS = 1024
"""Runs of the fused CUDA kernel side by side: some for each multiprocessor of the largest GPUs."""


def choose_kernel(
    spec: RNNSpec, encoding: Encoding, device: str = "auto", kernel: str = "auto", threads: int | None = None
) -> Kernel:
    """The kernel for models of `spec` on `device`, ready to run.

    "auto" takes the GPU where there is one, and the fused kernel, or torch where that cannot be had: it says why.

    Args:
        spec: The architecture of the models.
        encoding: The encoding of their items.
        device: One of `DEVICES`.
        kernel: One of `KERNELS`.
        threads: CPU threads. None stands for all cores.

    Raises:
        RnnzooError: A name is unknown, or this machine does not have what is asked for.
    """
    for name, value, known in (("device", device, DEVICES), ("kernel", kernel, KERNELS)):
        if value not in known:
            raise ParameterError(name, f"found {value!r}, expected one of {', '.join(known)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device", "found 'cuda', but torch sees no GPU; expected auto or cpu")
    if threads is not None:
        if threads < 1:
            raise ParameterError("threads", f"found {threads}, expected at least 1")
        torch.set_num_threads(threads)
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    unfused = TorchKernel("cuda" if on_gpu else "cpu")
    if kernel == "torch":
        return unfused
    fused = FusedCudaKernel("cuda", threads) if on_gpu else FusedCpuKernel(threads)
    try:
        fused.prepare(spec, encoding)
    except KernelUnavailable as error:
        if kernel == "fused":
            raise ParameterError("kernel", f"found 'fused', which cannot be had: {error}") from error
        log.warning("training with torch, several times slower: %s", error)
        return unfused
    return fused


def runs_that_fit(kernel: Kernel, spec: RNNSpec, steps: int, batch_size: int) -> int:
    """How many runs train side by side.

    On a GPU torch takes as many as fill three quarters of its free memory. On a CPU each core takes one model at a
    time, and only so many are needed that no core is idle for long.

    Args:
        kernel: What trains them.
        spec: The architecture of the models.
        steps: T, steps of a sequence.
        batch_size: B, sequences of a training step.
    """
    if isinstance(kernel, FusedCudaKernel):
        return GPU_BLOCKS_RUNS
    if not (isinstance(kernel, TorchKernel) and kernel.device.type == "cuda"):
        return CPU_RUNS
    free, _ = torch.cuda.mem_get_info(kernel.device)
    # Autograd keeps about 14 values a unit and step (gates, their activations, states), and the optimiser
    # and its temporaries 8 copies of the weights.
    per_run = 4 * (14 * spec.num_layers * spec.hidden_size * steps * batch_size + 8 * spec.num_parameters)
    return max(1, int(0.75 * free / per_run))

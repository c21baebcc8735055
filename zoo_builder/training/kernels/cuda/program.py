"""A compiled program on a GPU: loaded and launched through the driver's C interface, in torch's own context.

tests/test_cuda_kernel.py says what is shown without a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.training.kernels.cuda.nvrtc import compile_program

THREADS = 256
"""Of a block. Two fit a multiprocessor: its registers, and its shared memory for models of the paper's size."""
MOST_SHARED_BYTES, LARGE_SHARED = 97, 8
"""CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""


@dataclass(frozen=True)
class Sizes:
    """Bytes that launches need.

    Attributes:
        workspace: Of a model in training.
        shared: Of shared memory, a block that trains.
        scoring_workspace: Of a block that scores.
        scoring_shared: Of shared memory, a block that scores.
    """

    workspace: int
    shared: int
    scoring_workspace: int
    scoring_shared: int


class Program:
    """train.cu, compiled for one shape of RNN, on one GPU.

    Args:
        definitions: What it is compiled with: see `definitions_of`.
        device: The GPU.

    Raises:
        KernelUnavailable: NVRTC is missing or fails, or the driver refuses what it compiled.
    """

    def __init__(self, definitions: Mapping[str, str], device: torch.device) -> None:
        self.device = device
        self._driver = find_driver()
        torch.zeros(1, device=device)  # makes the device's context, and makes it this thread's
        with torch.cuda.device(device):
            number, shared = ctypes.c_int(), ctypes.c_int()
            self._call("cuCtxGetDevice", ctypes.byref(number))
            self._call("cuDeviceGetAttribute", ctypes.byref(shared), MOST_SHARED_BYTES, number)
            major, minor = torch.cuda.get_device_capability(device)
            own = {"RNNZOO_THREADS": str(THREADS), "RNNZOO_SHARED_BYTES": str(shared.value)}
            code = compile_program({**definitions, **own}, f"sm_{major}{minor}")
            self._module = ctypes.c_void_p()
            self._call("cuModuleLoadData", ctypes.byref(self._module), code)
            self._train, self._score = self._function("rnnzoo_train"), self._function("rnnzoo_score")
            self._sizes = self._function("rnnzoo_sizes")

    @property
    def free_bytes(self) -> int:
        """Memory of the GPU that nothing uses."""
        return torch.cuda.mem_get_info(self.device)[0]

    def sizes(self, steps: int, sequences: int, width: int) -> Sizes:
        """What training on batches of this size needs, of sequences of `width` bytes, and scoring."""
        sizes = torch.zeros(len(fields(Sizes)), dtype=torch.int64, device=self.device)
        numbers = map(ctypes.c_int64, (steps, sequences, width))
        self._launch(self._sizes, 1, 1, 0, [_pointer(sizes), *numbers])
        return Sizes(*sizes.tolist())

    def train(self, training: ctypes.Structure, models: int, sizes: Sizes) -> None:
        """Train models, a block each; `training` holds addresses of this GPU."""
        self._run(self._train, training, models, sizes.shared)

    def score(self, scoring: ctypes.Structure, blocks: int, sizes: Sizes) -> None:
        """Score models, by so many blocks; `scoring` holds addresses of this GPU."""
        self._run(self._score, scoring, blocks, sizes.scoring_shared)

    def _run(self, function: ctypes.c_void_p, work: ctypes.Structure, blocks: int, shared: int) -> None:
        if shared:
            with torch.cuda.device(self.device):
                self._call("cuFuncSetAttribute", function, LARGE_SHARED, shared)
        self._launch(function, blocks, THREADS, shared, [work])
        torch.cuda.synchronize(self.device)

    def _launch(
        self, function: ctypes.c_void_p, blocks: int, threads: int, shared: int, values: list[Any]
    ) -> None:
        addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        with torch.cuda.device(self.device):
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            self._call("cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, shared, stream, addresses, None)

    def _function(self, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
        return function

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            message = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(message))
            raise KernelUnavailable(f"{name}: {(message.value or b'unknown error').decode()} ({status})")


def find_driver() -> ctypes.CDLL:
    """The driver's library. Raises KernelUnavailable."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise KernelUnavailable(f"NVIDIA's driver: {error}") from error


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())

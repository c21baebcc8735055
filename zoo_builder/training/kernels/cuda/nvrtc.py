"""Compiles train.cu by NVRTC, NVIDIA's compiler in a library. No GPU is needed for that.

The library comes with torch's CUDA builds (and with a CUDA toolkit); `RNNZOO_NVRTC` may name its file.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from rnnzoo.zoo_builder.compiled.compiler import ERROR_LINES, HEADERS, KernelUnavailable

SOURCE = Path(__file__).with_name("train.cu")
OPTIONS = (
    "-std=c++17",
    "-default-device",
    "-diag-suppress=161",  # pragmas of gcc
    # Every operation is IEEE's, with subnormals, and the code says itself where it wants a fused multiply-add.
    "-fmad=false",
    "-ftz=false",
    "-prec-div=true",
    "-prec-sqrt=true",
)


def find_nvrtc() -> ctypes.CDLL:
    """The library: `RNNZOO_NVRTC`, that of torch's version of CUDA, or one in Python's packages.

    Raises KernelUnavailable.
    """
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise KernelUnavailable(
        "NVRTC: found no libnvrtc, expected that of torch's CUDA build, or RNNZOO_NVRTC to name it"
    )


def compile_program(definitions: Mapping[str, str], architecture: str, form: str = "CUBIN") -> bytes:
    """train.cu for one shape of RNN and one architecture, such as "sm_90", as machine code or as "PTX".

    Raises KernelUnavailable, with what the compiler said.
    """
    nvrtc = find_nvrtc()
    program = ctypes.c_void_p()
    source = SOURCE.read_bytes()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"train.cu", 0, None, None))
    try:
        options = [
            *OPTIONS,
            f"-arch={architecture}",
            *(f"-I{folder}" for folder in (HEADERS, SOURCE.parent)),
            *(f"-D{name}={value}" for name, value in definitions.items()),
        ]
        encoded = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        if nvrtc.nvrtcCompileProgram(program, len(options), encoded) != 0:
            log = _read(nvrtc, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            errors = [line for line in log.splitlines() if "error" in line] or log.splitlines()
            raise KernelUnavailable("NVRTC failed on train.cu:\n" + "\n".join(errors[:ERROR_LINES]))
        return _read(nvrtc, program, form)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _candidates() -> Iterator[str]:
    chosen = os.environ.get("RNNZOO_NVRTC")
    if chosen:
        yield chosen
        return
    if torch.version.cuda:
        yield f"libnvrtc.so.{torch.version.cuda.split('.')[0]}"
    for folder in sys.path:
        for path in sorted(Path(folder).glob("nvidia/*/lib/libnvrtc.so.*")):
            yield str(path)


def _read(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.raw


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status != 0:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise KernelUnavailable(f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")

"""The machine that a program of this folder runs on, for what it prints or writes down."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

import rnnzoo
from rnnzoo.zoo_builder.training.kernels.fused_cpu import available_cores


def machine() -> dict[str, Any]:
    """Name of the CPU, cores this process may use, GPU if there is one, and versions."""
    info = Path("/proc/cpuinfo")
    named = (
        [line for line in info.read_text(encoding="utf-8").splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    cpu = named[0].partition(":")[2].strip() if named else platform.processor() or platform.machine()
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "rnnzoo": rnnzoo.__version__}
    return {"cpu": cpu, "cores": available_cores(), **gpu, **versions}

"""The train step for N runs, in several implementations of one contract (`Kernel`)."""

from zoo_builder.training.kernels.base import Kernel, TrainState
from zoo_builder.training.kernels.reference import TorchKernel

__all__ = ["Kernel", "TorchKernel", "TrainState"]

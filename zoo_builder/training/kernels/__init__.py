"""The train step for N runs, in several implementations of one contract (`Kernel`)."""

from rnnzoo.zoo_builder.training.kernels.base import Kernel, TrainState
from rnnzoo.zoo_builder.training.kernels.choice import choose_kernel, runs_that_fit
from rnnzoo.zoo_builder.training.kernels.reference import TorchKernel

__all__ = ["Kernel", "TorchKernel", "TrainState", "choose_kernel", "runs_that_fit"]

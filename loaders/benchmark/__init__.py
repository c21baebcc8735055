"""The benchmark: what an embedding says about its RNN, on tasks that no readout has seen."""

from loaders.benchmark.report import format_table
from loaders.benchmark.run import run_benchmark
from loaders.benchmark.targets import TARGETS, Target

__all__ = ["TARGETS", "Target", "format_table", "run_benchmark"]

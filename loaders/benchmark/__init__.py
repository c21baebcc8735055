"""The benchmark: what an embedding says about its RNN, on tasks that no readout has seen."""

from rnnzoo.loaders.benchmark.report import format_table, make_report
from rnnzoo.loaders.benchmark.results import read_result
from rnnzoo.loaders.benchmark.run import Request, run_benchmark
from rnnzoo.loaders.benchmark.targets import TARGETS, Target

__all__ = ["TARGETS", "Request", "Target", "format_table", "make_report", "read_result", "run_benchmark"]

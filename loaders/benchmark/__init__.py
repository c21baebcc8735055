"""The benchmark: what an embedding says about its RNN, on tasks that no readout has seen."""

from rnnzoo.loaders.benchmark.report import format_table, make_report
from rnnzoo.loaders.benchmark.results.files import read_result
from rnnzoo.loaders.benchmark.run import Request, run_benchmark

__all__ = ["Request", "format_table", "make_report", "read_result", "run_benchmark"]

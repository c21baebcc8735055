"""The arithmetic `fma-1` has the same bits by every compiler, vector width and CPU, whatever a thread has set.

Builds for other CPUs take no Python: `tests/cross` has the driver. Those for AArch64 run in an emulator, by
`make test-qemu`, where Debian's `g++-aarch64-linux-gnu` and `qemu-user` are installed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from compilers import needs_compiler
from cross.builds import WIDE, Build

from rnnzoo.zoo_builder.rnn import CELLS
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.training.kernels.self_test import (
    digest_of,
    problem_of,
    results_of,
    stored_digests,
)

BUILDS = {
    # Without -march there is no instruction for a fused multiply-add: the C library's exact one serves.
    "sse2": Build("g++", ("-O1",), ("sse2",)),
    "avx": Build("g++", ("-O2", "-march=sandybridge"), ("avx",)),
    "avx2": Build("g++", ("-O1", "-march=haswell"), ("avx2", "fma")),
    "avx512": Build("g++", ("-march=x86-64-v4", "-mprefer-vector-width=512"), ("avx512f", "avx512vl")),
    # All of AVX-512 but its instructions, on CPUs that do not have them.
    "wide": Build("g++", ("-O1", "-march=haswell", "-D__AVX512F__", f"-I{WIDE}"), ("avx2", "fma")),
    "clang-sse2": Build("clang++", ("-O1",), ("sse2",)),
    "clang-avx2": Build("clang++", ("-march=haswell",), ("avx2", "fma")),
    "clang-avx512": Build("clang++", ("-O2", "-march=x86-64-v4"), ("avx512f", "avx512vl")),
}
AARCH64 = {
    "aarch64": Build("aarch64-linux-gnu-g++", emulator="qemu-aarch64"),
    "clang-aarch64": Build(
        "clang++", ("--target=aarch64-linux-gnu", "-O1"), emulator="qemu-aarch64", needs=("aarch64-linux-gnu-g++",)
    ),
}
PROBLEMS = [(cell, tokens) for cell in CELLS for tokens in (True, False)]
QUICK = [("sse2", "lstm", True), ("sse2", "gru", False), ("avx2", "tanh", True)]
EVERY = [(build, *problem) for build in BUILDS for problem in PROBLEMS]
MODES = {  # of rounding, as fenv.h of Linux numbers them
    "x86_64": {"down": 0x400, "up": 0x800, "to zero": 0xC00},
    "aarch64": {"up": 0x400000, "down": 0x800000, "to zero": 0xC00000},
}.get(platform.machine(), {})


def check_build(build: Build, cell: str, tokens: bool, folder: Path) -> None:
    if missing := build.missing():
        pytest.skip(missing)
    problem = problem_of(cell, tokens)
    assert digest_of(build.results(problem, folder)) == stored_digests()[problem.name]


@pytest.mark.parametrize(("build", "cell", "tokens"), QUICK)
def test_other_widths(build: str, cell: str, tokens: bool, tmp_path: Path) -> None:
    check_build(BUILDS[build], cell, tokens, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "cell", "tokens"), [case for case in EVERY if case not in QUICK])
def test_all_widths_and_compilers(build: str, cell: str, tokens: bool, tmp_path: Path) -> None:
    check_build(BUILDS[build], cell, tokens, tmp_path)


@pytest.mark.qemu
@pytest.mark.parametrize(("cell", "tokens"), PROBLEMS)
@pytest.mark.parametrize("build", AARCH64)
def test_aarch64(build: str, cell: str, tokens: bool, tmp_path: Path) -> None:
    check_build(AARCH64[build], cell, tokens, tmp_path)


@pytest.mark.parametrize(
    "build",
    [
        *(pytest.param(build, marks=pytest.mark.slow, id=name) for name, build in BUILDS.items()),
        pytest.param(AARCH64["aarch64"], marks=pytest.mark.qemu, id="aarch64"),
    ],
)
@pytest.mark.parametrize(("cell", "tokens", "steps"), [("lstm", True, 41), ("lstm", False, 50)])
@needs_compiler
def test_zoos_of_the_papers_size(build: Build, cell: str, tokens: bool, steps: int, tmp_path: Path) -> None:
    """Longer than the stored problems, against this machine's own kernel."""
    if missing := build.missing():
        pytest.skip(missing)
    size = {"hidden_size": 32, "steps": steps, "batch_size": 32, "train_steps": 6}
    here = results_of(FusedCpuKernel(), problem_of(cell, tokens, **size))
    assert build.results(problem_of(cell, tokens, **size), tmp_path) == here


@contextmanager
def flushing() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormal numbers")
    subnormal = torch.tensor([1e-40])
    try:
        assert subnormal + subnormal == 0
        yield
        assert subnormal + subnormal == 0
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    assert library.fesetround(mode) == 0
    try:
        yield
        assert library.fegetround() == mode
    finally:
        library.fesetround(0)


ENVIRONMENTS = {"flushing": flushing} | {name: lambda mode=mode: rounding(mode) for name, mode in MODES.items()}


@needs_compiler
@pytest.mark.parametrize(
    ("cell", "tokens"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case[1] and case[0] != "lstm" else []) for case in PROBLEMS],
)
def test_this_machine(cell: str, tokens: bool) -> None:
    problem = problem_of(cell, tokens)
    assert digest_of(results_of(FusedCpuKernel(), problem)) == stored_digests()[problem.name]


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_a_thread_that_rounds_in_its_own_way(
    environment: Callable[[], AbstractContextManager[None]], threads: int
) -> None:
    """Neither the bits nor what the thread has set change."""
    problem, kernel = problem_of("lstm", tokens=True), FusedCpuKernel(threads)
    kernel.prepare(problem.state.spec, problem.data.encoding)
    with environment():
        results = results_of(kernel, problem)
    assert digest_of(results) == stored_digests()[problem.name]


@needs_compiler
@pytest.mark.parametrize("tokens", [True, False])
def test_problems_hold_what_could_go_wrong(tokens: bool) -> None:
    problem = problem_of("lstm", tokens)
    seen = problem.data.raw(problem.item_ids)[:, :, :, : -1 if tokens else None]
    for batch in seen.flatten(0, 1):
        distinct = len(batch.unique(dim=0))
        assert 16 < distinct < len(batch)  # two groups of rows, and rows of several items
    results_of(FusedCpuKernel(), problem)
    calm, wild, broken = problem.state.weights
    assert calm.isfinite().all()
    assert wild.abs().max() > 1.5
    assert broken.isnan().sum() > len(broken) / 2
    if tokens:
        moments = problem.state.second_moment[0]
        assert ((moments != 0) & (moments < torch.finfo().tiny)).any()

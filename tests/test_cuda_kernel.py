"""The fused CUDA kernel: its bits where blocks are emulated, its machine code, and on a GPU where there is one.

Emulated, a CPU runs for each thread of a block the functions that it runs on a GPU, from barrier to barrier.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compilers import needs_compiler
from test_fused_kernel import CASES, Case, draw_items

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, load_library
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec
from rnnzoo.zoo_builder.training.kernels.base import Kernel, TrainState
from rnnzoo.zoo_builder.training.kernels.cuda import kernel as cuda_kernel
from rnnzoo.zoo_builder.training.kernels.cuda import nvrtc, program
from rnnzoo.zoo_builder.training.kernels.cuda.kernel import FusedCudaKernel
from rnnzoo.zoo_builder.training.kernels.cuda.program import Sizes
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel, definitions_of
from rnnzoo.zoo_builder.training.kernels.self_test import digest_of, problem_of, results_of, stored_digests

SOURCE = Path(__file__).with_name("emulated_block.cpp")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def headers() -> str:
    """A hash of the headers that stand elsewhere: a library's name depends on those beside its source alone."""
    kernels = nvrtc.SOURCE.parent.parent
    texts = [path.read_bytes() for folder in (kernels, kernels / "cuda") for path in sorted(folder.glob("*.h"))]
    return sha256(b"".join(texts)).hexdigest()


class EmulatedProgram:
    """Does as `Program` does, on the CPU."""

    def __init__(self, spec: RNNSpec, tokens: bool, threads: int, in_shared: bool, free_bytes: int) -> None:
        self.library = load_library(SOURCE, {**definitions_of(spec, tokens), "RNNZOO_OF": headers()})
        self.threads, self.in_shared, self.free_bytes = threads, in_shared, free_bytes

    def sizes(self, *numbers: int) -> Sizes:
        found = (ctypes.c_int64 * 4)()
        self.library.rnnzoo_sizes(found, *map(ctypes.c_int64, numbers))
        return Sizes(*found)

    def train(self, training: ctypes.Structure, models: int, sizes: Sizes) -> None:
        ctypes.memset(training.workspace, 0xFF, models * sizes.workspace)  # NaN wherever it is not written first
        assert sizes.workspace % 8 == 0  # GPUs read doubles from whole doubles
        self.library.rnnzoo_train(ctypes.byref(training), ctypes.c_int64(models), self.threads, self.in_shared)

    def score(self, scoring: ctypes.Structure, blocks: int, sizes: Sizes) -> None:
        ctypes.memset(scoring.workspace, 0xFF, blocks * sizes.scoring_workspace)
        assert sizes.scoring_workspace % 8 == 0
        self.library.rnnzoo_score(ctypes.byref(scoring), ctypes.c_int64(blocks), self.threads, self.in_shared)


class EmulatedKernel(FusedCudaKernel):
    """`FusedCudaKernel` with blocks of CPU threads."""

    def __init__(self, threads: int = 5, in_shared: bool = True, free_bytes: int = 1 << 33) -> None:
        super().__init__("cpu", threads=1)
        self.emulation = threads, in_shared, free_bytes

    def _program(self, spec: RNNSpec, tokens: bool) -> Any:
        return EmulatedProgram(spec, tokens, *self.emulation)


def trained(kernel: Kernel, case: Case, sequences: int, steps: int = 3) -> list[bytes]:
    """Losses, weights and moments of a calm model, one with large weights, and one that is not finite."""
    state = TrainState.initial(case.spec, [0, 1, 2])
    state.step = 7
    state.weights[1] *= 3
    state.weights[2, -1] = float("inf")
    rates = torch.linspace(1e-2, 1e-4, 3 * steps).view(3, steps)
    decays = torch.tensor([0.0, 0.01, 0.3])
    losses = kernel.train_steps(state, case.data(3), draw_items(3, steps, sequences), rates, decays)
    assert state.step == 7 + steps
    assert losses.isfinite().all(dim=1).tolist() == [True, True, False]
    return [
        tensor.numpy().tobytes() for tensor in (losses, state.weights, state.first_moment, state.second_moment)
    ]


def scored(kernel: Kernel, case: Case, sequences: int) -> list[bytes]:
    """Losses and answers of the same three models, several pieces of each among them where there are many."""
    state = TrainState.initial(case.spec, [0, 1, 2])
    state.weights[1] *= 3
    state.weights[2, -1] = float("inf")
    ids = draw_items(3, 1, sequences)[:, 0].contiguous()
    losses, correct = kernel.score_items(case.spec, state.weights, case.data(3), ids)
    assert losses.isfinite().all(dim=1).tolist() == [True, True, False]
    return [losses.numpy().tobytes(), correct.numpy().tobytes()]


def bits_of(kernel: Kernel, cell: str, tokens: bool, batch_size: int) -> bytes:
    return results_of(kernel, problem_of(cell, tokens, batch_size=batch_size))


@needs_compiler
class TestEmulated:
    @pytest.mark.parametrize(
        ("cell", "tokens"),
        [
            pytest.param(cell, tokens, marks=[] if (cell, tokens) == ("lstm", True) else pytest.mark.slow)
            for cell in CELLS
            for tokens in (True, False)
        ],
    )
    def test_bits(self, cell: str, tokens: bool) -> None:
        """Those that are stored, and those of the CPU's kernel for one group and for several, whole and not."""
        problem = problem_of(cell, tokens)
        assert digest_of(results_of(EmulatedKernel(), problem)) == stored_digests()[problem.name]
        for batch_size in (1, 5, 16, 70):
            found = bits_of(EmulatedKernel(), cell, tokens, batch_size)
            assert found == bits_of(FusedCpuKernel(threads=1), cell, tokens, batch_size)

    @pytest.mark.slow
    @pytest.mark.parametrize(("threads", "in_shared"), [(1, True), (3, False), (32, True), (257, False)])
    def test_bits_do_not_depend_on_the_block(self, threads: int, in_shared: bool) -> None:
        problem = problem_of("gru", tokens=False)
        assert digest_of(results_of(EmulatedKernel(threads, in_shared), problem)) == stored_digests()[problem.name]

    @pytest.mark.slow
    def test_models_that_do_not_fit_at_once(self) -> None:
        problem = problem_of("lstm", tokens=False)
        assert digest_of(results_of(EmulatedKernel(free_bytes=1), problem)) == stored_digests()[problem.name]

    @pytest.mark.slow
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_other_shapes(self, case: Case) -> None:
        """One layer and three; widths of whole vectors and not; views of strings, and items without."""
        for sequences in (1, 5, 33):
            assert trained(EmulatedKernel(), case, sequences) == trained(
                FusedCpuKernel(threads=1), case, sequences
            )
        for in_shared, sequences in ((True, 1), (False, 200)):
            assert scored(EmulatedKernel(in_shared=in_shared), case, sequences) == scored(
                FusedCpuKernel(threads=1), case, sequences
            )

    def test_batches_too_large_for_its_numbers(self) -> None:
        with pytest.raises(RnnzooError, match="found batches of 50000 items, too large for the kernel fused-cuda"):
            bits_of(EmulatedKernel(), "tanh", True, 50_000)

    @pytest.mark.slow
    @pytest.mark.parametrize("cell", CELLS)
    def test_no_thread_reads_what_another_one_writes(self, cell: str, tmp_path: Path) -> None:
        """ThreadSanitizer watches threads that train, in a process of their own."""
        script = (
            "import torch\n"
            "from test_cuda_kernel import *\n"
            "for name in ('languages', 'images', 'odd'):\n"
            f"    trained(EmulatedKernel(), CASES[f'{cell}-{{name}}'], 20, steps=2)\n"
            "print('trained')\n"
        )
        runtime = subprocess.run(
            ["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        environment = {
            "CXX": "g++ -fsanitize=thread -g -DRNNZOO_REAL_THREADS",
            "RNNZOO_CACHE_DIR": str(tmp_path),
            "LD_PRELOAD": runtime,
            "TSAN_OPTIONS": "exitcode=66",
            "PATH": "/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=SOURCE.parent, env=environment, capture_output=True, text=True
        )
        assert (done.stdout, done.returncode) == ("trained\n", 0), done.stderr[:3000]


@pytest.fixture(scope="module")
def has_nvrtc() -> None:
    try:
        nvrtc.find_nvrtc()
    except KernelUnavailable as error:
        pytest.skip(str(error))


def definitions(cell: str, tokens: bool) -> dict[str, str]:
    """Of an RNN of the paper's size."""
    spec = RNNSpec(6, 32, 6, 2, cell) if tokens else RNNSpec(7, 32, 10, 2, cell)
    return {**definitions_of(spec, tokens), "RNNZOO_THREADS": "256", "RNNZOO_SHARED_BYTES": "232448"}


@pytest.mark.usefixtures("has_nvrtc")
class TestCompiled:
    """By NVRTC, which needs no GPU."""

    @pytest.mark.slow
    @pytest.mark.parametrize(("cell", "tokens"), [("lstm", True), ("gru", False), ("tanh", True)])
    def test_every_operation_is_one_of_the_arithmetic(self, cell: str, tokens: bool) -> None:
        """Rounded to nearest even, with subnormals, exact division and square root; nothing is contracted later,
        because assemblers leave operations alone that say how they round.
        """
        text = nvrtc.compile_program(definitions(cell, tokens), "sm_90", "PTX").decode()
        operations = Counter(
            re.findall(
                r"(?:\n|\s)((?:add|sub|mul|mad|fma|div|rcp|sqrt|rsqrt|ex2|lg2|tanh|sin|cos)\.\S*f(?:32|64))\s",
                text,
            )
        )
        exact = {f"{name}.rn.f{bits}" for name in ("add", "sub", "mul", "div") for bits in (32, 64)}
        assert operations.keys() <= exact | {"fma.rn.f32", "rcp.rn.f32", "sqrt.rn.f32"}
        assert {"fma.rn.f32", "sqrt.rn.f32", "add.rn.f64"} <= operations.keys()
        assert "approx" not in text
        assert "ftz" not in text

    @pytest.mark.slow
    def test_machine_code(self) -> None:
        code = nvrtc.compile_program(definitions("tanh", True), "sm_90")
        assert code.startswith(b"\x7fELF")
        assert b"rnnzoo_train" in code

    def test_errors_say_what_the_compiler_said(self) -> None:
        with pytest.raises(KernelUnavailable, match=r"NVRTC failed on train.cu:\n.*RNNZOO_THREADS"):
            nvrtc.compile_program({"RNNZOO_SHARED_BYTES": "1", **definitions_of(RNNSpec(6, 4, 6), True)}, "sm_90")


class Driver:
    """Stands in for the driver's library: notes what is called, and answers with one kind of GPU."""

    def __init__(self, failing: str = "") -> None:
        self.called: list[str] = []
        self.launched: list[tuple[int, ...]] = []
        self.failing = failing

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            if name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = 232448
            if name == "cuGetErrorString":
                arguments[1]._obj.value = b"invalid image"
            if name == "cuLaunchKernel":
                self.launched.append(arguments[1:8])
                self.read(arguments[9])
            return 200 if name == self.failing else 0

        return call

    def read(self, addresses: Any) -> None:
        """What a kernel does: of one argument it trains or scores, of four it is `rnnzoo_sizes`."""
        if len(addresses) == 1:
            self.training = cuda_kernel.CompiledTraining.from_buffer_copy(
                ctypes.string_at(addresses[0], ctypes.sizeof(cuda_kernel.CompiledTraining))
            )
            return
        out, *numbers = (ctypes.c_int64.from_address(address).value for address in addresses)
        steps, sequences, width = numbers
        found = (1000 * steps + 10 * sequences + width, 100_000, 70_000, 60_000)
        ctypes.memmove(out, (ctypes.c_int64 * 4)(*found), 32)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setattr(program, "find_driver", lambda: driver)
    monkeypatch.setattr(program, "compile_program", lambda definitions, architecture: architecture.encode())
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return driver


class TestProgram:
    """What a GPU's driver is asked for."""

    def test_launches(self, driver: Driver) -> None:
        loaded = program.Program({}, torch.device("cpu"))
        sizes = loaded.sizes(steps=7, sequences=32, width=8)
        assert sizes == Sizes(workspace=7328, shared=100_000, scoring_workspace=70_000, scoring_shared=60_000)
        loaded.train(cuda_kernel.CompiledTraining(train_steps=5, sequences=32), models=3, sizes=sizes)
        assert driver.launched == [(1, 1, 1, 1, 1, 1, 0), (3, 1, 1, 256, 1, 1, 100_000)]
        assert (driver.training.train_steps, driver.training.sequences) == (5, 32)
        assert driver.called[-2:] == ["cuFuncSetAttribute", "cuLaunchKernel"]
        loaded.score(cuda_kernel.CompiledScoring(), blocks=11, sizes=sizes)
        assert driver.launched[-1] == (11, 1, 1, 256, 1, 1, 60_000)

    def test_what_the_driver_refuses(self, driver: Driver) -> None:
        driver.failing = "cuModuleLoadData"
        with pytest.raises(KernelUnavailable, match=r"cuModuleLoadData: invalid image \(200\)"):
            program.Program({}, torch.device("cpu"))

    @needs_compiler
    def test_a_gpu_with_other_bits_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Wrong(EmulatedProgram):
            def train(self, training: ctypes.Structure, models: int, sizes: Sizes) -> None:
                super().train(training, models, sizes)
                weight = ctypes.c_int32.from_address(training.weights)
                weight.value ^= 1

        def load(spec: RNNSpec, tokens: bool, kind: type[EmulatedProgram]) -> EmulatedProgram:
            return kind(spec, tokens, threads=3, in_shared=True, free_bytes=1 << 33)

        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        problem = problem_of("tanh", tokens=True)
        for kind in (EmulatedProgram, Wrong):
            monkeypatch.setattr(
                cuda_kernel, "_load", lambda device, spec, tokens, kind=kind: load(spec, tokens, kind)
            )
            cuda_kernel._program.cache_clear()
            cuda_kernel._check_gpu.cache_clear()
            kernel = FusedCudaKernel("cpu", threads=1)
            if kind is EmulatedProgram:
                kernel.prepare(problem.state.spec, problem.data.encoding)
                continue
            with pytest.raises(KernelUnavailable, match=r"a GPU: fails the self-test tanh-tokens: found bits"):
                kernel.prepare(problem.state.spec, problem.data.encoding)


@pytest.mark.cuda
@on_gpu
@needs_compiler
class TestOnGpu:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_bits_of_the_cpu_kernel(self, case: Case) -> None:
        kernel = FusedCudaKernel()
        kernel.prepare(case.spec, case.data(1).encoding)  # which makes the self-test of the cell
        for sequences in (1, 5, 32, 70):
            assert trained(kernel, case, sequences) == trained(FusedCpuKernel(), case, sequences)
        for sequences in (1, 64, 2500):
            assert scored(kernel, case, sequences) == scored(FusedCpuKernel(), case, sequences)

    def test_models_too_large_for_shared_memory(self) -> None:
        case = Case(RNNSpec(6, 96, 6, 2), steps=11)
        assert trained(FusedCudaKernel(), case, 32) == trained(FusedCpuKernel(), case, 32)
        assert scored(FusedCudaKernel(), case, 100) == scored(FusedCpuKernel(), case, 100)

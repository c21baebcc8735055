"""Compilers that do not compute what the code says are found out at first use, and cost nothing later."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compilers import needs_compiler
from fma1.cells import CELLS as CELLS_OF_THE_PAGE
from remake_self_test import make_digests

from rnnzoo.zoo_builder.compiled import compiler
from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, find_compiler
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS
from rnnzoo.zoo_builder.training.kernels import choose_kernel, fused_cpu, self_test
from rnnzoo.zoo_builder.training.kernels.self_test import problem_of, self_test_spec, stored_digests

CACHED = (fused_cpu._library, fused_cpu._untested_library, fused_cpu._check_step)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For libraries that several tests use, and the compilers that made them."""
    return tmp_path_factory.mktemp("compilers")


@pytest.fixture
def use_compiler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Callable[[str], None]]:
    """A function: use this as CXX, as a new process would."""

    def use(command: str) -> None:
        monkeypatch.setenv("CXX", command)
        monkeypatch.setenv("RNNZOO_CACHE_DIR", str(folder / "cache"))
        start_again()

    yield use
    start_again()


def start_again() -> None:
    for cached in CACHED:
        cached.cache_clear()


def wrapper(folder: Path, option: str) -> str:
    """A compiler of which an option has the last word."""
    script = folder / f"own-c++{option}"
    script.write_text(f'#!/bin/sh\nexec {shutil.which(find_compiler()[0])} "$@" -O2 {option}\n')
    script.chmod(0o755)
    return str(script)


def prepare(cell: str) -> None:
    """Compile the shape of the self-test, and test it."""
    problem = problem_of(cell, tokens=False)
    fused_cpu.FusedCpuKernel().prepare(problem.state.spec, problem.data.encoding)


@needs_compiler
@pytest.mark.parametrize(
    "options",
    ["-ffast-math -ffp-contract=fast", pytest.param("-Ofast -funsafe-math-optimizations", marks=pytest.mark.slow)],
)
def test_options_of_CXX_do_not_reach_the_arithmetic(use_compiler: Callable[[str], None], options: str) -> None:
    use_compiler(f"{find_compiler()[0]} {options}")
    prepare("tanh")


@needs_compiler
@pytest.mark.parametrize(
    ("cell", "option"),
    [
        ("lstm", "-ffp-contract=fast"),
        pytest.param("tanh", "-ffp-contract=fast", marks=pytest.mark.slow),
        pytest.param("gru", "-ffast-math", marks=pytest.mark.slow),
    ],
)
def test_a_compiler_that_has_the_last_word(
    use_compiler: Callable[[str], None], folder: Path, cell: str, option: str
) -> None:
    use_compiler(wrapper(folder, option))
    for _ in range(2):  # what failed is not taken for what passed
        with pytest.raises(KernelUnavailable, match=rf"own-c\+\+\{option}: fails the self-test {cell}-pixels"):
            prepare(cell)
        start_again()
    assert torch.tensor([1e-40]) + 0 != 0, "the library changed how this thread computes"


@needs_compiler
def test_who_is_told(
    use_compiler: Callable[[str], None],
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    builder: Callable[..., tuple[int, str, str]],
) -> None:
    """`auto` trains with torch and warns; who asks for the fused kernel gets an error, the command's code is 2."""
    use_compiler(wrapper(folder, "-ffp-contract=fast"))
    problem = problem_of("lstm", tokens=False)
    assert choose_kernel(problem.state.spec, problem.data.encoding, device="cpu").name == "torch-cpu"
    assert "training with torch, several times slower: " in caplog.text
    assert "fails the self-test" in caplog.text
    with pytest.raises(RnnzooError, match=r"kernel: found 'fused', which cannot be had: .* fails the self-test"):
        choose_kernel(problem.state.spec, problem.data.encoding, kernel="fused")

    zoo = tmp_path / "zoo"
    code, _, err = builder("build", "formal_languages", "--preset", "smoke", "--out", zoo, "--kernel", "fused")
    assert code == 2
    assert "fails the self-test lstm-pixels" in err
    assert not zoo.exists()


@needs_compiler
def test_it_is_done_once(
    use_compiler: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_compiler(find_compiler()[0])
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path))
    prepare("tanh")
    (passed,) = tmp_path.glob("*.bits")

    def compute(*arguments: object) -> bytes:
        raise AssertionError("computed again")

    monkeypatch.setattr(self_test, "results_of", compute)
    start_again()
    prepare("tanh")
    passed.write_bytes(b"\xff")
    start_again()
    with pytest.raises(AssertionError, match="computed again"):
        prepare("tanh")


def test_a_cell_without_bits_of_its_own() -> None:
    assert [self_test_spec(cell).cell for cell in ("gru", "liquid")] == ["gru", "lstm"]


FORWARD, BACK = "hidden = tanh_of(sums[r][0])", "d_hidden * after.hidden), after.hidden, d_hidden"


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        pytest.param(FORWARD, FORWARD, None, marks=pytest.mark.slow),
        pytest.param(FORWARD, "hidden = sums[r][0]", "loss: the compiled", marks=pytest.mark.slow),
        (BACK, "d_hidden * after.hidden), broadcast(0.5f), d_hidden", "gradient of elman.weight_"),
        pytest.param(BACK, "d_hidden), broadcast(0.0f), broadcast(0.0f)", "gradient of ", marks=pytest.mark.slow),
    ],
    ids=["as its equation", "another step", "another derivative", "no derivative"],
)
def test_a_header_without_stored_bits_is_compared_with_the_equation(
    use_compiler: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: str,
    wrong: str,
    named: str | None,
) -> None:
    shutil.copytree(compiler.HEADERS, tmp_path / "compiled")
    header = (compiler.HEADERS / "cells" / "tanh.h").read_text()
    assert right in header
    (tmp_path / "compiled/cells/elman.h").write_text(header.replace(right, wrong))
    monkeypatch.setattr(compiler, "HEADERS", tmp_path / "compiled")
    monkeypatch.setitem(CELLS, "elman", replace(CELLS["tanh"], name="elman"))
    use_compiler(find_compiler()[0])
    if named is None:
        prepare("elman")
        return
    with pytest.raises(
        KernelUnavailable, match=f"cell: 'elman': {named}.* found .*, expected .* by the cell's equ"
    ):
        prepare("elman")
    spec, encoding = problem_of("elman", tokens=False).state.spec, problem_of("elman", False).data.encoding
    assert choose_kernel(spec, encoding, device="cpu").name == "torch-cpu"


def test_stored_bits_are_those_of_the_page() -> None:
    """`python tests/remake_self_test.py` makes them."""
    problems = [problem_of(cell, tokens) for cell in CELLS_OF_THE_PAGE for tokens in (True, False)]
    assert list(stored_digests()) == [problem.name for problem in problems]
    assert CELLS_OF_THE_PAGE.keys() <= CELLS.keys()
    assert make_digests(["tanh"]).items() <= stored_digests().items()


@pytest.mark.slow
def test_all_stored_bits_are_those_of_the_page() -> None:
    assert make_digests() == stored_digests()

"""Compiled libraries and their cache: processes that race, damage, and machines without a compiler that works."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from compilers import needs_compiler

from rnnzoo.zoo_builder.compiled import compiler
from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec
from rnnzoo.zoo_builder.training.kernels.fused_cpu import SOURCE

SMALL = {
    **compiler.cell_definition("lstm"),
    "RNNZOO_INPUTS": "2",
    "RNNZOO_HIDDEN": "2",
    "RNNZOO_OUTPUTS": "2",
    "RNNZOO_LAYERS": "1",
    "RNNZOO_TOKENS": "true",
}


def load_elsewhere(cache: Path) -> subprocess.Popen[str]:
    """A process that loads the small library, and prints how many parameters its models have."""
    program = (
        "from pathlib import Path\n"
        "from rnnzoo.zoo_builder.compiled.compiler import load_library\n"
        f"print(load_library(Path({str(SOURCE)!r}), {SMALL}).rnnzoo_parameters())"
    )
    environment = {**os.environ, "RNNZOO_CACHE_DIR": str(cache)}
    return subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)


@needs_compiler
def test_processes_that_race_and_a_damaged_library(tmp_path: Path) -> None:
    """Two processes compile at the same time; later the library they left is damaged."""
    expected = f"{RNNSpec(2, 2, 2, num_layers=1).num_parameters}\n"
    racing = [load_elsewhere(tmp_path) for _ in range(2)]
    assert [process.communicate()[0] for process in racing] == [expected] * 2
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".sha256", ".so"]

    (library,) = tmp_path.glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[: len(whole) // 2])
    assert load_elsewhere(tmp_path).communicate()[0] == expected
    assert library.stat().st_size == len(whole)


def test_every_cell_of_the_product_has_a_header() -> None:
    for cell in CELLS:
        assert compiler.cell_definition(cell) == {"RNNZOO_CELL": f'"cells/{cell}.h"'}
    with pytest.raises(KernelUnavailable, match="cell: found 'liquid', expected one that is written in C"):
        compiler.cell_definition("liquid")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelUnavailable, match=r"found none \(looked for c\+\+, g\+\+, clang\+\+\)"):
        compiler.load_library(SOURCE, SMALL)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such machine' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(KernelUnavailable, match="error: no such machine"):
        compiler.load_library(SOURCE, SMALL)
    assert not list((tmp_path / "cache").iterdir())

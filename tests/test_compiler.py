"""Compiled libraries and their cache: processes that race, damage, and machines without a compiler that works."""

from __future__ import annotations

import os
import shlex
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
@pytest.mark.slow
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


@needs_compiler
def test_what_a_killed_compilation_leaves_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache, wrapper = tmp_path / "cache", tmp_path / "wrapper"
    (tmp_path / "one.cpp").write_text('extern "C" int one() { return 1; }')
    kills_once = f"case $* in *-shared*) mkdir {tmp_path}/once 2>&- && kill -9 $PPID;; esac"
    wrapper.write_text(f'#!/bin/sh\n{kills_once}\nexec {shlex.join(compiler.find_compiler())} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", str(wrapper))
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(cache))
    child = os.fork()
    if child == 0:
        try:
            compiler.load_library(tmp_path / "one.cpp", {})
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert list(cache.iterdir())
    assert compiler.load_library(tmp_path / "one.cpp", {}).one() == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".sha256", ".so"]


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


def test_a_compiler_that_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(KernelUnavailable, match=r"true failed on fused\.cpp:\nexit code 0"):
        compiler.load_library(SOURCE, SMALL)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CXX": "g++ 'unfinished"}, "found CXX=g.. 'unfinished, which is no command: No closing quotation"),
        ({"RNNZOO_CACHE_DIR": "~nosuch/cache"}, "found no home"),
    ],
)
def test_a_machine_that_is_not_set_up(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    """The torch kernel can serve then: what is wrong is an error that it stands in for."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compiler.shutil, "which", lambda command: command)
    monkeypatch.setattr(compiler, "_compiler_version", lambda command: "1")
    with pytest.raises(KernelUnavailable, match=message):
        compiler.load_library(SOURCE, SMALL)


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("RNNZOO_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(KernelUnavailable, match="found no home"):
        compiler.cache_folder()


@needs_compiler
def test_a_compiler_whose_version_is_not_utf8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talking = tmp_path / "c++"
    talking.write_text("#!/bin/sh\nprintf 'G\\374nther 1.0'\nexit 1\n")
    talking.chmod(0o755)
    monkeypatch.setenv("CXX", str(talking))
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(KernelUnavailable, match=r"failed on fused\.cpp"):
        compiler.load_library(SOURCE, SMALL)


@needs_compiler
def test_a_cache_that_others_may_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies in it is run."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(cache))
    compiler.load_library(SOURCE, SMALL)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    for mode in (0o770, 0o702):
        cache.chmod(mode)
        with pytest.raises(KernelUnavailable, match=f"found mode {mode:04o}"):
            compiler.load_library(SOURCE, SMALL)
    cache.chmod(0o755)
    compiler.load_library(SOURCE, SMALL)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(KernelUnavailable, match="found that of user"):
        compiler.load_library(SOURCE, SMALL)

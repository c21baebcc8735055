"""Compiles the project's C++ on first use, with the user's own compiler, and keeps the libraries in a cache.

The cache folder is `RNNZOO_CACHE_DIR`, or `rnnzoo` in `XDG_CACHE_HOME` or `~/.cache`. A library's file name
is a hash of everything that decides its machine code (sources, flags, compiler, CPU), so a stale one is never
found, and one home directory can serve machines with different CPUs. Beside it stands the library's own
sha256: loading half a library would end the process, so one that does not match is compiled anew. A folder that
others may write in is refused, because what lies there is run.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from rnnzoo.zoo_builder.storage.writing import clear_workspaces, workspace

HEADERS = Path(__file__).parent
"""Headers that every source may include, besides those beside it."""
COMPILERS = ("c++", "g++", "clang++")
"""Tried in this order where `CXX` is not set."""
FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-pthread",
    # After what CXX says, and first among ours, because it undoes what stands before it.
    "-fno-fast-math",
    "-fno-unsafe-math-optimizations",
    # Allowed because they change no value: nothing reads errno or the floating-point exception flags.
    "-fno-math-errno",
    "-fno-trapping-math",
    # The code says itself where it wants a fused multiply-add: see docs/arithmetic.md.
    "-ffp-contract=off",
)
ERROR_LINES = 5
COMPILE_SECONDS = 300


class KernelUnavailable(RuntimeError):
    """No compiled code on this machine. The message says why, and what the compiler said."""


def load_library(source: Path, definitions: Mapping[str, str]) -> ctypes.CDLL:
    """The shared library of a source file, compiled with -Dname=value for every definition.

    Raises KernelUnavailable where there is no compiler, or where it fails.
    """
    library = library_file(source, definitions)
    try:
        _check_private(library.parent)
    except OSError as error:
        raise KernelUnavailable(f"cache folder {library.parent}: cannot be used: {error}") from error
    if not _is_whole(library):
        _compile(find_compiler(), [*_flags(definitions), f"-I{HEADERS}"], source, library)
    try:
        # What compilers put into a library for -ffast-math changes the floating-point environment of the thread
        # that loads it: a thread that ends here.
        with ThreadPoolExecutor(max_workers=1) as loader:
            return loader.submit(ctypes.CDLL, str(library)).result()
    except OSError as error:
        raise KernelUnavailable(f"{library}: compiled, but does not load: {error}") from error


def library_file(source: Path, definitions: Mapping[str, str]) -> Path:
    """Where the library of a source file with these definitions is kept, once it is compiled.

    Raises KernelUnavailable where there is no compiler.
    """
    return cache_folder() / f"{source.stem}-{_fingerprint(find_compiler(), _flags(definitions), source)}.so"


def cell_definition(cell: str) -> dict[str, str]:
    """The definition that makes a source compute this cell, which has a header of its name.

    Raises KernelUnavailable for a cell without one.
    """
    header = HEADERS / "cells" / f"{cell}.h"
    if not header.is_file():
        known = sorted(path.stem for path in header.parent.glob("*.h"))
        raise KernelUnavailable(f"cell: found {cell!r}, expected one that is written in C++: {', '.join(known)}")
    return {"RNNZOO_CELL": f'"cells/{cell}.h"'}


def find_compiler() -> tuple[str, ...]:
    """The command of the C++ compiler: `CXX`, which may hold options, or the first of `COMPILERS` there is."""
    chosen = os.environ.get("CXX")
    try:
        candidates = [tuple(shlex.split(chosen))] if chosen else [(name,) for name in COMPILERS]
    except ValueError as error:
        raise KernelUnavailable(f"C++ compiler: found CXX={chosen}, which is no command: {error}") from error
    for command in candidates:
        if command and shutil.which(command[0]):
            return command
    looked_for = f"CXX={chosen}" if chosen else ", ".join(COMPILERS)
    raise KernelUnavailable(f"C++ compiler: found none (looked for {looked_for}), expected one on the PATH")


def machine_flags() -> list[str]:
    """Flags that let the compiler use all of this CPU."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        # By default compilers split 64-byte vectors in two on CPUs that have them.
        return ["-march=native", "-mprefer-vector-width=512"]
    return ["-mcpu=native"]


def cache_folder() -> Path:
    """Where libraries are kept. Raises KernelUnavailable where the user has no home, or none of that name."""
    chosen = os.environ.get("RNNZOO_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(base) if base else Path.home() / ".cache") / "rnnzoo"
    except RuntimeError as error:
        raise KernelUnavailable(
            f"cache folder: found no home ({error}), expected one, or a folder in RNNZOO_CACHE_DIR"
        ) from error


def _check_private(folder: Path) -> None:
    """Make the cache folder if there is none. Raises KernelUnavailable for one that others own or may write in.

    What lies there is run: others could put a library of their own there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise KernelUnavailable(f"cache folder {folder}: found that of user {found.st_uid}, expected your own")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KernelUnavailable(
            f"cache folder {folder}: found mode {stat.S_IMODE(found.st_mode):04o}, expected one where nobody else "
            "may write: chmod go-w"
        )


def _flags(definitions: Mapping[str, str]) -> list[str]:
    return [*FLAGS, *machine_flags(), *(f"-D{name}={value}" for name, value in definitions.items())]


def _fingerprint(compiler: tuple[str, ...], flags: list[str], source: Path) -> str:
    parts = [shlex.join(compiler), _compiler_version(compiler), _cpu(), *flags]
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in (source, *sorted({*source.parent.glob("*.h"), *HEADERS.rglob("*.h")})):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


@cache
def _compiler_version(compiler: tuple[str, ...]) -> str:
    return _run([*compiler, "--version"]).stdout


@cache
def _cpu() -> str:
    """Model and features of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    # The first of each: model, and features by their names on x86 and on ARM.
    kinds = ("model name", "flags", "Features", "CPU part")
    return "\n".join(next((line for line in lines if line.startswith(kind)), "") for kind in kinds)


def _is_whole(library: Path) -> bool:
    try:
        return _checksum_file(library).read_text(encoding="utf-8") == _sha256(library)
    except (OSError, UnicodeDecodeError):
        return False


def _compile(compiler: tuple[str, ...], flags: list[str], source: Path, library: Path) -> None:
    """Compile in a folder of our own and rename, so that processes that race never see half a library."""
    try:
        clear_workspaces(library)
        with workspace(library) as folder:
            made = folder / library.name
            result = _run([*compiler, *flags, str(source), "-o", str(made)])
            if result.returncode != 0 or not made.is_file():
                raise KernelUnavailable(
                    f"{shlex.join(compiler)} failed on {source.name}:\n{_first_errors(result)}"
                )
            _checksum_file(made).write_text(_sha256(made), encoding="utf-8")
            made.replace(library)
            _checksum_file(made).replace(_checksum_file(library))
    except OSError as error:
        raise KernelUnavailable(f"cache folder {library.parent}: cannot be written: {error}") from error


def _checksum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _first_errors(result: subprocess.CompletedProcess[str]) -> str:
    lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    errors = [line for line in lines if "error" in line] or lines
    return "\n".join(errors[:ERROR_LINES])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=COMPILE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelUnavailable(f"{command[0]}: cannot be run: {error}") from error

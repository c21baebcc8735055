"""Builds of the fused kernel with a driver of its own, and what they make of a problem."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rnnzoo.zoo_builder.compiled.compiler import FLAGS, HEADERS
from rnnzoo.zoo_builder.training.kernels.fused_cpu import SOURCE, definitions_of
from rnnzoo.zoo_builder.training.kernels.self_test import Problem

DRIVER = Path(__file__).with_name("driver.cpp")
WIDE = DRIVER.parent / "wide"
"""A folder to include, with AVX-512 in the compiler's own notation."""
HEADER = "=15q2f"
SECONDS = 300
"""What a compiler, or a program in an emulator, may take."""


@dataclass(frozen=True)
class Build:
    """A way to build the kernel.

    Attributes:
        compiler: Its command.
        flags: After those of the product, but for those that make a library, and for the CPU at hand.
        features: Those that a CPU must have to run it, as in /proc/cpuinfo.
        emulator: The command that runs it where the CPU is of another kind.
        needs: Other commands whose packages have what it takes.
    """

    compiler: str
    flags: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    emulator: str | None = None
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """What this machine lacks, or None."""
        for command in (self.compiler, self.emulator, *self.needs):
            if command and not shutil.which(command):
                return f"{command} is not installed"
        lacking = [feature for feature in self.features if feature not in _cpu_features()]
        return f"this CPU has no {', '.join(lacking)}" if lacking else None

    def results(self, problem: Problem, folder: Path) -> bytes:
        """What this build makes of a problem: the bits that `results_of` gives. `folder` is for its files."""
        program, given, made = (folder / name for name in ("driver", "problem", "results"))
        spec, tokens = problem.state.spec, problem.data.labels is None
        definitions = [f"-D{name}={value}" for name, value in definitions_of(spec, tokens).items()]
        flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
        includes = [f"-I{HEADERS}", f"-I{SOURCE.parent}"]
        static = ["-static"] if self.emulator else []
        _run(self.compiler, *flags, *self.flags, *static, *definitions, *includes, str(DRIVER), "-o", str(program))
        given.write_bytes(problem_bytes(problem))
        _run(*([self.emulator] if self.emulator else []), str(program), str(given), str(made))
        return made.read_bytes()


def problem_bytes(problem: Problem, threads: int = 2) -> bytes:
    """A problem as driver.cpp reads it."""
    state, data = problem.state, problem.data
    form = data.encoding.compiled_form()
    assert form is not None
    _, train_steps, sequences = problem.item_ids.shape
    _, strings, string_steps = problem.uniforms.shape
    header = struct.pack(
        HEADER,
        *(*state.weights.shape, train_steps, sequences, state.step),
        *(*data.items.shape, 0 if data.labels is None else len(data.labels)),
        *(0 if data.views is None else data.views.shape[1], data.steps),
        *(problem.scored_ids.shape[1], strings, string_steps, 0, threads),
        *(form.scale, form.shift),
    )
    arrays = [state.weights, state.first_moment, state.second_moment, data.items, data.labels, data.views]
    arrays += [problem.item_ids, problem.learning_rates, problem.weight_decays, problem.scored_ids]
    arrays += [problem.uniforms]
    return header + b"".join(array.numpy().tobytes() for array in arrays if array is not None)


def _cpu_features() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=os.environ)
    assert done.returncode == 0, f"{command}: {done.stderr}"

"""Computes the digests of the kernel's self-test from docs/arithmetic.md, by `tests/fma1`, and stores them.

    python tests/remake_self_test.py

To be run when the arithmetic gets a new name, or the problems of the self-test change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from fma1 import Fma1Kernel
from fma1.cells import CELLS

from rnnzoo.zoo_builder.training.kernels.base import EXACT_ARITHMETIC
from rnnzoo.zoo_builder.training.kernels.self_test import STORED, digest_of, problem_of, results_of


def make_digests(cells: Iterable[str] = CELLS) -> dict[str, str]:
    """By name, the digest of every problem of these cells."""
    problems = [problem_of(cell, tokens) for cell in cells for tokens in (True, False)]
    return {problem.name: digest_of(results_of(Fma1Kernel(), problem)) for problem in problems}


if __name__ == "__main__":
    STORED.write_text(json.dumps({EXACT_ARITHMETIC: make_digests()}, indent=2) + "\n")

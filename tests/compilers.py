"""Whether there is a C++ compiler here, and a mark for tests that need one."""

from __future__ import annotations

import pytest

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, find_compiler


def compiler_missing() -> str | None:
    """Why there is none, or None where there is one."""
    try:
        find_compiler()
    except KernelUnavailable as error:
        return str(error)
    return None


needs_compiler = pytest.mark.skipif(compiler_missing() is not None, reason=compiler_missing() or "")


def skip_without_compiler() -> None:
    """For fixtures, which take no marks."""
    if missing := compiler_missing():
        pytest.skip(missing)

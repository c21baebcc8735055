"""What this package uses of torch beyond what its documentation promises: nowhere else is there any of it.

pyproject.toml bounds the version, and tests/test_private_parts.py names every part: a release that changes one of
them is seen there first.
"""

from torch._C._functorch import peek_interpreter_stack


def is_inside_transform() -> bool:
    """Whether this runs inside `torch.func.vmap`, `grad` or another transform."""
    return peek_interpreter_stack() is not None

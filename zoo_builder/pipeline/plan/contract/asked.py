"""A family that is asked for something: what fails is named."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from rnnzoo.zoo_builder.errors import blaming
from rnnzoo.zoo_builder.tasks.family import TaskFamily


class Asked:
    """Stands for a family; whatever an attribute or method of it raises becomes a RnnzooError that names it."""

    def __init__(self, family: TaskFamily[Any]) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Any:
        with blaming(name):
            found = getattr(self._family, name)
        return _named(name, found) if callable(found) and not isinstance(found, type) else found


def _named(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def asked(*given: Any) -> Any:
        with blaming(name):
            return method(*given)

    return asked


def described(values: object) -> str:
    """What was found, in words: dtype and shape of an array or tensor, else the type."""
    if values is None:
        return "none"
    if hasattr(values, "dtype") and hasattr(values, "shape"):
        return f"{str(values.dtype).removeprefix('torch.')} of shape {list(values.shape)}"
    return f"a {type(values).__name__}"

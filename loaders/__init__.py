"""Reading zoos, encoding their weights, and the benchmark."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnzoo.loaders.loading import load_zoo
    from rnnzoo.loaders.zoo import Zoo

__all__ = ["Zoo", "load_zoo"]

_HOME = {"Zoo": "rnnzoo.loaders.zoo", "load_zoo": "rnnzoo.loaders.loading"}


def __getattr__(name: str) -> Any:
    """Import the two when they are asked for: `rnnzoo.loaders` has rooms that need no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

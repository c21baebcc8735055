"""Reading zoos, encoding their weights, and the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnzoo.loaders.zoo import Zoo, load_zoo

__all__ = ["Zoo", "load_zoo"]


def __getattr__(name: str) -> Any:
    """Import the two when they are asked for: `rnnzoo.loaders` has rooms that need no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rnnzoo.loaders import zoo

    return getattr(zoo, name)

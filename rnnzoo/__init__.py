"""Model zoos of recurrent networks: build, store, stream and benchmark RNN weights.

`rnnzoo.zoo_builder` trains and stores zoos, `rnnzoo.loaders` reads and benchmarks them. What most users need
stands here; it is imported when it is first asked for, so that `import rnnzoo` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnzoo.loaders.benchmark.evaluation import evaluate
    from rnnzoo.loaders.loading import load_zoo
    from rnnzoo.loaders.zoo import Zoo
    from rnnzoo.zoo_builder import rnn

__version__ = "0.1.0"
__all__ = ["Zoo", "__version__", "evaluate", "load_zoo", "rnn"]

_HOME = {
    "Zoo": "rnnzoo.loaders.zoo",
    "evaluate": "rnnzoo.loaders.benchmark.evaluation",
    "load_zoo": "rnnzoo.loaders.loading",
    "rnn": "rnnzoo.zoo_builder",
}
"""Public name -> the module or package that has it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME[name])
    return getattr(home, name) if hasattr(home, name) else import_module(f"{_HOME[name]}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

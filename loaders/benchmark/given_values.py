"""What an object of the user's program holds: a digest of its values, and what classes and functions it is of."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import uuid
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCALARS = (np.generic, np.dtype, torch.dtype, torch.device)
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def digest_values(value: object) -> tuple[str, list[type | FunctionType]]:
    """A digest of all values that an object holds, and of those that its functions close over.

    Args:
        value: Any object.

    Returns:
        16 hexadecimal digits, which are never the same twice for an object with a part that tells nothing of
            itself; and the classes and functions in it, whose code is not in the digest.
    """
    walk = _Walk()
    walk.add(value)
    return walk.hash.hexdigest()[:16], walk.made


def digest_known(value: object, is_own: Callable[[str], bool]) -> tuple[str | None, list[type | FunctionType]]:
    """The same of a value that is made of numbers, texts, arrays, and containers and objects of these.

    Args:
        value: Any object.
        is_own: Whether the module of a name is of the user's own. Objects may be of classes of such modules, of
            Python itself, or of data classes.

    Returns:
        As `digest_values`, with None for a value that has a part of another kind, or one that tells nothing of
            itself.
    """

    def is_known(kind: type) -> bool:
        module = kind.__module__
        is_plain = module.partition(".")[0] in sys.stdlib_module_names or is_own(module)
        return is_plain or dataclasses.is_dataclass(kind) or issubclass(kind, SCALARS)

    walk = _Walk(is_known)
    walk.add(value)
    return walk.hash.hexdigest()[:16] if walk.tells else None, walk.made


class _Walk:
    """Goes through an object and what it refers to, each part once. is_known: which classes objects may have."""

    def __init__(self, is_known: Callable[[type], bool] = lambda _: True) -> None:
        self.hash = hashlib.sha256()
        self.tells = True
        self._is_known = is_known
        self.made: list[type | FunctionType] = []
        self._met: dict[int, tuple[int, object]] = {}

    def add(self, value: Any) -> None:
        if isinstance(value, PLAIN):
            self._tell(type(value).__name__, repr(value))
            return
        if id(value) in self._met:
            self._tell("again", self._met[id(value)][0])
            return
        self._met[id(value)] = len(self._met), value  # kept, so that no other object gets its id
        if isinstance(value, Tensor | np.ndarray):
            self._add_array(value)
        elif isinstance(value, list | tuple):
            self._tell(type(value).__name__, len(value))
            self._add_all(*value)
        elif type(value) is dict:
            self._tell("dict", len(value))
            self._add_all(*value, *value.values())
        elif isinstance(value, set | frozenset):
            self._tell("set", sorted(digest_values(each)[0] for each in value))
        elif isinstance(value, ModuleType):
            self._tell("module", value.__name__)
        elif isinstance(value, type | FunctionType | BuiltinFunctionType):
            self._add_named(value)
        elif isinstance(value, MethodType):
            self._add_all(value.__func__, value.__self__)
        else:
            self._add_object(value)

    def _add_all(self, *values: Any) -> None:
        for value in values:
            self.add(value)

    def _tell(self, *words: object) -> None:
        self.hash.update(f"{words!r}\n".encode())

    def _tell_nothing(self) -> None:
        self.tells = False
        self._tell(uuid.uuid4())

    def _add_array(self, value: Tensor | NDArray[Any]) -> None:
        try:
            data = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(value.copy())
            content = data.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        except (TypeError, RuntimeError, NotImplementedError):  # of a kind that has no bytes, such as sparse ones
            self._tell_nothing()
            return
        self._tell(
            type(value).__name__, str(value.dtype), tuple(value.shape), getattr(value, "requires_grad", False)
        )
        self.hash.update(content)

    def _add_named(self, value: type | FunctionType | BuiltinFunctionType) -> None:
        self._tell(value.__module__, value.__qualname__)
        if not isinstance(value, BuiltinFunctionType):
            self.made.append(value)
        if isinstance(value, FunctionType):
            self._add_all(value.__defaults__, value.__kwdefaults__)
            for cell in value.__closure__ or ():
                self.add(cell.cell_contents)

    def _add_object(self, value: Any) -> None:
        """By what pickle would take of it."""
        if not self._is_known(type(value)):
            self._tell_nothing()
            return
        try:
            parts = value.__reduce_ex__(2)
        except Exception:  # of whatever kind: many objects cannot be pickled
            self._tell_nothing()
            return
        self.add(parts if isinstance(parts, str) else [*parts[:3], *map(list, filter(None, parts[3:5]))])

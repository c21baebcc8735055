"""What an object of the user's program holds: a digest of its values, and what classes and functions it is of."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
import uuid
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAIN = "__main__"
"""The module of a notebook, or of the file that Python was started with."""
SCALARS = (np.generic, np.dtype, torch.dtype, torch.device)
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def digest_values(value: object) -> tuple[str, list[type | FunctionType]]:
    """A digest of all values that an object holds, and of those that its functions close over.

    Args:
        value: Any object.

    Returns:
        16 hexadecimal digits, which are never the same twice for an object with a part that tells nothing of
            itself; and the classes and functions in it. The code of functions is in the digest, that of classes
            where their name does not lead to it.
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


def function_in(value: Any) -> FunctionType | None:
    """The function that stands in a class or module, whatever of Python's own it is wrapped in."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif not isinstance(value, FunctionType):  # functools.cache
        value = inspect.getattr_static(value, "__wrapped__", None)
    return value if isinstance(value, FunctionType) else None


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
        elif isinstance(value, CodeType):
            self._add_code(value)
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
            self._add_code(value.__code__)
            self._add_all(value.__defaults__, value.__kwdefaults__)
            for cell in value.__closure__ or ():
                self.add(content_of(cell))
        elif isinstance(value, type) and not _is_named(value):
            self._add_all(*value.__bases__)
            for name, function in sorted(vars(value).items()):
                if (found := function_in(function)) is not None:
                    self._tell(name)
                    self._add_code(found.__code__)

    def _add_code(self, code: CodeType) -> None:
        """What it does, wherever it stands: many functions may have one name, and stand in one line."""
        self._tell(code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self._tell(code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self._add_all(*code.co_consts)

    def _add_object(self, value: Any) -> None:
        """By what pickle would take of it."""
        if not self._is_known(type(value)):
            self._tell_nothing()
            return
        if (within := function_in(value)) is not None:  # pickle takes it by its name
            self.add(within)
        try:
            parts = value.__reduce_ex__(2)
        except Exception:  # of whatever kind: many objects cannot be pickled
            self._tell_nothing()
            return
        self.add(parts if isinstance(parts, str) else [*parts[:3], *map(list, filter(None, parts[3:5]))])


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """A code object, and those of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def content_of(cell: Any) -> Any:
    """Of a variable that a function closes over; None where it is empty yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_named(value: type) -> bool:
    """Whether a class is what stands under its name in its file, so that the file says what it is."""
    found: Any = None if value.__module__ == MAIN else sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = inspect.getattr_static(found, name, None)
    return found is value

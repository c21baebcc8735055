"""Values that the user's functions name, as the running program has them: files do not say what was changed later.

They are globals of the user's own modules, and attributes of the user's own classes. Told are numbers, texts,
arrays, and containers and objects of these; not what says nothing of itself, such as a lock, nor objects of other
packages, such as an open zoo. What the functions themselves write to, such as a cache, follows from their source.
"""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import Any

from rnnzoo.loaders.benchmark.given_values import (
    MAIN,
    codes_in,
    content_of,
    digest_known,
    digest_values,
    function_in,
)

PROGRAM = " (program)"
"""In the names of what the file defines that Python was started with."""
VALUE = " (value)"
"""In the names of values of other modules."""
GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL"}
"""Instructions that name a global."""
CHANGING = {"add", "append", "clear", "extend", "insert", "pop", "setdefault", "update"}
"""Methods of containers that change them."""
IsOwn = Callable[[str], bool]


class NamedValues:
    """Follows functions and classes of the user's to the values that they name.

    Args:
        is_own: Whether the module of a name is of the user's own.

    Attributes:
        digests: "module:name (value)", or "name (program)" -> 16 digits that stand for the value.
        met: The user's classes and functions on the way.
    """

    def __init__(self, is_own: IsOwn) -> None:
        self.digests: dict[str, str] = {}
        self.met: list[type | FunctionType] = []
        self._is_own = is_own
        self._waiting: list[type | FunctionType] = []
        self._seen: dict[int | str, object] = {}
        self._changed: set[str] = set()

    def follow(self, objects: Iterable[type | FunctionType]) -> None:
        """Add what classes and functions name, and what that names."""
        self._waiting += objects
        while self._waiting:
            value = self._waiting.pop(0)
            if id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            if isinstance(value, FunctionType):
                self._add_function(value)
            elif self._is_own(value.__module__):
                self._add_class(value)
        for label in self._changed & self.digests.keys():
            del self.digests[label]

    def add(self, module: str, name: str, value: Any, attributes: Iterable[str] = ()) -> None:
        """Add the value of a global, or what it leads to. attributes: those that are taken of a module."""
        label = _label(module, name)
        if label in self._seen or not self._is_own(module):
            return
        self._seen[label] = value
        if isinstance(value, ModuleType):
            for each in sorted(set(attributes) & vars(value).keys()):
                self.add(value.__name__, each, vars(value)[each], attributes)
            return
        self._wait_for(value)
        if (digest := self._digest(module, name, value)) is not None and _has_file(module):
            self.digests[label] = digest

    def _wait_for(self, value: Any) -> None:
        found = value if isinstance(value, type) else function_in(value)
        if found is not None:
            self._waiting.append(found)

    def _digest(self, module: str, name: str, value: Any) -> str | None:
        """Of a value; of a function that its file does not tell: one that stands there under another name than its
        own, or in the program, where the name may be given again; else None.
        """
        function = function_in(value)
        if function is not None:
            is_plain = (function.__module__, function.__qualname__) == (module, name) and module != MAIN
            return None if is_plain or not self._is_own(function.__module__) else told(function, self._is_own)
        if isinstance(value, type):
            return None
        digest, parts = digest_known(value, self._is_own)
        self._waiting += parts
        return digest

    def _add_function(self, function: FunctionType) -> None:
        module = str(function.__globals__.get("__name__"))
        for within in (*map(content_of, function.__closure__ or ()), getattr(function, "__wrapped__", None)):
            self._wait_for(within)
        if not self._is_own(module):
            return
        self.met.append(function)
        attributes = {name for code in codes_in(function.__code__) for name in code.co_names}
        names = globals_in(function.__code__)
        self._changed |= {_label(module, name) for name in names & _changed_by(function)}
        for name in sorted(names & function.__globals__.keys()):
            self.add(module, name, function.__globals__[name], attributes)

    def _add_class(self, made: type) -> None:
        self.met.append(made)
        self._waiting += made.__bases__
        for value in vars(made).values():
            self._wait_for(value)
        digest, parts = class_digest(made, self._is_own)
        self._waiting += parts
        if digest is not None and _has_file(made.__module__):
            self.digests[_label(made.__module__, made.__qualname__)] = digest


def class_digest(made: type, is_own: IsOwn) -> tuple[str | None, list[type | FunctionType]]:
    """What the attributes of a class come to, apart from the functions that its source has.

    Args:
        made: The class.
        is_own: Whether the module of a name is of the user's own.

    Returns:
        16 digits for all attributes that tell of themselves, and for the functions that its file does not tell:
            those that were put in the place of its own, and all of a class of the program, whose name may be given
            again; None without any. And the classes and functions in them.
    """
    found: dict[str, str] = {}
    parts: list[type | FunctionType] = []
    functions = {name: function for name, value in vars(made).items() if (function := function_in(value))}
    is_program = made.__module__ == MAIN and _has_file(MAIN)
    changed = {name for function in functions.values() for name in _changed_by(function)}
    for name, value in vars(made).items():
        if name in functions:
            function = functions[name]
            own = made.__module__, f"{made.__qualname__}.{name}"
            if (function.__module__, function.__qualname__) != own or is_program:
                found[name] = told(function, is_own)
                parts.append(function)
        elif not name.startswith(("__", "_abc_")) and name not in changed:
            digest, within = digest_known(value, is_own)
            parts += within
            if digest is not None:
                found[name] = digest
    return (digest_values(sorted(found.items()))[0] if found else None), parts


def value_here(label: str, is_own: IsOwn) -> str | None:
    """The digest that a value has in this process.

    Args:
        label: One of `NamedValues.digests`, of a module that is imported.
        is_own: Whether the module of a name is of the user's own.

    Returns:
        16 digits, or "none" for what tells nothing of itself here; None where there is no such value.
    """
    module, _, path = label.removesuffix(VALUE).partition(":")
    value: Any = sys.modules.get(module)
    for name in path.split("."):
        if not isinstance(value, ModuleType | type) or name not in vars(value):
            return None
        value = vars(value)[name]
    if isinstance(value, type):
        return class_digest(value, is_own)[0] or "none"
    function = function_in(value)
    return told(function, is_own) if function is not None else digest_known(value, is_own)[0] or "none"


def _label(module: str, name: str) -> str:
    return f"{name}{PROGRAM}" if module == MAIN else f"{module}:{name}{VALUE}"


def _has_file(module: str) -> bool:
    """Values of a notebook are told with its cells."""
    return getattr(sys.modules.get(module), "__file__", None) is not None


def told(function: FunctionType, is_own: IsOwn) -> str:
    """What a function does, with what of its defaults, and of the values it closes over, tells of itself."""
    known, _ = digest_known(function, is_own)
    return known or digest_values([function.__module__, function.__qualname__, function.__code__])[0]


def globals_in(code: CodeType) -> set[str]:
    """Names of the globals that a function, and the functions within, read or write."""
    within = (each for one in codes_in(code) for each in dis.get_instructions(one))
    return {each.argval for each in within if each.opname in GLOBALS}


def _changed_by(function: FunctionType) -> set[str]:
    """Names of globals, and of attributes, that a function writes to."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source, or a part of a line
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found.update(_last_name(node.value))
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            found.update(() if isinstance(node.value, ast.Name) and node.value.id == "self" else [node.attr])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            found.update(_last_name(node.func.value))
    return found


def _last_name(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    return [node.attr] if isinstance(node, ast.Attribute) else []

"""The source files that a result comes from.

They are found by following imports, from the encoder, from the family of the zoo's tasks and from what does a
job: all files of the user's own, and of this package those in the rooms that decide scores (`DECIDING`). Of other
packages the versions are told. Values that the running program has changed are told beside them
(`named_values.py`). What is imported by a name that is made up while the program runs is not found, nor are data
that an encoder reads.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from rnnzoo.loaders.benchmark.given_values import MAIN, codes_in, content_of, digest_values, function_in
from rnnzoo.loaders.benchmark.named_values import (
    PROGRAM,
    VALUE,
    NamedValues,
    class_digest,
    globals_in,
    told,
    value_here,
)
from rnnzoo.loaders.benchmark.same_scores import scores_like
from rnnzoo.loaders.encoders.base import importing_from
from rnnzoo.loaders.encoders.names import split_location
from rnnzoo.zoo_builder.errors import RnnzooError

JOB = "rnnzoo.loaders.benchmark.jobs"
DECIDING = (
    JOB,
    "rnnzoo.loaders.benchmark.prediction",
    "rnnzoo.loaders.benchmark.protocol",
    "rnnzoo.loaders.benchmark.tracks",
    "rnnzoo.loaders.emulation",
    "rnnzoo.loaders.encoders",
    "rnnzoo.loaders.loaded_zoo",
    "rnnzoo.loaders.population",
    "rnnzoo.loaders.training",
    "rnnzoo.loaders.training_config",
    "rnnzoo.zoo_builder.compiled",
    "rnnzoo.zoo_builder.random_streams",
    "rnnzoo.zoo_builder.rnn",
    "rnnzoo.zoo_builder.tasks",
)
"""Modules, and packages with all that is in them, whose change may change a score. How files are read and written
is not among them: what is in a zoo is said by its digest."""
REGISTRIES = {"rnnzoo.loaders.encoders", "rnnzoo.loaders.encoders.names", "rnnzoo.zoo_builder.tasks"}
"""Modules in these packages that only say what there is: a new entry changes no score."""
COMPILED = "rnnzoo.zoo_builder.compiled"
"""The package whose C++ stands beside its modules."""
NOTEBOOK_CELL = " (notebook"
"""In the names of what is defined in a notebook."""

_seen: dict[str, tuple[ModuleSpec, str]] = {}
"""Module of the user's -> how it was imported, and the digest of its file when it was first looked at."""


def code_of(location: str | None, *made: object) -> tuple[dict[str, str], dict[str, str]]:
    """The source that decides the results of an encoder, and the packages that the user's files import.

    Args:
        location: The encoder's "module:class"; None for one that was made from an object.
        made: The encoder, classes and functions that it is made of, and the family of the zoo's tasks.

    Returns:
        File -> 16 digits of its SHA-256, or of that of an earlier file that `scores_like` it, those of the encoder
            first, and the same of `NamedValues`; and package -> version.

    Raises:
        RnnzooError: A file of the user's was edited after this process imported it.
    """
    home = split_location(location or ":")
    parts = [one if isinstance(one, type | FunctionType) else type(one) for one in made]
    walk = _Walk(home.module.partition(".")[0])
    with importing_from(home.folder):
        walk.follow(filter(None, [home.module, *(each.__module__ for each in parts), JOB]))
        values = NamedValues(walk.is_users)
        if (located := getattr(sys.modules.get(home.module), home.attribute, None)) is not None:
            values.add(home.module, home.attribute, located)
        values.follow(parts)
        walk.follow(each.__module__ for each in values.met)
        if walk.notebook is not None:
            named = [vars(walk.notebook)[home.attribute]] if home.module == MAIN else []
            others = [each for each in values.met if isinstance(each, type) or "." not in each.__qualname__]
            objects = [*named, *(each for each in (*parts, *others) if each.__module__ == MAIN)]
            walk.follow(_Notebook(walk.notebook, walk.code, walk.is_users).read(objects))
    return walk.code | values.digests, _versions(walk.packages)


def code_here(location: str | None, code: Mapping[str, str]) -> dict[str, str]:
    """The source files of a result as they are for this process.

    Args:
        location: The encoder's, as for `code_of`.
        code: What `code_of` found, in another process or on another machine.

    Returns:
        The same, with the digests of the files and values that are found here. What is defined in a notebook, or
            in the program itself, is sent to other processes, and is the same there.

    Raises:
        RnnzooError: As for `code_of`.
    """
    home = split_location(location or ":")
    walk = _Walk(home.module.partition(".")[0])
    with importing_from(home.folder):
        for file in code:
            if file.endswith(VALUE):
                with contextlib.suppress(ImportError):  # of what is not found here the job will tell
                    importlib.import_module(file.partition(":")[0])
                    here = value_here(file, walk.is_users)
                    walk.code |= {} if here is None else {file: here}
            elif PROGRAM not in file and NOTEBOOK_CELL not in file:
                walk.read(file.rpartition(".")[0].removesuffix("/__init__").replace("/", "."))
    return {file: walk.code.get(file, digest) for file, digest in code.items()}


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """Name of the distribution -> version, of some packages."""
    if not packages:
        return {}
    distributions = importlib.metadata.packages_distributions()  # takes a good part of a second
    names = {name for package in packages for name in distributions.get(package, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class _Walk:
    """Follows imports from module to module. home: the encoder's top package, or its module."""

    def __init__(self, home: str) -> None:
        self.code: dict[str, str] = {}
        self.packages: dict[str, None] = {}
        self.notebook: ModuleType | None = None
        self._own = {home: True, MAIN: True, "rnnzoo": False}
        self._installed: set[str] = set()
        self._met: set[str] = set()

    def follow(self, names: Iterable[str]) -> None:
        """Add some modules, and what they import."""
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            if name not in self._met:
                self._met.add(name)
                waiting += self.read(name) if self._is_own(name) else []

    def read(self, name: str) -> list[str]:
        """Add the file of a module; returns the names of those that it may import."""
        path, is_package = _file_of(name)
        if path is None and name == MAIN:
            self.notebook = sys.modules[MAIN]
        if path is None:
            return []
        content = path.read_bytes()
        label, digest = _label(name, path, is_package), _digest(content)
        ours = name.startswith("rnnzoo.")  # of the packages that it needs, a key has those that matter
        self.code[label] = scores_like(label, digest) if ours else digest
        if ours:
            self._add_compiled(name, path)
        else:
            _check_is_imported(name, path, content)
        if path.suffix != ".py":
            return []
        imports = _imports(ast.parse(content), name if is_package else name.rpartition(".")[0])
        return [each for each in imports if each.startswith("rnnzoo.") or not ours]

    def is_users(self, name: str) -> bool:
        """Whether a module is of the user's own."""
        top = name.partition(".")[0]
        if top not in self._own:
            place = None if top in sys.stdlib_module_names else _place(top)
            self._own[top] = place is not None and not {"site-packages", "dist-packages"} & set(place.parts)
            if place is not None and not self._own[top]:
                self._installed.add(top)
        return self._own[top]

    def _is_own(self, name: str) -> bool:
        """Whether a module is of the user's own, or of this package and decides scores."""
        top = name.partition(".")[0]
        if top == "rnnzoo":
            return name not in REGISTRIES and any(f"{name}.".startswith(f"{room}.") for room in DECIDING)
        is_own = self.is_users(name)
        if top in self._installed:
            self.packages[top] = None
        return is_own

    def _add_compiled(self, name: str, path: Path) -> None:
        if name == COMPILED:
            for source in sorted(path.parent.rglob("*")):
                if source.suffix in (".cpp", ".h"):
                    file = source.relative_to(path.parent).as_posix()
                    self.code[f"{COMPILED.replace('.', '/')}/{file}"] = _digest(source.read_bytes())


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):  # no module, or one without a spec
        return None


def _place(top: str) -> Path | None:
    """The file, or one folder, of a top package or module."""
    spec = _spec(top)
    if spec is None:
        return None
    found = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return None if found is None else Path(found)


def _file_of(name: str) -> tuple[Path | None, bool]:
    """The file of a module, if it has one, and whether it is a package."""
    loaded = sys.modules.get(name)
    spec = loaded.__spec__ if loaded is not None and loaded.__spec__ is not None else None
    found = getattr(loaded, "__file__", None)
    if loaded is None and (spec := _spec(name)) is not None:
        found = spec.origin
    path = None if found is None else Path(found)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return (path if path is not None and path.is_file() else None), is_package


def _label(name: str, path: Path, is_package: bool) -> str:
    if name == MAIN:
        return f"{path.name}{PROGRAM}"
    return name.replace(".", "/") + ("/__init__" if is_package else "") + path.suffix


def _imports(tree: ast.AST, package: str) -> list[str]:
    """Names of all modules that a source may import, also within functions; some of them name no module."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [prefix for name in found for prefix in _with_parents(name)]


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _check_is_imported(name: str, path: Path, content: bytes) -> None:
    """Raise RnnzooError if this process runs another source of a module of the user's than that on the disk."""
    module = sys.modules.get(name)
    if module is None or module.__spec__ is None:
        return
    spec, digest = _seen.get(name, (None, ""))
    if spec is not module.__spec__:
        digest = _digest(content)
        _seen[name] = module.__spec__, digest
    if digest != _digest(content) or not _is_as_loaded(module, path, content):
        raise RnnzooError(
            f"{path}: was edited after this process imported it; expected a new process, or "
            f"importlib.reload({name})"
        )


def _is_as_loaded(module: ModuleType, path: Path, content: bytes) -> bool:
    """Whether all functions of a module are those of its file; values outside of functions leave no trace."""
    if not module.__spec__ or type(module.__spec__.loader) is not SourceFileLoader:  # pytest compiles its own way
        return True
    on_disk = set(codes_in(compile(content, str(path), "exec", dont_inherit=True)))
    return all(
        function.__code__ in on_disk
        for function in _functions(vars(module).values(), module.__name__)
        if function.__module__ == module.__name__ and function.__code__.co_filename == str(module.__file__)
    )


def _functions(values: Iterable[Any], home: str) -> Iterator[FunctionType]:
    """The functions among values, and those in the classes among them that a module defines itself."""
    waiting, classes = list(values), set[int]()
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, type) and value.__module__ == home and id(value) not in classes:
            classes.add(id(value))
            waiting[:0] = vars(value).values()
        found = function_in(value)
        if found is not None and isinstance(plain := inspect.unwrap(found), FunctionType):
            yield plain


class _Notebook:
    """What is defined in a notebook: code of functions, text of classes. code: name -> digest, added to."""

    def __init__(self, main: ModuleType, code: dict[str, str], is_own: Callable[[str], bool]) -> None:
        self._main, self._code, self._is_own = main, code, is_own
        self._imports: list[str] = []

    def read(self, objects: list[object]) -> list[str]:
        """Add the code of some objects, and of all that they use; returns the modules they import."""
        waiting = [(getattr(each, "__name__", MAIN), each) for each in objects]
        met: dict[int, object] = {}
        while waiting:
            name, value = waiting.pop(0)
            value = function_in(value) or value
            if id(value) in met:
                continue
            met[id(value)] = value
            parts: list[type | FunctionType] = []
            if isinstance(value, ModuleType):
                self._imports.append(value.__name__)
            elif isinstance(value, type | FunctionType) and value.__module__ != MAIN:
                self._imports.append(value.__module__)
            elif isinstance(value, FunctionType):
                self._add(name, told(value, self._is_own))
                waiting += self._named_by(value)
            elif isinstance(value, type):
                text, tree = _definition(value)
                changed, parts = class_digest(value, self._is_own)
                if not text:
                    changed, parts = digest_values(_attributes(value))
                self._add(name, f"{text}{changed or ''}")
                used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
                waiting += self._globals(used)
                self._imports += _imports(tree, "")
            else:
                digest, parts = digest_values(value)
                self._add(name, digest)
            waiting += [(each.__qualname__, each) for each in parts]
        return self._imports

    def _add(self, name: str, content: str) -> None:
        """Several things may have one name, such as lambdas."""
        label = f"{name}{NOTEBOOK_CELL})"
        self._code[label] = _digest(f"{self._code.get(label, '')}{content}".encode())

    def _named_by(self, function: FunctionType) -> list[tuple[str, Any]]:
        """The globals that a function names; the modules that it may import itself are added."""
        base = ""
        for code in codes_in(function.__code__):
            for each in dis.get_instructions(code):
                if each.opname == "IMPORT_NAME":
                    base = each.argval
                    self._imports += _with_parents(base)
                elif each.opname == "IMPORT_FROM":
                    self._imports.append(f"{base}.{each.argval}")
        within = [content_of(cell) for cell in function.__closure__ or ()]
        functions = [(each.__qualname__, each) for each in within if isinstance(each, type | FunctionType)]
        return [*functions, *self._globals(globals_in(function.__code__))]

    def _globals(self, names: set[str]) -> list[tuple[str, Any]]:
        return [(each, vars(self._main)[each]) for each in sorted(names & vars(self._main).keys())]


def _definition(value: type) -> tuple[str, ast.AST]:
    """The text that defines a class of a notebook, and its syntax.

    The text is empty where it is not kept, or where no function leads to it, as of many data classes.
    """
    own = f"{value.__qualname__}."  # other cells may have put functions into it
    codes = [each.__code__ for each in _functions([value], MAIN) if each.__qualname__.startswith(own)]
    cells = {code: "".join(linecache.getlines(code.co_filename)) for code in codes}
    line, cell = next(((code.co_firstlineno, cell) for code, cell in cells.items() if cell), (0, ""))
    tree = ast.parse(cell)
    for node in [each for each in ast.walk(tree) if isinstance(each, ast.ClassDef)]:
        if node.name == value.__name__ and node.lineno <= line <= (node.end_lineno or 0):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return "".join(cell.splitlines(keepends=True)[first - 1 : node.end_lineno]), node
    return cell, tree


def _attributes(value: type) -> list[object]:
    """What a class is made of: its bases, its functions and its values."""
    own = {name: function_in(each) or each for name, each in vars(value).items()}
    own = {name: each for name, each in own.items() if isinstance(each, FunctionType) or name[:2] != "__"}
    return [value.__bases__, {name: each for name, each in own.items() if not name.startswith("_abc_")}]

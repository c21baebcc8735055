"""What the RNNs of the zoos learn: a family of tasks is one folder here, and one line in `FAMILIES`.

A family of another package is found by an entry point of the group `rnnzoo.families`, in its pyproject.toml:

    [project.entry-points."rnnzoo.families"]
    my_family = "my_package.my_family:MyFamily"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError, blaming
from rnnzoo.zoo_builder.plugins import places_of, warn_once
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily
from rnnzoo.zoo_builder.tasks.target import Target

FAMILIES: dict[str, str] = {
    "formal_languages": "rnnzoo.zoo_builder.tasks.formal_languages.family:FormalLanguages",
    "sequential_images": "rnnzoo.zoo_builder.tasks.sequential_images.family:SequentialImages",
    "combination_locks": "rnnzoo.zoo_builder.tasks.combination_locks.family:CombinationLocks",
}
"""Name -> module:class, imported when it is asked for."""
ENTRY_POINTS = "rnnzoo.families"
NEEDED = ("zoos", "encoding", "output_size", "generates", "task_columns")
"""Attributes of a family that have no default."""
TYPES: dict[str, tuple[type, str]] = {
    "zoos": (Mapping, "a dict from names to NamedZoo"),
    "encoding": (Encoding, "an object of a class of Encoding"),
    "output_size": (int, "a whole number from 1 on"),
    "generates": (bool, "True or False"),
    "task_columns": (pa.Schema, "pa.schema([column(...), ...])"),
    "score_columns": (pa.Schema, "pa.schema([column(...), ...])"),
    "shown_column": (pa.Field, "column(...)"),
    "targets": (tuple, "a tuple of Target"),
    **dict.fromkeys(("inputs_caption", "items_text", "labels_text"), (str, "a text")),
}
"""Attributes of a family -> what they are, and how to write it."""
ZOO_TYPES: dict[str, tuple[Any, str]] = {
    "defaults": (Mapping, "a dict of fields of the config"),
    **dict.fromkeys(("title", "notice", "derived_from", "personal"), (str, "a text")),
    **dict.fromkeys(("licenses", "tags"), ((tuple, list), "a tuple of texts")),
}
"""Attributes of a `NamedZoo`, likewise."""


def family_names() -> dict[str, str]:
    """All families that are installed: name -> module:class. The product's own come first, and stay its own."""
    return FAMILIES | {name: places[0] for name, places in places_of(ENTRY_POINTS).items() if name not in FAMILIES}


@cache
def find_family(name: str) -> type[TaskFamily[Any]]:
    """The family of this name. Raises RnnzooError for one that is not installed, cannot be imported, or is two."""
    known = FAMILIES if name in FAMILIES else family_names()
    if name not in known:
        raise RnnzooError(f"family: found {name!r}, expected one of {', '.join(known)}")
    if name not in FAMILIES and len(places := places_of(ENTRY_POINTS)[name]) > 1:
        raise RnnzooError(f"family: found {name!r} in {' and in '.join(places)}, expected one package that has it")
    module, _, attribute = known[name].partition(":")
    try:
        family = getattr(import_module(module), attribute)
    except Exception as error:  # whatever goes wrong in a module of somebody else
        raise RnnzooError(f"family: {name!r} could not be imported from {known[name]}: {error}") from error
    is_family = isinstance(family, type) and issubclass(family, TaskFamily)
    if not is_family or getattr(family, "name", None) != name:
        raise RnnzooError(f"family: found {known[name]} under the name {name!r}, expected a TaskFamily so called")
    lacking = [attribute for attribute in NEEDED if not hasattr(family, attribute)]
    if missing := [*lacking, *sorted(family.__abstractmethods__)]:
        raise RnnzooError(f"family: {name!r}: {known[name]} has no {', '.join(missing)}")
    try:
        check_attributes(family)
    except RnnzooError as error:
        raise RnnzooError(f"family {name!r}: {error}") from error.__cause__ or error
    return family


def check_attributes(family: type[TaskFamily[Any]]) -> None:
    """Raise RnnzooError, naming the attribute, unless a family's attributes are of the types they have to be."""
    for name, (kind, expected) in TYPES.items():
        with blaming(name):
            found = getattr(family, name)
        fits = type(found) is int and found > 0 if kind is int else isinstance(found, kind)
        if not fits:
            raise RnnzooError(f"{name}: found {found!r:.200}, expected {expected}")
    for zoo, named in family.zoos.items():
        if not isinstance(zoo, str) or not isinstance(named, NamedZoo):
            raise RnnzooError(f"zoos: {zoo!r}: found {named!r:.200}, expected {TYPES['zoos'][1]}")
        for name, (kinds, expected) in ZOO_TYPES.items():
            said = getattr(named, name)
            if not isinstance(said, kinds) or not all(isinstance(each, str) for each in said):
                raise RnnzooError(f"zoos: {zoo!r}: {name}: found {said!r:.200}, expected {expected}")
    if others := [target for target in family.targets if not isinstance(target, Target)]:
        raise RnnzooError(f"targets: found {others[0]!r:.200}, expected {TYPES['targets'][1]}")


def load_family(
    family: type[TaskFamily[Any]], source: str | None, items_folder: Path | None = None
) -> TaskFamily[Any]:
    """A family with the items of a source: see `TaskFamily.load`.

    Raises:
        ParameterError: `items_folder` is no folder.
        RnnzooError: The items cannot be found or read, or whatever else goes wrong in `load`.
    """
    where = f"family {family.name!r}: load"
    try:
        with blaming(where):
            made = family.load(source, items_folder)
    except RnnzooError as error:
        if items_folder is None or items_folder.is_dir():
            raise
        found = "a file" if items_folder.exists() else "nothing"
        raise ParameterError("items_folder", f"found {found} at {items_folder}, expected a folder") from error
    if not isinstance(made, TaskFamily):
        raise RnnzooError(f"{where}: found {made!r:.80}, expected the family with its items")
    return made


def installed_families() -> Iterator[type[TaskFamily[Any]]]:
    """All families that can be imported; of each other one, a warning says why not, once a process."""
    for name in places_of(ENTRY_POINTS).keys() & FAMILIES.keys():
        found = places_of(ENTRY_POINTS)[name][0]
        warn_once(f"family: {name!r} of {found} is left out, the product has this name; expected another")
    for name in family_names():
        try:
            yield find_family(name)
        except RnnzooError as error:
            warn_once(str(error))


class _Zoos(Mapping[str, tuple[type[TaskFamily[Any]], NamedZoo]]):
    """All zoos that can be built by name -> their family, and what it says of them."""

    def __getitem__(self, name: str) -> tuple[type[TaskFamily[Any]], NamedZoo]:
        """Raises KeyError for an unknown name, RnnzooError for one that two families have of other packages."""
        having: list[type[TaskFamily[Any]]] = []
        for family in installed_families():
            if name in family.zoos:
                having.append(family)
            if having and having[0].name in FAMILIES:  # nothing takes a zoo of the product away
                break
        if not having:
            raise KeyError(name)
        if len(having) > 1:
            places = " and in ".join(f"{family.__module__}:{family.__qualname__}" for family in having)
            raise RnnzooError(f"zoo: found {name!r} in {places}, expected one family that has it")
        return having[0], having[0].zoos[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(zoo for family in installed_families() for zoo in family.zoos))

    def __len__(self) -> int:
        return sum(1 for _ in self)


ZOOS = _Zoos()

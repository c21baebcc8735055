"""What the RNNs of the zoos learn: a family of tasks is one folder here, and one line in `FAMILIES`.

A family of another package is found by an entry point of the group `rnnzoo.families`, in its pyproject.toml:

    [project.entry-points."rnnzoo.families"]
    my_family = "my_package.my_family:MyFamily"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.family import NamedZoo, TaskFamily

FAMILIES: dict[str, str] = {
    "formal_languages": "rnnzoo.zoo_builder.tasks.formal_languages.family:FormalLanguages",
    "sequential_images": "rnnzoo.zoo_builder.tasks.sequential_images.family:SequentialImages",
}
"""Name -> module:class, imported when it is asked for."""
ENTRY_POINTS = "rnnzoo.families"


def family_names() -> dict[str, str]:
    """All families that are installed: name -> module:class. The product's own cannot be replaced."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | FAMILIES


def find_family(name: str) -> type[TaskFamily[Any]]:
    """The family of this name. Raises RnnzooError for one that is not installed, or cannot be imported."""
    known = family_names()
    if name not in known:
        raise RnnzooError(f"family: found {name!r}, expected one of {', '.join(sorted(known))}")
    return _import(name, known[name])


@cache
def _import(name: str, location: str) -> type[TaskFamily[Any]]:
    module, _, attribute = location.partition(":")
    try:
        family = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RnnzooError(f"family: {name!r} could not be imported from {location}: {error}") from error
    if not (isinstance(family, type) and issubclass(family, TaskFamily)) or family.name != name:
        raise RnnzooError(f"family: found {location} under the name {name!r}, expected a TaskFamily of that name")
    return family


class _Zoos(Mapping[str, tuple[type[TaskFamily[Any]], NamedZoo]]):
    """All zoos that can be built by name -> their family, and what it says of them."""

    def __getitem__(self, name: str) -> tuple[type[TaskFamily[Any]], NamedZoo]:
        for known in family_names():
            family = find_family(known)
            if name in family.zoos:
                return family, family.zoos[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for known in family_names():
            yield from find_family(known).zoos

    def __len__(self) -> int:
        return sum(1 for _ in self)


ZOOS = _Zoos()

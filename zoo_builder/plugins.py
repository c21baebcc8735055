"""What other packages add to this one, by their entry points: families of tasks, and encoders."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

log = logging.getLogger(__name__)


def places_of(group: str) -> dict[str, list[str]]:
    """Name -> "module:class" of the entry points of a group, each place once; several where packages disagree."""
    found: dict[str, list[str]] = {}
    for point in entry_points(group=group):
        places = found.setdefault(point.name, [])
        if point.value not in places:
            places.append(point.value)
    return found


@cache
def warn_once(text: str) -> None:
    """Warn of what somebody else's package has, once a process: a command asks for it several times."""
    log.warning("%s", text)

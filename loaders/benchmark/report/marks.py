"""The mark of each encoder, the same in every table and picture of a page: a colour and a shape.

Five colours, far apart for people who see all colours and for those who lack one kind of cone, each of a contrast
of 3 to 1 or more with both grounds of the page. Encoders that share a colour differ in shape, and lines in dashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#0099ee", "#ff4411", "#bb3388", "#8833ff", "#aa8866")
SHAPES = (
    ("o", "-", "M-.8 0a.8 .8 0 1 0 1.6 0a.8 .8 0 1 0-1.6 0z"),
    ("s", "--", "M-.75-.75h1.5v1.5h-1.5z"),
    ("^", ":", "M0-.85l.9 1.6h-1.8z"),
    ("D", "-.", "M0-1l1 1l-1 1l-1-1z"),
)
"""A marker and a dash pattern of matplotlib, and the marker as a path of SVG between -1 and 1."""


@dataclass(frozen=True)
class Mark:
    """What stands for an encoder.

    Attributes:
        colour: As CSS and matplotlib take it.
        marker: Of matplotlib, for points.
        dashes: Of matplotlib, for lines.
        path: The marker as a path of SVG between -1 and 1, for tables.
    """

    colour: str
    marker: str
    dashes: str
    path: str


Marks = dict[str, Mark]
"""Encoder -> its mark."""


def marks_of(encoders: Iterable[str]) -> Marks:
    """A mark for each encoder, in the order in which they come; after 20 encoders marks come again."""
    found: Marks = {}
    for encoder in encoders:
        if encoder not in found:
            place = len(found)
            shape = SHAPES[place // len(COLOURS) % len(SHAPES)]
            found[encoder] = Mark(COLOURS[place % len(COLOURS)], *shape)
    return found

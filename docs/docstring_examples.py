"""Examples of docstrings, which begin with `>>>` under no heading, get the heading that the reference knows."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class DocstringExamples(Extension):
    """Changes docstrings as they are read, before they are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_section, obj.docstring.value)


def _section(example: re.Match[str]) -> str:
    return "Examples:\n" + indent(example[0], "    ")

"""Texts from elsewhere, put where they cannot do harm: each function is for one place that a text may go to.

Names, rules and descriptions in files may hold anything: tags of HTML, headings of Markdown, control sequences
that move a terminal's cursor or hide what is there, dollars that figures take for formulas.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable

from markupsafe import Markup

LONGEST_LINE = 500
LONGEST_LABEL = 60
"""In figures."""
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of Unicode without a shape: control, direction, halves of letters, private, unknown, line ends."""
_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "†": r"\dag{}", "‡": r"\ddag{}"},
    **{"−": "$-$", "–": "--", "…": r"\dots{}"},
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Markdown(str):
    """A text that is Markdown already: `for_markdown` leaves it as it is."""


def visible(text: str) -> str:
    """The text with what has no shape, but ends of lines and tabs, as an escape: "\\x1b" for ESC.

    >>> visible("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shaped, text))


def _shaped(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in _HIDDEN:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """The text in one line of at most `most` letters; a longer one ends with an ellipsis."""
    line = visible(re.sub(r"\s+", " ", text))
    return line if len(line) <= most else line[: most - 1] + "…"


def for_terminal(text: str) -> str:
    """For a terminal or a plain file: lines are kept, and nothing in them is a command."""
    return visible(text)


def for_html(text: str) -> Markup:
    """For HTML, between tags or in a quoted attribute; `Markup` is left as it is."""
    return text if isinstance(text, Markup) else Markup.escape(visible(text))


def for_markdown(text: str) -> str:
    """For Markdown, within a line; `Markdown` is left as it is.

    >>> for_markdown("<b>bold</b> **too**, some_name")
    '&lt;b&gt;bold&lt;/b&gt; \\\\*\\\\*too\\\\*\\\\*, some_name'
    """
    if isinstance(text, Markdown):
        return text
    marks = r"[\\`*\[\]~$]|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word means nothing
    line = re.sub(marks, r"\\\g<0>", one_line(text))
    return re.sub(r"[&<>]", lambda found: _ENTITIES[found[0]], line)


def for_code(text: str) -> str:
    """For a span of code in Markdown."""
    return one_line(text).replace("`", "'") or " "


def for_code_block(text: str) -> str:
    """For a fenced block of code in Markdown."""
    return visible(text).replace("```", "'''")


def with_code(text: str) -> Markdown:
    """A sentence in which `names` stand as code, for Markdown."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return Markdown(for_markdown(text))
    escaped = (for_code(part) if place % 2 else for_markdown(part) for place, part in enumerate(parts))
    return Markdown("`".join(escaped))


def table_row(cells: Iterable[str]) -> str:
    """A line of a table of Markdown, of cells that are Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def for_yaml(text: str) -> str:
    """For a value in YAML, quoted."""
    return json.dumps(one_line(text), ensure_ascii=False)


def for_figure(text: str, most: int = LONGEST_LABEL) -> str:
    """For a label of matplotlib, in which two dollars enclose a formula."""
    return one_line(text, most).replace("$", "\\$")


def for_latex(text: str) -> str:
    """For LaTeX, in a line of text.

    >>> print(for_latex("flat_mlp ↑ 95 %"))
    flat\\_mlp $\\uparrow$ 95 \\%
    """
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))

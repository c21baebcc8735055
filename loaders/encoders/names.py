"""Names of encoders, and what is to be said of each, found without importing one: torch alone takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnzoo.loaders.encoders import ENCODERS, PUBLISHED_FORMS
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.plugins import places_of, warn_once

ENTRY_POINTS = "rnnzoo.encoders"
FORMS = ("own", "published")
"""Of the paper's encoders: as this project builds them, or as the paper's program does."""


def encoder_names() -> dict[str, str]:
    """All encoders that are installed: name -> module:class. The product's own cannot be replaced.

    Of a name of the product that another package has too, a warning says that it is left out, once a process.
    """
    others = places_of(ENTRY_POINTS)
    for name in others.keys() & ENCODERS.keys():
        warn_once(
            f"encoder: {name!r} of {others[name][0]} is left out, the product has this name; expected another"
        )
    return {name: places[0] for name, places in others.items()} | ENCODERS


def parse_encoder_name(text: str) -> tuple[str, dict[str, Any]]:
    """'name' or 'name(option=value, ...)' -> name, options; values are Python literals.

    Args:
        text: What the user typed.

    Returns:
        The name, and option -> value.

    Raises:
        ParameterError: The text has another form.

    >>> parse_encoder_name("interactive_probing(probes=4, length=12)")
    ('interactive_probing', {'probes': 4, 'length': 12})
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return text.strip(), {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError("no call with named options")
    except (SyntaxError, ValueError) as error:
        raise ParameterError(
            "encoder", f"found {text!r}, expected name or name(option=value, option=value)"
        ) from error
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        option = str(keyword.arg)
        if option in options:
            raise ParameterError("encoder", f"found {text!r}, which says {option} twice; expected it once")
        try:
            options[option] = ast.literal_eval(keyword.value)
        except (TypeError, ValueError) as error:
            found = f"{option}={ast.unparse(keyword.value)}"
            raise ParameterError(
                "encoder",
                f"found {text!r}, expected a value of Python in place of {found}: a number, True, False, None, or "
                "a text in quotes",
            ) from error
    return name.strip(), options


def in_published_form(text: str) -> str:
    """The name of an encoder with its published form asked for, where it has one and no form is asked for yet.

    Args:
        text: What the user typed.

    Returns:
        The name with its options.

    Raises:
        ParameterError: The text has another form.

    >>> in_published_form("flat_mlp"), in_published_form("interactive_probing(probes=4)")
    ('flat_mlp(form="published")', 'interactive_probing(form="published", probes=4)')
    >>> in_published_form("graph_network"), in_published_form('flat_mlp(form="own")')
    ('graph_network', 'flat_mlp(form="own")')
    """
    name, options = parse_encoder_name(text)
    if name not in PUBLISHED_FORMS or "form" in options:
        return text
    others = "".join(f", {option}={value!r}" for option, value in options.items())
    return f'{name}(form="published"{others})'


def encoder_location(name: str, form: str = "own") -> str:
    """The module:class of a name: that of an installed encoder, or itself for a user's own.

    Args:
        name: The name, without options.
        form: "own", or "published" for an encoder in `PUBLISHED_FORMS`.

    Returns:
        "module:class".

    Raises:
        ParameterError: The name is neither, or the encoder has no such form.
    """
    if form == "published" and name in PUBLISHED_FORMS:
        return PUBLISHED_FORMS[name]
    if form != "own":
        expected = " or ".join(map(repr, FORMS)) if name in PUBLISHED_FORMS else "none: it has one form"
        raise ParameterError("encoder", f"form: found {form!r} of {name}, expected {expected}")
    known = encoder_names()
    if name not in known and not all(name.rpartition(":")):
        expected = f"one of {', '.join(known)}, module:Class or module.py:Class"
        if name.endswith(".py"):
            expected = f"{name}:Class, with the name of the class in the file"
        raise ParameterError("encoder", f"found {name!r}, expected {expected}")
    if name not in ENCODERS and len(places := places_of(ENTRY_POINTS).get(name, [])) > 1:
        places_named = " and in ".join(places)
        raise ParameterError("encoder", f"found {name!r} in {places_named}, expected one package that has it")
    return known.get(name, name)


def location_of(text: str) -> str:
    """The module:class of a name with options, which may ask for a form; errors as in `encoder_location`."""
    name, options = parse_encoder_name(text)
    return encoder_location(name, options.get("form", "own") if name in PUBLISHED_FORMS else "own")


@dataclass(frozen=True)
class Location:
    """Where an encoder stands.

    Attributes:
        folder: Where modules are found, besides where Python looks for them; "" for the current folder.
        module: Its module.
        attribute: Its name there.
        file: The file of the module, if the user named it.
    """

    folder: str
    module: str
    attribute: str
    file: Path | None = None


def split_location(text: str) -> Location:
    """The parts of "module:Class", or of "folder/module.py:Class".

    >>> split_location("package.module:Mine").module, split_location("encoders/mine.py:Mine").module
    ('package.module', 'mine')
    """
    module, _, attribute = text.rpartition(":")
    if not module.endswith(".py"):
        return Location("", module, attribute)
    file = Path(module)
    return Location(str(file.parent.resolve()), file.stem, attribute, file)


@dataclass(frozen=True)
class Description:
    """What an encoder's class says of itself, see `RegisteredEncoder`, and the first line of its docstring.

    Attributes:
        group: "mechanistic", "functionalist", "hand-made", "control" or "user".
        published: Whether it is one of the encoders of Herrmann et al. (2024).
        summary: The first line of its docstring.
    """

    group: str
    published: bool
    summary: str


def describe_encoder(location: str) -> Description:
    """The description of the encoder at a "module:class", read from its source; a warning says why it has none."""
    module, _, name = location.partition(":")
    try:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin:
            raise ModuleNotFoundError(f"No module named {module!r}")
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except Exception as error:  # whatever goes wrong in a package of somebody else
        warn_once(f"encoder: {location} cannot be read: {type(error).__name__}: {error}")
        return Description("user", False, f"of {location}, which cannot be read")
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        return Description("user", False, f"of {location}")
    values = {
        target.id: node.value.value
        for node in found.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    summary = (ast.get_docstring(found) or "").partition("\n")[0]
    return Description(str(values.get("group", "user")), bool(values.get("published", False)), summary)

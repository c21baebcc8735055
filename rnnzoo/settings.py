"""Texts `field=value` to the fields of a config: what both commands do with `--set`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rnnzoo.zoo_builder.errors import ParameterError


def read_settings(texts: Sequence[str], config: type) -> dict[str, Any]:
    """The values that some texts give to the fields of a dataclass.

    A field's type says how its text is read: `64`, `0,100,1000` for a list, `0:0.01,1:0.001` for a list of pairs,
    `none` where None is possible.

    Args:
        texts: "field=value" each.
        config: the dataclass; pydantic checks the values by its annotations.

    Returns:
        Field -> value.

    Raises:
        ParameterError: for a text of another form, an unknown field, one that is set twice, or a value that does
            not fit.
    """
    hints = get_type_hints(config, include_extras=True)
    values: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in hints:
            expected = f"FIELD=VALUE with a field of {', '.join(hints)}"
            raise ParameterError("settings", f"found {text!r}, expected {expected}")
        if name in values:
            raise ParameterError("settings", f"found {name!r} twice, expected it once")
        values[name] = _read(name, value, hints[name])
    return values


def _read(name: str, text: str, hint: Any) -> Any:
    try:
        return TypeAdapter(hint).validate_python(_split(text, hint))
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ParameterError("settings", f"{name}: found {text!r:.80}: {message}") from error


def _split(text: str, hint: Any) -> Any:
    """A text as nested lists of texts, as deep as the type is; pydantic makes numbers of them."""
    if get_origin(hint) is Annotated:
        return _split(text, get_args(hint)[0])
    if text == "none" and NoneType in get_args(hint):
        return None
    if get_origin(hint) is not tuple:
        return text
    parts = text.split(",") if text else []
    if get_origin(get_args(hint)[0]) is not tuple:
        return parts
    return [part.split(":") for part in parts] if ":" in text else text


def setting_text(value: Any) -> str:
    """The text that `read_settings` takes for a value.

    >>> setting_text(((0, 0.01), (1, 0.001))), setting_text((0, 100)), setting_text(None)
    ('0:0.01,1:0.001', '0,100', 'none')
    """
    if value is None:
        return "none"
    if not isinstance(value, tuple | list):
        return str(value)
    return ",".join(":".join(map(str, part)) if isinstance(part, tuple | list) else str(part) for part in value)


def describe_fields(presets: Mapping[str, Any], left_out: Collection[str] = ()) -> str:
    """The fields that can be set, each with its value in every preset, in lines of at most 80 characters.

    Args:
        presets: name -> dataclass with the values.
        left_out: fields not to show.
    """
    rows = {"field": list(presets)}
    for field in dataclasses.fields(next(iter(presets.values()))):
        if field.name not in left_out:
            rows[field.name] = [setting_text(getattr(config, field.name)) for config in presets.values()]
    lines = []
    for name, values in rows.items():
        if len(set(values)) == 1:
            lines.append(f"  {name:21}{values[0]}")
        elif max(map(len, values)) < 17:
            lines.append(f"  {name:21}" + "".join(f"{value:17}" for value in values).rstrip())
        else:
            lines.append(f"  {name}")
            lines += [f"    {preset:19}{value}" for preset, value in zip(presets, values, strict=True)]
    return "\n".join(lines)

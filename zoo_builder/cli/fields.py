"""The zoos, presets and fields of a config as a text of 80 columns, for `zoo-builder build --help`."""

from __future__ import annotations

import dataclasses

from rnnzoo.settings import setting_text
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.zoos import PRESETS, ZooConfig, resolve_config

NAMES = ("zoo", "preset", "family", "source")
"""Fields that the name of the zoo and of the preset give."""


def describe_fields() -> str:
    """All zoos, and each field that `--set` takes with its value in every preset."""
    zoo = next(iter(ZOOS))
    configs = [resolve_config(zoo, preset) for preset in PRESETS]
    rows = [["field", *PRESETS]]
    for field in dataclasses.fields(ZooConfig):
        if field.name not in NAMES:
            rows.append([field.name, *(setting_text(getattr(config, field.name)) for config in configs)])
    lines = [
        f"Zoos: {', '.join(ZOOS)}",
        "",
        f"Fields (--set FIELD=VALUE), and their values for {zoo}:",
    ]
    for name, *values in rows:
        if len(set(values)) == 1:
            lines.append(f"  {name:21}{values[0]}")
        elif max(map(len, values)) < 15:
            lines.append(f"  {name:21}" + "".join(f"{value:15}" for value in values).rstrip())
        else:
            lines.append(f"  {name}")
            lines += [f"    {preset:19}{value}" for preset, value in zip(PRESETS, values, strict=True)]
    return "\n".join(lines) + "\n"

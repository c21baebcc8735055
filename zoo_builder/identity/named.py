"""The digests of named zoos at their presets, as they are committed in digests.json.

A digest stands under the name of its zoo and preset, one for each arithmetic. `python -m tests.digests` puts it
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.digest import ZooDigest, config_digest
from rnnzoo.zoo_builder.storage.files import read_json
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.zoos import PRESETS, resolve_config

DIGESTS = Path(__file__).with_name("digests.json")


def known_digests(path: Path = DIGESTS) -> dict[str, dict[str, list[str]]]:
    """Zoo -> preset -> digests.

    Raises:
        RnnzooError: The file has something else in it.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise RnnzooError(f"{path}: found {type(values).__name__}, expected an object")
    for zoo, presets in values.items():
        for preset, digests in presets.items():
            for digest in digests:
                found = ZooDigest.parse(digest).config
                expected = config_digest(resolve_config(zoo, preset).to_dict())
                if found != expected:
                    raise RnnzooError(
                        f"{path}: {zoo} {preset}: found {digest}, expected the config's digits {expected}"
                    )
    return values


@cache
def configs() -> Mapping[str, list[tuple[str, str]]]:
    """Digits of a config -> the zoos and presets that come to it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for zoo in ZOOS:
        for preset in PRESETS:
            found.setdefault(config_digest(resolve_config(zoo, preset).to_dict()), []).append((zoo, preset))
    return found


def name_of_config(digest: ZooDigest) -> str | None:
    """The zoo and preset whose config a digest has, in words; None for a config of one's own."""
    return next((_in_words(*named) for named in configs().get(digest.config, [])), None)


def name_of_zoo(digest: str, path: Path = DIGESTS) -> str | None:
    """The committed zoo that has this digest, in words; None where there is none."""
    for zoo, presets in known_digests(path).items():
        for preset, digests in presets.items():
            if digest in digests:
                return _in_words(zoo, preset)
    return None


def _in_words(zoo: str, preset: str) -> str:
    return f"{zoo} at preset {preset}"

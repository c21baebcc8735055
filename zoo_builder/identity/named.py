"""The digests of named zoos at their presets, as they are committed in digests.json.

A digest stands under the name of its zoo and preset, one for each arithmetic. `python -m tests.digests` puts it
there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.digest import SAME_EVERYWHERE, ZooDigest, config_digest
from rnnzoo.zoo_builder.storage.files import read_json
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.storage.writing import write_json
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.zoos import PRESETS, ZooConfig, resolve_config

DIGESTS = Path(__file__).with_name("digests.json")
TINY = "tiny"
"""Stands for a preset: a zoo that a test builds in seconds. No command builds it by this name."""
TINY_FIELDS = {"runs": 8, "steps": 60, "evaluation_items": 40, "sampled_strings": 40, "rollouts": 10}


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
                found, expected = (
                    ZooDigest.parse(digest).config,
                    config_digest(config_named(zoo, preset).to_dict()),
                )
                if found != expected:
                    raise RnnzooError(
                        f"{path}: {zoo} {preset}: found {digest}, expected the config's digits {expected}"
                    )
    return values


def config_named(zoo: str, preset: str) -> ZooConfig:
    """The config of a named zoo at a preset, or at TINY."""
    return resolve_config(zoo, "smoke", TINY_FIELDS) if preset == TINY else resolve_config(zoo, preset)


@cache
def configs() -> Mapping[str, list[tuple[str, str]]]:
    """Digits of a config -> the zoos and presets that come to it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for zoo in ZOOS:
        for preset in (TINY, *PRESETS):
            found.setdefault(config_digest(config_named(zoo, preset).to_dict()), []).append((zoo, preset))
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


def add_digest(manifest: Manifest, path: Path = DIGESTS) -> str:
    """Put the digest of a finished zoo into the file, in place of one of the same arithmetic.

    Args:
        manifest: That of the zoo.
        path: The file.

    Returns:
        What was put there, in words.

    Raises:
        RnnzooError: The zoo is not at a preset, or its arithmetic changes with the machine.
    """
    digest = None if manifest.digest is None else ZooDigest.parse(manifest.digest)
    if digest is None or not digest.is_same_everywhere:
        raise RnnzooError(
            f"{manifest.zoo}: found the digest {manifest.digest}, expected one that begins with "
            f"{SAME_EVERYWHERE}, of an arithmetic that is the same everywhere"
        )
    found = configs().get(digest.config)
    if not found:
        raise RnnzooError(f"{manifest.zoo}: found a config that no preset has")
    known = known_digests(path) if path.exists() else {}
    for zoo, preset in found:
        others = [one for one in known.get(zoo, {}).get(preset, []) if not one.startswith(f"{digest.arithmetic}-")]
        known.setdefault(zoo, {})[preset] = sorted([*others, str(digest)])
    order = [TINY, *PRESETS]
    write_json(
        path, {zoo: dict(sorted(known[zoo].items(), key=lambda e: order.index(e[0]))) for zoo in sorted(known)}
    )
    return f"{' and '.join(_in_words(*named) for named in found)}: {digest}"


def build_tiny(zoo: str) -> Manifest:
    """The manifest of a tiny zoo, built now with the fused kernel.

    Raises:
        RnnzooError: The zoo's items, or the kernel, cannot be had here.
    """
    from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
    from rnnzoo.zoo_builder.training.kernels import choose_kernel

    config = config_named(zoo, TINY)
    kernel = choose_kernel(config.spec, config.encoding, "cpu", "fused")
    with tempfile.TemporaryDirectory(prefix="rnnzoo-") as folder:
        return build_zoo(config, Path(folder) / "zoo", kernel, Unwatched())

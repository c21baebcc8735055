"""Puts digests of finished zoos at a preset into zoo_builder/identity/digests.json.

python -m tests.digests ZOO...    those of finished zoos
python -m tests.digests --tiny    those of the tiny zoos of a test, built now, into tests/tiny_digests.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.named import DIGESTS, configs, known_digests
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.storage.digest import SAME_EVERYWHERE, ZooDigest
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest
from rnnzoo.zoo_builder.storage.writing import write_json
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import PRESETS, ZooConfig, resolve_config

TINY_DIGESTS = Path(__file__).with_name("tiny_digests.json")
TINY_FIELDS = {"runs": 8, "steps": 60, "evaluation_items": 40, "sampled_strings": 40, "rollouts": 10}


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
    order = list(PRESETS)
    write_json(
        path, {zoo: dict(sorted(known[zoo].items(), key=lambda e: order.index(e[0]))) for zoo in sorted(known)}
    )
    return f"{' and '.join(f'{zoo} at preset {preset}' for zoo, preset in found)}: {digest}"


def tiny_config(zoo: str) -> ZooConfig:
    """That of a named zoo that a test builds in seconds."""
    return resolve_config(zoo, "smoke", TINY_FIELDS)


def tiny_digests() -> dict[str, str]:
    """Zoo -> the committed digest of a tiny one."""
    return json.loads(TINY_DIGESTS.read_bytes())


def build_tiny(zoo: str) -> Manifest:
    """The manifest of a tiny zoo, built now with the fused kernel.

    Raises:
        RnnzooError: The zoo's items, or the kernel, cannot be had here.
    """
    config = tiny_config(zoo)
    kernel = choose_kernel(config.spec, config.encoding, "cpu", "fused")
    with tempfile.TemporaryDirectory(prefix="rnnzoo-") as folder:
        return build_zoo(config, Path(folder) / "zoo", kernel, Unwatched())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoos", nargs="*", type=Path, metavar="ZOO", help="Folder of a finished zoo at a preset.")
    parser.add_argument("--tiny", action="store_true", help="Build the tiny zoos, and put theirs.")
    parser.add_argument("--file", type=Path, default=DIGESTS, help="Where they go.")
    options = parser.parse_args(arguments)
    for folder in options.zoos:
        print(add_digest(read_manifest(folder), options.file))
    for zoo in ZOOS if options.tiny else ():
        try:
            digest = build_tiny(zoo).digest
        except RnnzooError as error:
            print(f"{zoo}: {error}", file=sys.stderr)
            continue
        write_json(TINY_DIGESTS, dict(sorted({**tiny_digests(), zoo: digest}.items())))
        print(f"{zoo}: {digest}")


if __name__ == "__main__":
    main()

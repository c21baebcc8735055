"""Puts digests of finished zoos at a preset into zoo_builder/identity/digests.json.

python -m tests.digests ZOO...    those of finished zoos
python -m tests.digests --tiny    those of the tiny zoos that a test compares, built now
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.named import DIGESTS, add_digest, build_tiny
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.tasks import ZOOS


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
            print(add_digest(build_tiny(zoo), options.file))
        except RnnzooError as error:
            print(f"{zoo}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Builds the zoos of the paper, verifies them, and puts their records beside the cards.

    python -m benchmarks.paper_zoos --out FOLDER --mnist DIR              # both, in as many sittings as it takes
    python -m benchmarks.paper_zoos --out FOLDER --zoo formal_languages --workers 4    # options of a build

A record (`dataset_cards/<zoo>/paper`) is a zoo without its shards: its manifest, with the config, the digest and
the hash of every file; the metadata of all checkpoints; the overview figure; and `build.json`, the sittings that
built it: machine, kernel, seconds, and how each ended.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.baselines import ZOOS, command
from benchmarks.machine import machine
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.storage.schema import metadata_file
from rnnzoo.zoo_builder.storage.writing import write_json

PRESET = "paper"
CARDS = Path(__file__).parents[1] / "dataset_cards"
SECONDS = 60
"""Between two entries of how long a sitting has lasted: a killed one is known to so many seconds."""


def build(zoo: str, folder: Path, items: Sequence[str], options: Sequence[str]) -> None:
    """One sitting, written down in a file beside the folder. Exits as the command does where that fails."""
    log = folder.with_name(f"{folder.name}-sittings.json")
    sittings = json.loads(log.read_text()) if log.exists() else []
    sitting = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **machine(), "options": list(options)}
    began, is_over = time.monotonic(), threading.Event()
    code: Any = "killed"  # as it stands there until it ends otherwise

    def write() -> None:
        write_json(log, [*sittings, {**sitting, "seconds": round(time.monotonic() - began), "exit_code": code}])

    def keep_writing() -> None:
        while not is_over.wait(SECONDS):
            write()

    write()
    writer = threading.Thread(target=keep_writing, daemon=True)
    writer.start()
    try:
        command("zoo-builder", "build", zoo, "--preset", PRESET, "--out", str(folder), *items, *options)
        code = 0
    except SystemExit as ended:
        code = ended.code
        raise
    finally:
        is_over.set()
        writer.join()
        write()


def record(folder: Path, to: Path) -> None:
    """Put the record of a finished zoo into a folder."""
    manifest = read_manifest(folder)
    for name in ("zoo.json", "splits.json", "overview.png", *map(metadata_file, manifest.splits)):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, to / name)
    shutil.copyfile(folder.with_name(f"{folder.name}-sittings.json"), to / "build.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build what is not finished, verify it, and write the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the zoos")
    parser.add_argument("--mnist", type=Path, help="folder of the IDX files")
    parser.add_argument("--zoo", choices=ZOOS, action="append", help="only this one; again for more")
    parser.add_argument("--cards", type=Path, default=CARDS, help="where the records go")
    chosen, of_build = parser.parse_known_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    mnist = ["--mnist", str(chosen.mnist)] if chosen.mnist else []
    for zoo in chosen.zoo or ZOOS:
        folder = chosen.out / f"{zoo}-{PRESET}"
        build(zoo, folder, mnist, of_build)
        command("zoo-builder", "verify", str(folder), *mnist)
        command("zoo-builder", "info", str(folder))
        record(folder, chosen.cards / zoo / PRESET)
        print(f"{chosen.cards / zoo / PRESET}: the record of {read_manifest(folder).digest}")


if __name__ == "__main__":
    main()

"""Builds the zoos of the paper, verifies them, and puts their records beside the cards.

    python -m benchmarks.paper_zoos --out FOLDER --mnist DIR              # both, in as many sittings as it takes
    python -m benchmarks.paper_zoos --out FOLDER --zoo formal_languages --workers 4    # options of a build

A record (`dataset_cards/<zoo>/paper`) is what is published of a zoo beside its weights: its manifest, with the
config, the digest and the hash of every file; the metadata of all checkpoints as one Parquet table; the overview
figure; and `build.json`, the sittings that built it: machine, kernel, seconds, and how each ended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

import rnnzoo
from rnnzoo.zoo_builder.storage.manifest import read_manifest, read_metadata, write_json

ZOOS = ("formal_languages", "sequential_mnist")
PRESET = "paper"
CARDS = Path(__file__).parents[1] / "dataset_cards"


def machine() -> dict[str, Any]:
    """What it is built on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = named[0] if named else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "rnnzoo": rnnzoo.__version__}
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, **versions}


def build(zoo: str, folder: Path, items: Sequence[str], options: Sequence[str]) -> None:
    """One sitting, written down in a file beside the folder. Exits as the command does where that fails."""
    log = folder.with_name(f"{folder.name}-sittings.json")
    sittings = json.loads(log.read_text()) if log.exists() else []
    sitting = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **machine(), "options": list(options)}
    began = time.monotonic()
    command = [str(Path(sys.executable).with_name("zoo-builder")), "build", zoo, "--preset", PRESET]
    code: int | str = "killed"
    try:
        code = subprocess.run([*command, "--out", str(folder), *items, *options], check=False).returncode
    finally:
        sittings.append(sitting | {"seconds": round(time.monotonic() - began), "exit_code": code})
        write_json(log, sittings)
    if code:
        sys.exit(code)


def record(folder: Path, to: Path) -> None:
    """Put the record of a finished zoo into a folder."""
    manifest = read_manifest(folder)
    to.mkdir(parents=True, exist_ok=True)
    for name in ("zoo.json", "splits.json", "overview.png"):
        shutil.copyfile(folder / name, to / name)
    pq.write_table(
        read_metadata(folder, manifest), to / "metadata.parquet", compression="zstd", compression_level=19
    )
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
    program = str(Path(sys.executable).with_name("zoo-builder"))
    mnist = ["--mnist", str(chosen.mnist)] if chosen.mnist else []
    for zoo in chosen.zoo or ZOOS:
        folder = chosen.out / f"{zoo}-{PRESET}"
        build(zoo, folder, mnist, of_build)
        subprocess.run([program, "verify", str(folder), *mnist], check=True)
        subprocess.run([program, "info", str(folder)], check=True)
        record(folder, chosen.cards / zoo / PRESET)
        print(f"{chosen.cards / zoo / PRESET}: the record of {read_manifest(folder).digest}")


if __name__ == "__main__":
    main()

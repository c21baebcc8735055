"""Makes the committed baselines anew: builds their zoos, and runs every encoder on every track that it fits.

    python -m benchmarks.baselines --mnist DIR --out FOLDER
    python -m benchmarks.baselines --mnist DIR --out FOLDER --list        # what is done, and what is left
    python -m benchmarks.baselines --mnist DIR --out FOLDER --zoo-preset paper --protocol paper --preset paper

It runs `zoo-builder build` and `zoo-bench run`, can be stopped at any moment, and goes on by the same command.
Options that it does not know, such as `--preset`, `--device` and `--set`, are passed on to `zoo-bench run`.
Without `--preset` and `--set` trainings by emulation have the settings of `EMULATION`.
Results stand in FOLDER/results; `zoo-bench commit FOLDER/results` puts them beside the cards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from rnnzoo.loaders.benchmark.protocol import PROTOCOLS
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import declared, is_learned, load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training_config import TRACKS
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import MANIFEST

ZOOS = ("formal_languages", "sequential_mnist")
EMULATION = {"formal_languages": (), "sequential_mnist": ("--set", "learning_rate=0.005")}
"""What trainings by emulation have beside the preset `quick`: at its rate an emulator has not learned to read
turned digits when the training ends, and no embedding helps it."""


@dataclass(frozen=True)
class Baseline:
    """An encoder on a track."""

    zoo: str
    encoder: str
    track: str


def baselines(zoo: str, loaded: LoadedZoo) -> Iterator[Baseline]:
    """All that fit a zoo: what is quickly done first, then by emulation, then end to end."""
    tracks: dict[str, list[Baseline]] = {"features": [], "frozen": [], "supervised": []}
    for name in ENCODERS:
        with suppress(RnnzooError):
            encoder = load_encoder(name, loaded.population)
            if not (isinstance(encoder, nn.Module) and is_learned(encoder)):
                tracks["features"].append(Baseline(zoo, name, "features"))
                continue
            tracks["frozen"].append(Baseline(zoo, name, "frozen"))
            if declared(encoder, "group") != "control":  # those are controls of emulation
                tracks["supervised"].append(Baseline(zoo, name, "supervised"))
    for found in tracks.values():
        yield from found


def command(name: str, *arguments: str) -> None:
    """Run one of the package's commands; ends with its exit code where that is not 0."""
    done = subprocess.run([Path(sys.executable).with_name(name), *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, one baseline after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of zoos and results")
    parser.add_argument("--mnist", type=Path, help="folder of the IDX files")
    parser.add_argument("--zoo", choices=ZOOS, action="append", help="only this one; again for more")
    parser.add_argument("--track", choices=TRACKS, action="append", help="only this one; again for more")
    parser.add_argument("--encoder", choices=[*ENCODERS], action="append", help="only this one; again for more")
    parser.add_argument("--zoo-preset", default="small", help="of the zoos (default small)")
    parser.add_argument("--protocol", default="strict", choices=PROTOCOLS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="processes that share the seeds")
    parser.add_argument("--list", action="store_true", help="say what is done, and do nothing")
    chosen, of_run = parser.parse_known_args(arguments)
    for zoo in chosen.zoo or ZOOS:
        folder = chosen.out / f"{zoo}-{chosen.zoo_preset}"
        mnist = ["--mnist", str(chosen.mnist)] if chosen.mnist else []
        if chosen.list and not (folder / MANIFEST).exists():
            print(f"{zoo:18} {folder}: not built yet")
            continue
        if not chosen.list:
            command("zoo-builder", "build", zoo, "--preset", chosen.zoo_preset, "--out", str(folder), *mnist)
        board = chosen.out / "results" / zoo / chosen.protocol
        for baseline in baselines(zoo, LoadedZoo(folder)):
            if baseline.track not in (chosen.track or [baseline.track]):
                continue
            if baseline.encoder not in (chosen.encoder or [baseline.encoder]):
                continue
            if chosen.list:
                print(f"{zoo:18} {baseline.track:11} {baseline.encoder:24} {done(board, baseline)} results")
                continue
            named = ["--zoo", str(folder), "--encoder", baseline.encoder, "--track", baseline.track]
            shared = ["--seeds", str(chosen.seeds), "--workers", str(chosen.workers), "--threads", "1"]
            where = ["--protocol", chosen.protocol, "--out", str(chosen.out / "results")]
            is_set = any(option.startswith(("--preset", "--set")) for option in of_run)
            settings = EMULATION[zoo] if baseline.track == "frozen" and not is_set else ()
            command("zoo-bench", "run", *named, *shared, *where, *settings, *of_run)


def done(board: Path, baseline: Baseline) -> int:
    """How many of its results are there, whatever the form of the encoder."""
    folders = [board / baseline.encoder, *board.glob(f"{baseline.encoder}(*)")]
    return sum(len(list((folder / baseline.track).glob("*.json"))) for folder in folders)


if __name__ == "__main__":
    main()

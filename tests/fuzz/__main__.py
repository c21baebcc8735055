"""Gives hostile files to all readers for a while, and says what came of it.

    python -m tests.fuzz --minutes 5 [--only "zoo languages"] [--seed 0]

"a second" is of processor time; "MB more" is what the process held at most beyond what it held before.

Each file is made from a seed: one that fails is made again by `--only TARGET --seed SEED --minutes 0`.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import resource
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz.targets import Target, make_targets

MOST_MEMORY = 1_000_000_000
"""Bytes that reading one file, all of which are small, may add to what the process has held at most."""
SHOWN = 3
"""Failures of a target that are printed."""


@dataclass
class Tally:
    """What became of one target's files."""

    executions: int = 0
    refused: int = 0
    seconds: float = 0.0
    grown: int = 0
    failures: list[int] = field(default_factory=list)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(target: Target, copy: Path, seed: int, tally: Tally) -> None:
    """One file."""
    held, began = peak_memory(), time.process_time()
    try:
        tally.refused += target.run(copy, Random(f"{target.name} {seed}"))
        assert peak_memory() - held < MOST_MEMORY, f"{peak_memory() - held} bytes more memory"
    except Exception:
        tally.failures.append(seed)
        if len(tally.failures) <= SHOWN:
            print(f"\n{target.name}, seed {seed}:\n{traceback.format_exc(limit=-6)[-3000:]}", flush=True)
    tally.executions += 1
    tally.seconds += time.process_time() - began
    tally.grown += peak_memory() - held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of all targets together")
    parser.add_argument("--only", default="", help="targets whose name holds this text")
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("rnnzoo").setLevel(logging.ERROR)  # of a small zoo: empty splits, builds begun anew
    faulthandler.enable()  # where a reader ends the process, this says which
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rnnzoo-fuzz-") as place:
        targets = [target for target in make_targets(Path(place)) if arguments.only in target.name]
        print(f"{'target':28}{'files':>9}{'refused':>9}{'a second':>10}{'MB more':>9}{'failures':>10}")
        for target in targets:
            print(f"{target.name:28}", end="", flush=True)
            tally, seed = Tally(), arguments.seed
            end = time.monotonic() + arguments.minutes * 60 / len(targets)
            with target.workspace(Path(place) / "copies") as copy:
                while not tally.executions or time.monotonic() < end:
                    fuzz(target, copy, seed, tally)
                    seed += 1
            rate = tally.executions / max(tally.seconds, 1e-9)
            print(
                f"{tally.executions:>9}{tally.refused:>9}{rate:>10.0f}{tally.grown / 1e6:>9.0f}"
                f"{len(tally.failures):>10}"
            )
            failed += len(tally.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

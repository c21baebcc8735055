"""How long a zoo takes to open, and in what memory: `python -m benchmarks.opening ZOO --way streaming`.

Every way goes as far as the first row with its weights, in a process of its own: the time is counted after the
imports, the memory is the most that the process held, imports and all.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnzoo.loaders.loading import load_zoo
from rnnzoo.loaders.reading.selection import Filters
from rnnzoo.loaders.zoo import Zoo
from rnnzoo.zoo_builder.errors import RnnzooError

HALF: Filters = [("accuracy", ">=", 0.5)]

WAYS: dict[str, Callable[[Path], Any]] = {
    "map-style": lambda zoo: load_zoo(zoo, "train")[0],
    "map-style, all splits": lambda zoo: load_zoo(zoo)["train"][0],
    "map-style, filtered": lambda zoo: load_zoo(zoo, "train", filters=HALF)[0],
    "map-style, with rollouts": lambda zoo: load_zoo(zoo, "train", rollouts=True)[0],
    "map-style, metadata alone": lambda zoo: load_zoo(zoo, "train", tensors=[])[0],
    "streaming": lambda zoo: next(iter(load_zoo(zoo, "train", streaming=True))),
    "streaming, filtered": lambda zoo: next(iter(load_zoo(zoo, "train", streaming=True, filters=HALF))),
    "Zoo": lambda zoo: Zoo(zoo).model(0),
}


def peak_bytes() -> int:
    """The most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Open once, in one way, and print seconds and bytes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="folder of the zoo")
    parser.add_argument("--way", choices=WAYS, default="map-style")
    arguments = parser.parse_args()
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        WAYS[arguments.way](arguments.zoo)
    except RnnzooError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    found = {"way": arguments.way, "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()

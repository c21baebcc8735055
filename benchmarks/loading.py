"""How fast a zoo is read, beside NumPy on the same weights: `python -m benchmarks.loading --zoo DIR`.

Every way of reading does the same work: the batch's weights end up in new memory, all of them and nothing
else. NumPy reads one flat array [rows, P], mapped with `mmap_mode="r"` from a temporary file; the others give
one tensor a parameter. Ways take turns within each repeat, so that a slow moment of the machine hits all of
them; medians and the ratios of medians are reported.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from rnnzoo.loaders.loading import load_zoo
from rnnzoo.loaders.reading.selection import Filters
from rnnzoo.loaders.zoo import Zoo
from rnnzoo.zoo_builder.errors import RnnzooError

GENERATOR_ROWS = 512
"""`from_generator` is timed on this many rows at most: it is slow enough for that to tell."""
SEED = 0


@dataclass(frozen=True)
class Way:
    """One way of reading: `batches` starts over at every call. Rows/s are divided by those of way `against`."""

    name: str
    rows: int
    batches: Callable[[], Iterable[Any]]
    against: str | None = None
    target: float | None = None


@dataclass(frozen=True)
class Measurement:
    """rows_per_second is the median of the repeats; ratio is against the way of that name."""

    name: str
    rows: int
    rows_per_second: float
    against: str | None
    ratio: float | None
    target: float | None


def measure(zoo: Path, batch: int, repeats: int, scratch: Path) -> list[Measurement]:
    """Time every way of reading the zoo's train split. `scratch`: a folder for NumPy's copy of the weights."""
    ways = ways_of_reading(zoo, batch, scratch)
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(repeats + 1):
        for way in ways:
            seconds[way.name].append(_time(way))
    speed = {way.name: way.rows / statistics.median(seconds[way.name][1:]) for way in ways}  # the first warms up
    return [
        Measurement(
            name=way.name,
            rows=way.rows,
            rows_per_second=speed[way.name],
            against=way.against,
            ratio=None if way.against is None else speed[way.name] / speed[way.against],
            target=way.target,
        )
        for way in ways
    ]


def ways_of_reading(zoo: Path, batch: int, scratch: Path) -> list[Way]:
    """NumPy and map-style in turn, then `from_generator`, streams, and map-style with all that one may add."""
    weights = _mapped_copy(zoo, scratch / "weights.npy")
    accuracy = load_zoo(zoo, "train", columns=["accuracy"], tensors=[], format="numpy")[:]["accuracy"]
    half: Filters = [("accuracy", ">=", float(np.median(accuracy)))]
    order = np.random.default_rng(SEED).permutation(len(weights))
    everything = np.arange(len(weights))

    def load(**options: Any) -> Any:
        return load_zoo(zoo, "train", **({"columns": [], "format": "numpy"} | options))

    return [
        *_pair("sequential", weights, everything, load(), batch),
        *_pair("shuffled", weights, order, load().select(order), batch),
        *_pair("filtered", weights, np.flatnonzero(accuracy >= np.median(accuracy)), load(filters=half), batch),
        *_stream_pair("sequential", load(), lambda stream: stream, load(streaming=True), batch),
        *_stream_pair("shuffled", load(), lambda stream: stream.shuffle(seed=SEED), load(streaming=True), batch),
        *_stream_pair(
            "filtered", load(filters=half), lambda stream: stream, load(streaming=True, filters=half), batch
        ),
        _shuffled("as torch", load(format="torch").select(order), batch),
        _shuffled("as torch, with metadata", load(format="torch", columns=None).select(order), batch),
    ]


def _pair(
    name: str, weights: NDArray[np.float32], rows: NDArray[np.int64], dataset: Dataset, batch: int
) -> list[Way]:
    """The same rows by NumPy and by a map-style dataset."""
    by_numpy = f"numpy, {name}"
    return [
        Way(by_numpy, len(rows), _numpy_batches(weights, rows, batch)),
        Way(f"map-style, {name}", len(rows), _dataset_batches(dataset, batch), by_numpy, target=0.5),
    ]


def _stream_pair(
    name: str,
    dataset: Dataset,
    then: Callable[[IterableDataset], IterableDataset],
    stream: IterableDataset,
    batch: int,
) -> list[Way]:
    """The same rows by `from_generator` (some of them: it is slow) and by the zoo's own stream."""
    rows = min(GENERATOR_ROWS, len(dataset))
    by_generator = f"from_generator, {name}"
    generated = then(_from_generator(dataset.select(range(rows))))
    return [
        Way(by_generator, rows, _dataset_batches(generated, batch)),
        Way(f"streamed, {name}", len(dataset), _dataset_batches(then(stream), batch), by_generator, target=5.0),
    ]


def _shuffled(name: str, dataset: Dataset, batch: int) -> Way:
    return Way(f"map-style, shuffled {name}", len(dataset), _dataset_batches(dataset, batch), "numpy, shuffled")


def _mapped_copy(zoo: Path, path: Path) -> NDArray[np.float32]:
    """The weights of the train split as one flat array [rows, P], written to `path` and mapped from there."""
    rows = load_zoo(zoo, "train", columns=[], format="numpy")
    flat = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(len(rows), Zoo(zoo).spec.num_parameters)
    )
    first = 0
    for batch in rows.iter(256):
        block = np.concatenate([tensor.reshape(len(tensor), -1) for tensor in batch.values()], axis=1)
        flat[first : first + len(block)] = block
        first += len(block)
    flat.flush()
    return np.load(path, mmap_mode="r")


def _numpy_batches(
    weights: NDArray[np.float32], rows: NDArray[np.int64], batch: int
) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """Slices where the rows follow one another, as one would write it by hand; else fancy indices."""
    in_order = bool((np.diff(rows) == 1).all())

    def batches() -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(rows), batch):
            chosen = rows[first : first + batch]
            yield np.array(weights[chosen[0] : chosen[-1] + 1]) if in_order else weights[chosen]

    return batches


def _dataset_batches(dataset: Any, batch: int) -> Callable[[], Iterable[Any]]:
    return lambda: dataset.iter(batch_size=batch)


def _from_generator(dataset: Dataset) -> IterableDataset:
    """A stream without declared features, which only slow it down."""

    def rows() -> Iterator[dict[str, NDArray[np.float32]]]:
        for index in range(len(dataset)):
            yield dataset[index]

    return IterableDataset.from_generator(rows).with_format("numpy")


def _time(way: Way) -> float:
    start = time.perf_counter()
    deque(way.batches(), maxlen=0)  # drops every batch before it asks for the next: NumPy is fastest so
    return time.perf_counter() - start


def table_of(measurements: list[Measurement]) -> str:
    """The measurements as a table for people."""
    lines = [f"{'way of reading':45} {'rows':>6} {'rows/s':>9}   ratio"]
    for found in measurements:
        line = f"{found.name:45} {found.rows:6} {found.rows_per_second:9.0f}"
        if found.ratio is not None:
            line += f"   {found.ratio:.2f} of {found.against}"
        if found.ratio is not None and found.target is not None:
            line += f" (target {found.target:g}: {'met' if found.ratio >= found.target else 'missed'})"
        lines.append(line)
    return "\n".join(lines)


def run(
    zoo: Annotated[Path, typer.Option(help="Folder of the zoo.")],
    batch: Annotated[int, typer.Option(min=1, help="Rows a batch.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the measurements here.")] = None,
) -> None:
    """Rows per second of every way to read the train split of a zoo."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            measurements = measure(zoo, batch, repeats, Path(scratch))
    except RnnzooError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    typer.echo(table_of(measurements))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(found) for found in measurements], indent=1) + "\n")


if __name__ == "__main__":
    typer.run(run)

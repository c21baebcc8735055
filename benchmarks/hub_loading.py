"""How fast a zoo is read from the hub: `python -m benchmarks.hub_loading org/name`.

Every way starts from an empty cache, as a new user would, and in turn within each repeat: a plain download of
the files, eight at a time; a stream of the same rows; and a stream of the rows of one task, which stands for any
filter. Opening (the revision, zoo.json, the metadata) costs each of them the same few requests, one after the
other.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from huggingface_hub import constants, hf_hub_download

from rnnzoo.loaders.loading import load_zoo
from rnnzoo.loaders.reading.selection import Filters
from rnnzoo.loaders.source.hub import DOWNLOADS, HubSource
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.schema import weights_file


@dataclass(frozen=True)
class Measurement:
    """Medians of the repeats: seconds until the metadata were there, and from then on."""

    name: str
    rows: int
    megabytes: float
    opening: float
    reading: float


def measure(repository: str, split: str, repeats: int) -> list[Measurement]:
    """A plain download of the split's weights, a stream of all its rows, and a stream of one task's rows."""
    source = HubSource.open(repository, None, "files")
    tasks = source.read_metadata([split])[0]["task_id"].to_pylist()
    task, rows = Counter(tasks).most_common(1)[0]
    ways: list[tuple[str, int, Callable[[], float]]] = [
        ("plain download", len(tasks), lambda: _download(repository, split)),
        ("stream of all rows", len(tasks), lambda: _stream(repository, split, None)),
        ("stream of one task", rows, lambda: _stream(repository, split, [("task_id", "==", task)])),
    ]
    times: list[list[tuple[float, float]]] = [[] for _ in ways]
    for _ in range(repeats + 1):
        for (_, _, way), found in zip(ways, times, strict=True):
            with _empty_cache():
                start = time.perf_counter()
                opening = way()
                found.append((opening, time.perf_counter() - start - opening))
    megabytes = 4 * source.manifest.rnn_spec().num_parameters / 1e6
    return [
        Measurement(
            name,
            count,
            count * megabytes,
            statistics.median(opening for opening, _ in found[1:]),  # the first warms up
            statistics.median(reading for _, reading in found[1:]),
        )
        for (name, count, _), found in zip(ways, times, strict=True)
    ]


@contextmanager
def _empty_cache() -> Iterator[None]:
    used = constants.HF_HUB_CACHE
    with tempfile.TemporaryDirectory() as folder:
        constants.HF_HUB_CACHE = folder
        try:
            yield
        finally:
            constants.HF_HUB_CACHE = used


def _download(repository: str, split: str) -> float:
    """The files of a split, without the comparison with the manifest; returns the seconds for its metadata."""
    start = time.perf_counter()
    source = HubSource.open(repository, None, "files")
    source.read_metadata([split])
    opening = time.perf_counter() - start
    files = [weights_file(shard) for shard in source.manifest.splits[split].shards]
    fetch = partial(hf_hub_download, repository, repo_type="dataset", revision=source.repository.commit)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        deque(pool.map(fetch, files), maxlen=0)
    return opening


def _stream(repository: str, split: str, filters: Filters | None) -> float:
    """Read all weights and no metadata; returns the seconds until the stream was open."""
    start = time.perf_counter()
    stream = load_zoo(repository, split, streaming=True, filters=filters, columns=[], format="numpy")
    opening = time.perf_counter() - start
    deque(stream.iter(batch_size=256), maxlen=0)
    return opening


def table_of(measurements: list[Measurement]) -> str:
    """The measurements as a table for people, with the two ratios that count."""
    download, whole, one_task = measurements
    lines = [f"{'way of reading':20} {'rows':>6} {'MB':>8} {'opening s':>10} {'reading s':>10} {'MB/s':>8}"]
    lines += [
        f"{found.name:20} {found.rows:6} {found.megabytes:8.1f} {found.opening:10.3f} {found.reading:10.3f} "
        f"{found.megabytes / found.reading:8.0f}"
        for found in measurements
    ]
    speed, share = download.reading / whole.reading, one_task.reading / whole.reading
    lines.append(f"speed of the whole stream, of a plain download: {speed:.2f} (target: 0.70 or more)")
    lines.append(f"time of one task's stream, of the whole stream: {share:.2f} (target: less than 0.25)")
    return "\n".join(lines)


def run(
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Dataset repository of the zoo.")],
    split: Annotated[str, typer.Option(help="Split to read.")] = "train",
    repeats: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 5,
) -> None:
    """Time a plain download, a whole stream and a filtered stream of a zoo on the hub."""
    try:
        typer.echo(table_of(measure(repository, split, repeats)))
    except RnnzooError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    typer.run(run)

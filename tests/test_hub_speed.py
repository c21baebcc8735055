"""What reading 2002 checkpoints of random weights costs, from a hub at 30 ms a request and 1 Gbit a second."""

import math
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import LoopbackHub

from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, SplitEntry, write_manifest
from rnnzoo.zoo_builder.storage.shards import file_sha256, row_sha256, tensors_sha256, write_shard
from rnnzoo.zoo_builder.zoos import resolve_config

SPEC = RNNSpec(input_size=6, output_size=6, hidden_size=32)
RUNS, STEPS, RUNS_PER_SHARD = 182, 11, 64
TASK_RUNS = 9
"""Runs of the one task that is asked for: neighbours in a shard."""


def write_zoo(folder: Path) -> None:
    """A finished zoo whose one split is train."""
    groups = [range(first, min(first + RUNS_PER_SHARD, RUNS)) for first in range(0, RUNS, RUNS_PER_SHARD)]
    names = [schema.shard_name("train", index, len(groups)) for index in range(len(groups))]
    rows = [row for name, runs in zip(names, groups, strict=True) for row in write_runs(folder, name, runs)]
    (folder / "metadata").mkdir()
    columns = schema.metadata_schema(pa.schema([]))
    nothing = {field.name: "" if pa.types.is_string(field.type) else 0 for field in columns}
    table = pa.Table.from_pylist([nothing | row for row in rows]).cast(columns)
    pq.write_table(table, folder / schema.metadata_file("train"), compression="zstd")
    files = {
        path.relative_to(folder).as_posix(): FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    config = resolve_config("formal_languages", "smoke")
    manifest = Manifest(
        format="rnnzoo",
        format_version=schema.FORMAT_VERSION,
        zoo=config.zoo,
        config=config.to_dict(),
        spec=SPEC.to_dict(),
        layout=[{"name": p.name, "shape": p.shape, "offset": p.offset} for p in SPEC.parameters],
        encoding=config.make_family().encoding.to_dict(),
        built_with={},
        splits={"train": SplitEntry(tasks=RUNS - TASK_RUNS + 1, runs=RUNS, checkpoints=len(rows), shards=names)},
        files=files,
    )
    write_manifest(folder, manifest)


def write_runs(folder: Path, name: str, runs: range) -> list[dict]:
    """A shard of random weights; returns its rows of metadata."""
    weights = np.random.default_rng(runs.start).standard_normal(
        (len(runs) * STEPS, SPEC.num_parameters), np.float32
    )
    tensors = {p.name: weights[:, p.offset : p.offset + math.prod(p.shape)] for p in SPEC.parameters}
    shaped = {p.name: tensors[p.name].reshape(-1, *p.shape) for p in SPEC.parameters}
    write_shard(folder / schema.weights_file(name), shaped, {"split": "train"})
    hashes = tensors_sha256(list(shaped.values()))
    return [
        {
            "checkpoint_id": f"run-{run:06d}-step-{step:06d}",
            "task_id": "asked for" if 20 <= run < 20 + TASK_RUNS else f"task-{run}",
            "shard": schema.weights_file(name),
            "row": row,
            "rollout_row": row,
            "sha256": row_sha256(weights[row]),
            "tensors_sha256": hashes[row],
        }
        for row, (step, run) in enumerate((step, run) for step in range(STEPS) for run in runs)
    ]


@pytest.mark.slow
def test_cost(tmp_path):
    write_zoo(tmp_path / "zoo")
    with LoopbackHub(latency=0.03, bandwidth=125e6) as hub:
        hub.add_folder("org/zoo", tmp_path / "zoo", tags=["v1.0.0"])
        code = """
            from rnnzoo import load_zoo
            rows = load_zoo("org/zoo", "train", streaming=True, filters=[("task_id", "==", "asked for")])
            assert len(list(rows)) == 99
        """
        environment = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True)
        assert hub.bytes_sent() <= 3 * 99 * 4 * SPEC.num_parameters
        program = [sys.executable, "-m", "benchmarks.hub_loading", "org/zoo", "--repeats", "3"]
        done = subprocess.run(program, env=environment, check=True, capture_output=True, text=True)
    assert float(re.search("of a plain download: ([0-9.]+)", done.stdout)[1]) >= 0.7, done.stdout
    assert float(re.search("of the whole stream: ([0-9.]+)", done.stdout)[1]) < 0.25, done.stdout

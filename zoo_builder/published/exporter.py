"""Writes a zoo in the layout of the original release, so that code written for it runs on ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.published.array_file import ArrayFile, write_array
from rnnzoo.zoo_builder.published.arrays import ARGS, MENDED, PUBLISHED_CELL, uncounted_updates
from rnnzoo.zoo_builder.rollouts import rollout_outputs
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest, read_metadata
from rnnzoo.zoo_builder.storage.schema import rollouts_of
from rnnzoo.zoo_builder.storage.shards import read_shard
from rnnzoo.zoo_builder.storage.writing import check_new, new_folder, write_json
from rnnzoo.zoo_builder.tasks import find_family
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.tasks.published import PublishedForm
from rnnzoo.zoo_builder.zoos import IMPORTED


def export_zoo(zoo: Path, out: Path, progress: Callable[[int], None] = lambda rows: None) -> int:
    """Write a zoo as arrays of the original release.

    Rows are sorted by (run, step). A step counts the updates taken, as in the zoo; args.json says so. Where the
    zoo was imported, steps, args.json and mended sequences are as they came.

    Args:
        zoo: The folder of a finished zoo.
        out: The folder of the arrays, which must not exist yet.
        progress: Called with the number of rows written since the last call.

    Returns:
        The number of rows.

    Raises:
        RnnzooError: `zoo` is no finished zoo, `out` exists or cannot be written, or the original release does not
            have the family or the cell of the zoo.
    """
    manifest = read_manifest(zoo)
    form = find_family(manifest.config["family"]).published
    if form is None:
        raise RnnzooError(f"{zoo}: the original release has no zoo of the family {manifest.config['family']!r}")
    cell = manifest.rnn_spec().cell
    if cell != PUBLISHED_CELL.name:
        raise RnnzooError(
            f"{zoo}: cell: found {cell!r}, expected {PUBLISHED_CELL.name!r}: the published arrays hold "
            f"{PUBLISHED_CELL.title}s alone"
        )
    check_new(out)
    table = read_metadata(zoo, manifest)
    table = table.take(np.lexsort([table["step"].to_numpy(), _run_numbers(table)]))
    with new_folder(out) as folder:
        _write_tables(folder, form, manifest, table)
        _write_shards(zoo, folder, form, manifest, table, progress)
    return len(table)


def _write_tables(folder: Path, form: PublishedForm, manifest: Manifest, table: pa.Table) -> None:
    """args.json, the tasks, and the numbers of every row."""
    args = manifest.config["published_args"] if manifest.config.get("preset") == IMPORTED else _args(manifest)
    write_json(folder / ARGS, args)
    steps = table["step"].to_numpy().astype(np.int64) - uncounted_updates(args)
    numbers = np.stack([_run_numbers(table), steps], axis=1)
    write_array(folder / form.tasks.file, form.write_tasks(table))
    more, scores = form.write_scores(table)
    write_array(folder / form.numbers.file, numbers if more is None else np.column_stack([numbers, more]))
    if form.scores is not None and scores is not None:
        write_array(folder / form.scores.file, scores)


def _run_numbers(table: pa.Table) -> NDArray[np.int64]:
    return np.array([int(run_id.removeprefix("run-")) for run_id in table["run_id"].to_pylist()], np.int64)


def _args(manifest: Manifest) -> dict[str, Any]:
    spec = manifest.rnn_spec()
    return {
        "dataset": manifest.zoo,
        "rnn_hidden_size": spec.hidden_size,
        "rnn_num_layers": spec.num_layers,
        "rnnzoo": {"step_counts": "updates", "config": manifest.config},
    }


def _write_shards(
    zoo: Path,
    folder: Path,
    form: PublishedForm,
    manifest: Manifest,
    table: pa.Table,
    progress: Callable[[int], None],
) -> None:
    """The large arrays, a shard at a time."""
    spec, encoding = manifest.rnn_spec(), encoding_of(manifest.encoding)
    rows, shards = len(table), np.array(table["shard"].to_pylist())
    first = read_shard(file_in(zoo, rollouts_of(shards[0]))).tensors["inputs"]
    count, width = first.shape[1:]
    steps = encoding.steps(width)
    damage = bool(manifest.config.get(MENDED))
    with ExitStack() as files:

        def new(name: str, dtype: Any, shape: tuple[int, ...]) -> ArrayFile:
            return files.enter_context(ArrayFile(folder / name, dtype, shape))

        parameters = new("parameters.npy", np.float32, (rows, spec.num_parameters))
        sequences = new("sequences.npy", form.sequence_type, (rows, count, *form.sequence_shape()))
        logits = new("logits.npy", np.float16, (rows, count, steps, spec.output_size))
        for shard in np.unique(shards):
            weights = read_shard(file_in(zoo, shard)).tensors
            rollouts = read_shard(file_in(zoo, rollouts_of(shard))).tensors["inputs"]
            where = np.flatnonzero(shards == shard)
            row, rollout_row = (table[name].to_numpy()[where] for name in ("row", "rollout_row"))
            named = {p.name: weights[p.name][row] for p in spec.parameters}
            items = rollouts[rollout_row]
            flat = [tensor.reshape(len(row), -1) for tensor in named.values()]
            parameters.write(where, np.concatenate(flat, axis=1))
            sequences.write(where, form.write_items(items, damage))
            for some, outputs in rollout_outputs(encoding, named, items):
                answers = outputs.log_softmax(dim=-1) if form.log_softmax else outputs
                logits.write(where[some], answers.half().numpy())
                progress(len(answers))

"""Checks a finished zoo: files, schema, counts, hashes, and the metrics of a sample of checkpoints, anew.

Of a build that is not finished it checks the shards that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.differences import check_same_zoo
from rnnzoo.zoo_builder.identity.parts import check_part
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.pipeline.plan.stored import check_stored
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import check_shard, record_path
from rnnzoo.zoo_builder.rescoring import rescore
from rnnzoo.zoo_builder.rnn import RNNSpec, flatten_weights
from rnnzoo.zoo_builder.rollouts import rollout_losses
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.contents import (
    check_rollout_hashes,
    check_rollouts,
    check_weight_hashes,
    check_weights,
)
from rnnzoo.zoo_builder.storage.digest import (
    UNRECORDED,
    ZooDigest,
    checkpoint_hashes,
    config_digest,
    contents_share,
    join_contents,
    one_nan,
)
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import Manifest, join_metadata, read_manifest, read_split, read_splits
from rnnzoo.zoo_builder.storage.shards import Shard, file_sha256, read_shard, row_sha256, specs_of
from rnnzoo.zoo_builder.tasks.encodings import check_items, encoding_of
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.training.kernels.base import EXACT_ARITHMETIC
from rnnzoo.zoo_builder.zoos import IMPORTED, config_of, metadata_columns

LOSS_TOLERANCE = 1e-5
"""Relative, where the kernel computes in another arithmetic than the zoo's: its sums are ordered differently."""
PROBABILITY_TOLERANCE = 0.001
"""Likewise, of an accuracy that is a sum of probabilities."""
SAMPLING_SIGMAS = 5.0
AGAINST = "against"
"""The check whether a zoo is the one that was asked for: a sound zoo may fail it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found.

    Attributes:
        name: What was looked at.
        passed: Whether it is as it should be.
        found: What was found, in words.
    """

    name: str
    passed: bool
    found: str


@dataclass
class _Reader:
    """The zoo's files, opened once."""

    folder: Path
    manifest: Manifest
    metadata: dict[str, pa.Table]
    weights: dict[str, Shard]
    rollouts: dict[str, Shard]


def verify_zoo(
    folder: Path,
    kernel: Kernel,
    items_folder: Path | None = None,
    sample: int = 48,
    against: Reference | None = None,
) -> list[Check]:
    """Check the zoo in `folder`.

    Args:
        folder: The folder of a finished zoo.
        kernel: What recomputes losses and scores.
        items_folder: Where the user has the items, for a family whose items are read from files.
        sample: How many checkpoints have their metrics recomputed from the weights.
        against: The zoo that this one should be. None stands for any.

    Returns:
        The checks in order. A failed check ends the list.

    Raises:
        RnnzooError: There is no finished zoo to check.
    """
    manifest = read_manifest(folder)
    checks: list[Check] = []
    passed = partial(_passed, checks)
    if not passed("files", lambda: _check_files(folder, manifest)):
        return checks
    reader = _Reader(
        folder,
        manifest,
        {split: read_split(folder, split) for split in SPLITS},
        {name: read_shard(file_in(folder, schema.weights_file(name))) for name in _shard_names(manifest)},
        {name: read_shard(file_in(folder, schema.rollouts_file(name))) for name in _shard_names(manifest)},
    )
    everything = join_metadata(folder, reader.metadata.values())
    (
        passed("metadata", lambda: _check_metadata(reader, everything))
        and passed("config", lambda: check_stored(manifest, everything))
        and passed("splits", lambda: _check_splits(reader, everything))
        and passed("weights", lambda: _check_rows(reader, everything))
        and passed("rollout losses", lambda: _check_rollout_losses(reader, everything, kernel, sample))
        and passed("metrics", lambda: _check_metrics(reader, everything, kernel, items_folder, sample))
        and passed("digest", lambda: _check_digest(reader))
        and against is not None
        and passed(AGAINST, lambda: _check_against(reader, everything, against))
    )
    return checks


def verify_part(plan: ZooPlan, folder: Path, against: Reference | None = None) -> list[Check]:
    """Check the shards that a build has finished so far.

    Args:
        plan: The plan of the build.
        folder: Its folder.
        against: The zoo that these shards should be of. None stands for any.

    Returns:
        The checks in order. A failed check ends the list.
    """
    built = [shard for shard in plan.shards if record_path(folder, shard).exists()]
    checks: list[Check] = []
    if _passed(checks, "shards", lambda: _check_shards(plan, folder, built)) and against is not None:
        _passed(checks, AGAINST, lambda: check_part(plan, folder, built, against))
    return checks


def _passed(checks: list[Check], name: str, look: Callable[[], str]) -> bool:
    """Whether a look at something finds nothing wrong with it; adds what was found to the checks."""
    try:
        checks.append(Check(name, True, look()))
    except RnnzooError as error:
        checks.append(Check(name, False, str(error)))
    return checks[-1].passed


def _check_shards(plan: ZooPlan, folder: Path, built: Sequence[ShardPlan]) -> str:
    """At least one shard is finished, and each file of those that are is as its record says."""
    counted = f"{len(built)} of {len(plan.shards)} are finished"
    if not built:
        raise RnnzooError(f"{counted}: there is nothing to check yet")
    for shard in built:
        check_shard(folder, shard)
    return f"{counted}, each file as when it was stored"


def _shard_names(manifest: Manifest) -> list[str]:
    return [shard for entry in manifest.splits.values() for shard in entry.shards]


def _check_files(folder: Path, manifest: Manifest) -> str:
    """Every file the manifest lists is there, with its size and sha256; and no shard that it does not list."""
    if tuple(manifest.splits) != SPLITS:
        raise RnnzooError(f"{schema.MANIFEST}: found the splits {list(manifest.splits)}, expected {list(SPLITS)}")
    for name, entry in manifest.files.items():
        path = file_in(folder, name)
        if path.stat().st_size != entry.bytes:
            raise RnnzooError(f"{path}: found {path.stat().st_size} bytes, expected {entry.bytes}")
        if (found := file_sha256(path)) != entry.sha256:
            raise RnnzooError(f"{path}: found sha256 {found}, expected {entry.sha256}")
    for name in sorted(set(schema.names_in(folder, schema.FILE_NAME)) - manifest.files.keys()):
        raise RnnzooError(f"{folder / name}: not listed in {schema.MANIFEST}")
    size = sum(entry.bytes for entry in manifest.files.values())
    return f"{len(manifest.files)} files, {size / 1e6:.1f} MB, all with the sha256 of {schema.MANIFEST}"


def _check_metadata(reader: _Reader, everything: pa.Table) -> str:
    """Columns, counts and ids of the metadata, and the shards' shapes, agree with the manifest."""
    expected = metadata_columns(reader.manifest.config)
    for split, table in reader.metadata.items():
        path, entry = reader.folder / schema.metadata_file(split), reader.manifest.splits[split]
        for field in expected:  # and further ones, as zoos of an earlier version have
            found = table.schema.field(field.name).type if field.name in table.column_names else None
            if found is None and field.name in schema.LATER:
                continue
            if found != field.type:
                raise RnnzooError(f"{path}: column {field.name!r}: found {found}, expected {field.type}")
        counts = {
            "checkpoints": len(table),
            "runs": pc.count_distinct(table["run_id"]).as_py(),
            "tasks": pc.count_distinct(table["task_id"]).as_py(),
        }
        for name, found in counts.items():
            if found != getattr(entry, name):
                raise RnnzooError(f"{path}: found {found} {name}, expected {getattr(entry, name)}")
        named = [schema.weights_file(shard) for shard in entry.shards]
        if pc.unique(table["shard"]).to_pylist() != named:
            raise RnnzooError(f"{path}: its shards are not those of {schema.MANIFEST}: {named}")
    if pc.count_distinct(everything["checkpoint_id"]).as_py() != len(everything):
        raise RnnzooError("metadata: a checkpoint_id stands there twice")
    spec, encoding = reader.manifest.rnn_spec(), encoding_of(reader.manifest.encoding)
    for name, rows in _rows_by_shard(reader):
        shard, rollouts = reader.weights[name], reader.rollouts[name]
        check_weights(specs_of(shard.tensors), spec, len(rows), str(shard.path))
        check_rollouts(specs_of(rollouts.tensors), rows["rollout_row"].to_numpy(), str(rollouts.path))
        check_items(encoding, spec.output_size, **rollouts.tensors)
        for file in (shard, rollouts):
            expected_note = (reader.manifest.zoo, name)
            if (found_note := (file.metadata.get("zoo"), file.metadata.get("shard"))) != expected_note:
                raise RnnzooError(f"{file.path}: its header names {found_note}, expected {expected_note}")
    return f"{len(everything)} checkpoints of {pc.count_distinct(everything['run_id']).as_py()} runs"


def _rows_by_shard(reader: _Reader) -> Iterator[tuple[str, pa.Table]]:
    """Every shard's name, and its rows of the metadata."""
    for split, entry in reader.manifest.splits.items():
        table, start = reader.metadata[split], 0
        ends = pc.run_end_encode(table["shard"].combine_chunks()).run_ends.to_pylist()
        if len(ends) != len(entry.shards):
            path = reader.folder / schema.metadata_file(split)
            raise RnnzooError(f"{path}: the rows of a shard do not stand together")
        for name, end in zip(entry.shards, ends, strict=True):
            yield name, table.slice(start, end - start)
            start = end


def _check_splits(reader: _Reader, everything: pa.Table) -> str:
    """splits.json, the metadata and the config's own plan say the same; no task is in two splits."""
    splits, config = read_splits(reader.folder), reader.manifest.config
    if config["preset"] != IMPORTED and splits["seed"] != config["seed"]:
        raise RnnzooError(
            f"{reader.folder / schema.SPLITS_FILE}: seed: found {splits['seed']}, expected {config['seed']}"
        )
    for column in ("split", "paper_split"):
        pairs = everything.group_by(["task_id", column]).aggregate([])
        for task_id, split in zip(pairs["task_id"].to_pylist(), pairs[column].to_pylist(), strict=True):
            if splits[column].get(task_id) != split:
                raise RnnzooError(
                    f"{reader.folder / schema.SPLITS_FILE}: {column} of {task_id} is "
                    f"{splits[column].get(task_id)!r}, {split!r} in the metadata"
                )
    return ", ".join(f"{name} {entry.tasks} tasks" for name, entry in reader.manifest.splits.items())


def _check_rows(reader: _Reader, everything: pa.Table) -> str:
    """Weights and rollouts of every row have the row's own hashes, and `diverged` tells the truth."""
    spec = reader.manifest.rnn_spec()
    for name, rows in _rows_by_shard(reader):
        shard = reader.weights[name]
        flat = _flat_weights(spec, shard)
        if rows["row"].to_pylist() != list(range(len(flat))):
            raise RnnzooError(f"{shard.path}: the metadata do not count its rows from 0 to {len(flat) - 1}")
        for row, expected in enumerate(rows["sha256"].to_pylist()):
            if row_sha256(flat[row]) != expected:
                raise RnnzooError(f"{shard.path}: row {row} does not have the sha256 of its metadata")
        rollouts = reader.rollouts[name]
        check_weight_hashes(rows, spec, shard.tensors, rows["row"].to_numpy(), str(shard.path))
        check_rollout_hashes(rows, rollouts.tensors, rows["rollout_row"].to_numpy(), str(rollouts.path))
        if (rows["diverged"].to_numpy() != ~np.isfinite(flat).all(axis=1)).any():
            raise RnnzooError(f"{shard.path}: the column diverged is not what the weights say")
    diverged = pc.sum(everything["diverged"]).as_py()
    return f"{len(everything)} rows with their sha256, {diverged} not finite"


def _check_digest(reader: _Reader) -> str:
    """The digest of the zoo is that of its files."""
    manifest = reader.manifest
    if manifest.digest is None or manifest.arithmetic is None:
        return UNRECORDED
    found = ZooDigest(manifest.arithmetic, config_digest(manifest.config), _contents(reader))
    if str(found) != manifest.digest:
        raise RnnzooError(
            f"{reader.folder / schema.MANIFEST}: digest: found {manifest.digest}, its files have {found}"
        )
    return f"{found}, of the arithmetic {found.arithmetic}"


def _check_against(reader: _Reader, everything: pa.Table, against: Reference) -> str:
    """This zoo is another one, which is known or at hand."""
    manifest, folder = reader.manifest, reader.folder
    if manifest.digest is None:
        found = ZooDigest("unrecorded", config_digest(manifest.config), _contents(reader))
    else:
        found = ZooDigest.parse(manifest.digest)  # that of the files, as was checked
    return check_same_zoo(found, manifest, everything, lambda name: file_in(folder, name), against)


def _contents(reader: _Reader) -> str:
    """The digits of the contents, from the files."""
    spec, shares = reader.manifest.rnn_spec(), []
    for name, rows in _rows_by_shard(reader):
        flat = one_nan(_flat_weights(spec, reader.weights[name]))
        hashes = checkpoint_hashes(rows, [row_sha256(row) for row in flat], reader.rollouts[name].tensors)
        shares.append(contents_share(hashes))
    return join_contents(shares)


def _flat_weights(spec: RNNSpec, shard: Shard) -> NDArray[np.float32]:
    """The weights of all models of a shard, [N, P]."""
    tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in shard.tensors.items()}
    return flatten_weights(spec, tensors).numpy()


def _check_rollout_losses(reader: _Reader, everything: pa.Table, kernel: Kernel, sample: int) -> str:
    """rollout_loss of a sample, from nothing but the stored weights and rollouts."""
    spec, encoding = reader.manifest.rnn_spec(), encoding_of(reader.manifest.encoding)
    if encoding.needs_labels and any("labels" not in shard.tensors for shard in reader.rollouts.values()):
        return "left out: these rollouts have no labels"
    chosen = _sampled(everything, sample)
    found = []
    for row in chosen:
        name = Path(row["shard"]).name.removesuffix(".safetensors")
        rollouts = reader.rollouts[name].tensors
        inputs = rollouts["inputs"][row["rollout_row"]][None]
        labels = rollouts["labels"][row["rollout_row"]][None] if "labels" in rollouts else None
        found += rollout_losses(kernel, spec, encoding, _weights(reader, [row]), inputs, labels)
    return _compare(everything.schema.field("rollout_loss"), chosen, found, _is_exact(reader, kernel))


def _check_metrics(
    reader: _Reader, everything: pa.Table, kernel: Kernel, items_folder: Path | None, sample: int
) -> str:
    """All scores of a sample, from the weights and the task family's own items."""
    if reader.manifest.config.get("preset") == IMPORTED:
        return "left out: this zoo was imported, and its runs cannot be repeated"
    config = config_of(reader.manifest.config, schema.MANIFEST)
    try:
        family = config.make_family(items_folder)
    except RnnzooError as error:
        return f"left out, for want of the zoo's items: {error}"
    plan = ZooPlan(config, family)
    chosen = sorted(_sampled(everything, sample), key=lambda row: row["step"])
    scores = rescore(kernel, plan, chosen, _weights(reader, chosen))
    exact = _is_exact(reader, kernel)
    messages = [
        _compare(everything.schema.field(name), chosen, [score[name] for score in scores], exact)
        for name in (scores[0] if exact else ("eval_loss", "train_loss"))
    ]
    if exact:
        return "; ".join(messages)
    count = config.sampled_strings if family.generates else config.evaluation_items
    for row, score in zip(chosen, scores, strict=True):
        expected, found = row["accuracy"], score["accuracy"]
        sigma = np.sqrt(max(expected * (1 - expected), 1 / count) / count)
        is_drawn = not family.generates or row["accuracy_error"] > 0
        if abs(expected - found) > (SAMPLING_SIGMAS * sigma if is_drawn else PROBABILITY_TOLERANCE):
            raise RnnzooError(
                f"{row['checkpoint_id']}: accuracy: found {found:.4f} from the weights, {expected:.4f} stored"
            )
    return "; ".join([*messages, f"accuracy of {len(chosen)} checkpoints within its error"])


def _is_exact(reader: _Reader, kernel: Kernel) -> bool:
    """Whether the kernel must find the very numbers that were stored."""
    return reader.manifest.arithmetic == kernel.arithmetic == EXACT_ARITHMETIC


def _sampled(everything: pa.Table, count: int) -> list[dict[str, Any]]:
    """`count` rows, the same for the same zoo, evenly over all of them."""
    where = np.unique(np.linspace(0, len(everything) - 1, min(count, len(everything))).astype(int))
    return everything.take(where).to_pylist()


def _weights(reader: _Reader, rows: Sequence[dict[str, Any]]) -> torch.Tensor:
    """Flat weights [N, P] of some rows of metadata."""
    spec, flat = reader.manifest.rnn_spec(), []
    for row in rows:
        tensors = reader.weights[Path(row["shard"]).name.removesuffix(".safetensors")].tensors
        named = {name: torch.from_numpy(np.array(tensor[row["row"]])) for name, tensor in tensors.items()}
        flat.append(flatten_weights(spec, named))
    return torch.stack(flat)


def _compare(field: pa.Field, rows: Sequence[dict[str, Any]], found: Sequence[Any], exact: bool) -> str:
    """Raise RnnzooError unless the values of a column are those that were found, floats or vectors of floats."""
    expected, actual = (
        schema.stored_numbers(field, values) for values in ([row[field.name] for row in rows], found)
    )
    rtol = 0 if exact else LOSS_TOLERANCE
    for row, wanted, got in zip(rows, expected, actual, strict=True):
        if not np.isclose(got, wanted, rtol=rtol, atol=0, equal_nan=True).all():
            raise RnnzooError(
                f"{row['checkpoint_id']}: {field.name}: found {got} from the weights, {wanted} stored"
            )
    is_same = (expected == actual) | np.isnan(expected)
    identical = int(is_same.reshape(len(rows), -1).all(axis=1).sum())
    return f"{field.name} of {len(rows)} checkpoints reproduced, {identical} of them bit for bit"

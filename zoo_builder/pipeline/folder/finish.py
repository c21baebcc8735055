"""Joins the parts of all shards into the metadata and the manifest of a finished zoo.

The parts are read one by one, and rows are written a row group at a time: what this takes of memory does not
grow with the rows. It grows with the shards alone, by what the manifest says of each.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import rnnzoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.store import file_entry, part_path, read_part
from rnnzoo.zoo_builder.splits import RULE, SPLITS, count_tasks
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, SplitEntry, write_json, write_manifest
from rnnzoo.zoo_builder.storage.writing import replacing

log = logging.getLogger(__name__)

ROWS_PER_GROUP = 65_536
"""Of the metadata. Part of what their bytes depend on: never change it within a format version."""
TELL_SECONDS = 10
"""Joining that takes longer says so often how far it is."""


def finish_zoo(plan: ZooPlan, folder: Path) -> Manifest:
    """Join the parts of all shards into metadata and manifest.

    Called by `folder.finish_folder`, for one process at a time, and when every part is there. Raises RnnzooError,
    naming it, for a part that cannot be read or is not that of its shard.
    """
    joined = _Joined(plan, folder)
    entries: dict[str, SplitEntry] = {}
    tasks = count_tasks(plan.splits)
    for split in SPLITS:
        shards = plan.shards_of(split)
        runs = sum(len(shard.runs) for shard in shards)
        joined.write_metadata(split, shards)
        entries[split] = SplitEntry(
            tasks=tasks[split],
            runs=runs,
            checkpoints=runs * len(plan.config.checkpoints),
            shards=[shard.name for shard in shards],
        )
    splits = {"seed": plan.config.seed, "rule": RULE}
    splits |= {"split": plan.splits.split, "paper_split": plan.splits.paper_split}
    write_json(folder / schema.SPLITS_FILE, splits)
    joined.note(schema.SPLITS_FILE)
    manifest = Manifest(
        format="rnnzoo",
        format_version=schema.FORMAT_VERSION,
        zoo=plan.config.zoo,
        config=plan.config.to_dict(),
        spec=plan.spec.to_dict(),
        layout=[{"name": p.name, "shape": p.shape, "offset": p.offset} for p in plan.spec.parameters],
        encoding=plan.family.encoding.to_dict(),
        built_with=_built_with(joined.kernels),
        splits=entries,
        files={name: joined.files[name] for name in sorted(joined.files)},
    )
    write_manifest(folder, manifest)
    return manifest


class _Joined:
    """What the parts that have been read so far say: the zoo's files, and the kernels that trained it."""

    def __init__(self, plan: ZooPlan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._columns = schema.metadata_schema(plan.family.columns())
        self._read, self._told_at = 0, time.monotonic()
        self.files: dict[str, FileEntry] = {}
        self.kernels: set[str] = set()

    def note(self, name: str) -> None:
        """Take a file of the finished zoo into the manifest."""
        self.files[name] = FileEntry(**file_entry(self._folder / name))

    def write_metadata(self, split: str, shards: list[ShardPlan]) -> None:
        """Write the metadata of a split: the rows of its shards' parts, in order."""
        name = schema.metadata_file(split)
        header = json.dumps({"split": split, "zoo": self._plan.config.zoo}, sort_keys=True)
        groups = regrouped((self._read_part(shard) for shard in shards), self._columns, ROWS_PER_GROUP)
        first = next(groups)
        columns = first.schema.with_metadata({"rnnzoo": header})
        with (
            replacing(self._folder / name) as file,
            pq.ParquetWriter(file, columns, compression="zstd") as writer,
        ):
            for table in chain([first], groups):
                writer.write_table(table.cast(columns), row_group_size=ROWS_PER_GROUP)
        self.note(name)

    def _read_part(self, shard: ShardPlan) -> pa.Table:
        path = file_in(self._folder, str(part_path(Path(), shard)))
        table, note = read_part(path)
        self.kernels.add(note.kernel)
        expected = len(shard.runs) * len(self._plan.config.checkpoints)
        if len(table) != expected or not table.schema.equals(self._columns):
            raise RnnzooError(
                f"{path}: found {len(table)} rows of {table.num_columns} columns, "
                f"expected {expected} rows of the {len(self._columns)} columns of {self._plan.config.zoo}"
            )
        self.files |= note.files
        self._tell()
        return table

    def _tell(self) -> None:
        self._read += 1
        if time.monotonic() - self._told_at > TELL_SECONDS:
            self._told_at = time.monotonic()
            log.info("finishing: %d of %d shards joined", self._read, len(self._plan.shards))


def regrouped(tables: Iterable[pa.Table], columns: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The rows of some tables, `rows` at a time, and what is left at the end; at least one table, if empty."""
    held: list[pa.Table] = []
    count, is_first = 0, True
    for table in tables:
        held.append(table)
        count += len(table)
        while count >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held, count, is_first = [joined.slice(rows)], count - rows, False
    if count or is_first:
        yield pa.concat_tables(held) if held else columns.empty_table()


def _built_with(kernels: set[str]) -> dict[str, Any]:
    libraries = ("torch", "numpy", "pyarrow", "safetensors", "pillow")
    return {
        "kernels": sorted(kernels),
        "rnnzoo": rnnzoo.__version__,
        **{library: version(library) for library in libraries},
    }

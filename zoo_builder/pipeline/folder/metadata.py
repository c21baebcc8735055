"""Joins the rows of metadata of all shards into the files of the finished zoo, one a split.

Shards are read one by one, and rows are written a row group at a time: the memory that this takes does not grow
with the rows. It grows with the shards alone, by what the manifest says of each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import read_record, rows_file
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in
from rnnzoo.zoo_builder.storage.manifest import FileEntry, check_file
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import METADATA_KEY, encode_note
from rnnzoo.zoo_builder.storage.writing import replacing

log = logging.getLogger(__name__)

ROWS_PER_GROUP = 65_536
"""Of the metadata. Part of what their bytes depend on: never change it within a format version."""
TELL_SECONDS = 10
"""Joining that takes longer says so often how far it is."""


class MetadataJoiner:
    """Joins shards, split by split.

    Attributes:
        files: The zoo's files that are known by now: those of the shards joined so far, and the metadata.
        kernels: Those that trained the shards joined so far.
        arithmetics: Those in which the shards joined so far were computed, each with its shards' names.
        shares: The shares that these shards have in the digest of the zoo's contents.
    """

    def __init__(self, plan: ZooPlan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._columns = schema.metadata_schema(plan.family.columns(plan.config.source))
        self._read, self._told_at = 0, time.monotonic()
        self.files: dict[str, FileEntry] = {}
        self.kernels: set[str] = set()
        self.arithmetics: dict[str, list[str]] = {}
        self.shares: list[str] = []

    def write_split(self, split: str, shards: Sequence[ShardPlan]) -> None:
        """Write the metadata of a split: the rows of its shards, in order.

        Raises RnnzooError, naming the file, where a shard was damaged, or is one of another plan.
        """
        name = schema.metadata_file(split)
        note = encode_note({"split": split, "zoo": self._plan.config.zoo})
        groups = regrouped((self._read_rows(shard) for shard in shards), self._columns, ROWS_PER_GROUP)
        first = next(groups)
        columns = first.schema.with_metadata({METADATA_KEY: note})
        with (
            replacing(self._folder / name) as file,
            pq.ParquetWriter(file, columns, compression="zstd") as writer,
        ):
            for table in chain([first], groups):
                writer.write_table(table.cast(columns), row_group_size=ROWS_PER_GROUP)
        self.files[name] = FileEntry.of(self._folder / name)

    def _read_rows(self, shard: ShardPlan) -> pa.Table:
        record, name = read_record(self._folder, shard), rows_file(shard)
        path = file_in(self._folder, name)
        check_file(path, record.files[name])
        table = read_table(path)
        expected = len(shard.runs) * len(self._plan.config.checkpoints)
        if len(table) != expected or not table.schema.equals(self._columns):
            raise RnnzooError(
                f"{path}: found {len(table)} rows of {table.num_columns} columns, "
                f"expected {expected} rows of the {len(self._columns)} columns of {self._plan.config.zoo}"
            )
        self.kernels.add(record.kernel)
        self.arithmetics.setdefault(record.arithmetic, []).append(shard.name)
        self.shares.append(record.contents)
        self.files |= {file: entry for file, entry in record.files.items() if file != name}
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

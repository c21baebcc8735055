"""Tables from elsewhere: Parquet files read in memory that is in proportion to their size.

Some kilobytes of Parquet can stand for terabytes: compressed zeros, one dictionary entry repeated, a value given
as the end of the one before it. What a file's footer says of this may be false. So the headers of all pages are
looked at first (`parquet_pages.py`): how large they become, and which encodings they use.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.parquet_pages import check_pages

MOST_COLUMNS = 256
LONGEST_LIST = 4096
LARGEST_GROWTH = 200
"""How many times its size a file may become; ours become some 5 times."""
SMALL = 64_000_000
"""Bytes that any file may become."""
WORTH_THREADS = 1_000_000
"""Bytes of a file from which on several threads read it faster than one."""


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a Parquet file: all columns, or those named.

    Raises RnnzooError for what is no whole Parquet file, for columns that are neither texts nor numbers nor
    vectors of numbers, and for a file that would take more than 200 times its size.
    """
    try:
        with pa.OSFile(os.fsencode(path)) as opened, pq.ParquetFile(opened) as file:
            check_types(file.schema_arrow, file.metadata.num_columns)
            most = max(SMALL, LARGEST_GROWTH * path.stat().st_size)
            check_pages(path, file.schema_arrow, most)
            footer, schema = file.metadata, file.schema_arrow
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        options = {"read_dictionary": texts, "page_checksum_verification": True}
        with pa.OSFile(os.fsencode(path)) as opened, pq.ParquetFile(opened, metadata=footer, **options) as file:
            chosen = list(columns) if columns is not None else None
            table = file.read(chosen, use_threads=path.stat().st_size > WORTH_THREADS)
        table.validate(full=True)
        return _with_plain_texts(table, most)
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this file is missing") from error
    except (OSError, LookupError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise RnnzooError(f"{path}: not a whole Parquet file: {str(error).strip()}") from error


def check_types(schema: pa.Schema, leaves: int) -> None:
    """Raise ValueError for columns that are neither texts nor numbers nor vectors. leaves: those in the file."""
    if leaves > MOST_COLUMNS or leaves != len(schema):
        raise ValueError(f"found {leaves} columns, expected at most {MOST_COLUMNS} and none of them nested")
    if len(set(schema.names)) != len(schema):
        raise ValueError("found two columns of one name")
    for field in schema:
        is_list = pa.types.is_fixed_size_list(field.type)
        kind = field.type.value_type if is_list and field.type.list_size <= LONGEST_LIST else field.type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not is_number and (is_list or not (pa.types.is_boolean(kind) or pa.types.is_string(kind))):
            raise ValueError(f"column {field.name!r}: found {field.type}, expected texts, numbers or vectors")


def _with_plain_texts(table: pa.Table, most: int) -> pa.Table:
    """The table with dictionaries resolved, if all their texts then take at most `most` bytes."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            chunks = table.column(index).chunks
            lengths = [pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in chunks]
            most -= sum(pc.sum(each).as_py() or 0 for each in lengths)
            if most < 0:
                raise ValueError("its texts would take more memory than any zoo's")
            plain = table.column(index).cast(field.type.value_type)
            table = table.set_column(index, field.with_type(field.type.value_type), plain)
    return table

"""Tables from elsewhere: Parquet files read in memory that is in proportion to their size.

Some kilobytes of Parquet can stand for terabytes: compressed zeros, one dictionary entry repeated, a value given
as the end of the one before it. What a file's footer says of this may be false. So the headers of all pages are
looked at first (`read_table`): how large they become, and which encodings they use.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import parse_json

NOTE_KEY = b"rnnzoo"
"""The footer's entry with a JSON note."""
MOST_COLUMNS = 256
LONGEST_FOOTER = 16_000_000
LONGEST_LIST = 4096
LARGEST_GROWTH = 200
"""How many times its size a file may become; ours become some 5 times."""
SMALL = 64_000_000
"""Bytes that any file may become."""
WORTH_THREADS = 1_000_000
"""Bytes of a file from which on several threads read it faster than one."""
ENCODINGS = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 8: "RLE_DICTIONARY", 9: "BYTE_STREAM_SPLIT"}
"""Those whose values take no more memory than their page, or are numbers, or entries of a dictionary."""


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a Parquet file: all columns, or those named.

    Raises RnnzooError for what is no whole Parquet file, for columns that are neither texts nor numbers nor
    vectors of numbers, and for a file that would take more than 200 times its size.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_types(file.schema_arrow, file.metadata.num_columns)
            most = max(SMALL, LARGEST_GROWTH * path.stat().st_size)
            _check_pages(path, file.schema_arrow, most)
            footer, schema = file.metadata, file.schema_arrow
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        options = {"read_dictionary": texts, "page_checksum_verification": True}
        with pq.ParquetFile(path, metadata=footer, **options) as file:
            chosen = list(columns) if columns is not None else None
            table = file.read(chosen, use_threads=path.stat().st_size > WORTH_THREADS)
        table.validate(full=True)
        return _with_plain_texts(table, most)
    except FileNotFoundError as error:
        raise RnnzooError(f"{path}: this file is missing") from error
    except (OSError, LookupError, ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise RnnzooError(f"{path}: not a whole Parquet file: {error}") from error


def read_note(path: Path) -> dict[str, Any]:
    """The JSON note in a Parquet file's footer. Raises RnnzooError when there is none."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RnnzooError(f"{path}: not a whole Parquet file: {error}") from error
    note = parse_json(metadata.get(NOTE_KEY, b"null"), f"{path}: its note")
    if not isinstance(note, dict):
        raise RnnzooError(f"{path}: its note: found {type(note).__name__}, expected a JSON object")
    return note


def _check_types(schema: pa.Schema, leaves: int) -> None:
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


# --- pages
#
# Footer and page headers are read here, and not asked of pyarrow: its `RowGroupMetaData.column` ends the process
# when the footer's statistics do not fit the column (pyarrow 26). A field that stands there twice, or has another
# type than Parquet's, is refused: then what is looked at here is what pyarrow reads later.


@dataclass(frozen=True)
class _Page:
    """What a page's header says. encoding: None for a page of other data."""

    header_bytes: int
    compressed: int
    uncompressed: int
    values: int
    encoding: int | None


def _check_pages(path: Path, schema: pa.Schema, most: int) -> None:
    """Raise ValueError when the pages do not fill the file's columns, or would take more than `most` bytes."""
    lengths = [field.type.list_size if pa.types.is_fixed_size_list(field.type) else 1 for field in schema]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        footer = _footer(content)
        if footer[3, I64] > len(content):
            raise ValueError(f"found {footer[3, I64]} rows in {len(content)} bytes")
        for group in footer[4, LIST]:
            for chunk, length in zip(group[1, LIST], lengths, strict=True):
                values = 0
                for page in _pages(content, chunk):
                    values += page.values
                    most -= page.uncompressed
                    if page.encoding not in (None, *ENCODINGS):
                        raise ValueError(f"found encoding {page.encoding}, expected one of {ENCODINGS}")
                if most < 0 or values > max(1, length) * group[3, I64]:
                    raise ValueError("its pages hold more than its size and its rows allow")


def _footer(content: mmap.mmap) -> Fields:
    """FileMetaData in Parquet's parquet.thrift: 3 is the number of rows, 4 the row groups."""
    length = int.from_bytes(content[-8:-4], "little")
    if length > min(LONGEST_FOOTER, len(content) - 8):
        raise ValueError(f"the footer should have {length} bytes, the file has {len(content)}")
    footer, _ = _struct(content, len(content) - 8 - length)
    if footer[3, I64] != sum(group[3, I64] for group in footer[4, LIST]):
        raise ValueError("the rows of its groups are not those of the file")
    return footer


def _pages(content: mmap.mmap, chunk: Fields) -> Iterator[_Page]:
    """The pages of one column in one row group: of a ColumnChunk."""
    metadata = chunk[3, STRUCT]
    if (1, TEXT) in chunk:
        raise ValueError("a column is in another file")
    values, size, place = metadata[5, I64], metadata[7, I64], metadata[9, I64]
    if values == 0:
        return
    dictionary = metadata.get((11, I64), 0)
    if 0 < dictionary < place:
        place = dictionary
    end = place + size
    if not 0 <= place <= end <= len(content):
        raise ValueError(f"a column should take the bytes {place} to {end} of {len(content)}")
    while place < end:
        page = _page(content, place)
        yield page
        place += page.header_bytes + page.compressed
    if place != end:
        raise ValueError(f"the pages of a column end at {place}, expected {end}")


def _page(content: mmap.mmap, place: int) -> _Page:
    """The PageHeader at `place`."""
    fields, end = _struct(content, place)
    kind, uncompressed, compressed = (fields[number, I32] for number in (1, 2, 3))
    if kind not in PAGES:
        raise ValueError(f"found a page of type {kind}")
    own, encoding = PAGES[kind]
    header = fields[own, STRUCT]
    values = header[1, I32]
    if min(uncompressed, compressed, values) < 0:
        raise ValueError("a page has a negative size")
    return _Page(end - place, compressed, uncompressed, values if kind != DICTIONARY else 0, header[encoding, I32])


PAGES = {0: (5, 2), 2: (7, 2), 3: (8, 4)}
"""Type of page -> the field with its own header, and in that one the field with the encoding."""
DICTIONARY = 2


# --- Thrift's compact protocol

Fields = dict[tuple[int, int], Any]
"""(number of a field, its type) -> value. Of texts only the length is kept."""
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, TEXT, LIST, SET, _, STRUCT = range(1, 13)
DEEPEST = 10


def _struct(content: mmap.mmap, place: int, depth: int = 0) -> tuple[Fields, int]:
    """The struct at `place`, and where it ends."""
    fields: Fields = {}
    numbers: set[int] = set()
    number = 0
    while (head := content[place]) != 0:
        place, kind = place + 1, head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, place = _number(content, place, I16)
        if number in numbers:
            raise ValueError("a field stands there twice")
        numbers.add(number)
        if kind not in (TRUE, FALSE):
            fields[number, kind], place = _value(content, place, kind, depth + 1)
    return fields, place + 1


def _value(content: mmap.mmap, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise ValueError("structs in structs, too deep for Parquet")
    if kind in (I16, I32, I64):
        return _number(content, place, kind)
    if kind == STRUCT:
        return _struct(content, place, depth)
    if kind == LIST:
        return _list(content, place, depth)
    if kind == TEXT:
        length, place = _varint(content, place)
        return length, place + length
    if kind in (TRUE, FALSE, BYTE, DOUBLE):
        return None, place + (8 if kind == DOUBLE else 1)
    raise ValueError(f"found a field of type {kind}, which Parquet has none of")


def _list(content: mmap.mmap, place: int, depth: int) -> tuple[list[Any], int]:
    head, place = content[place], place + 1
    count, kind = head >> 4, head & 15
    if count == 15:
        count, place = _varint(content, place)
    if count > len(content):
        raise ValueError(f"found a list of {count} entries in {len(content)} bytes")
    values = []
    for _ in range(count):
        value, place = _value(content, place, kind, depth + 1)
        values.append(value)
    return values, place


def _number(content: mmap.mmap, place: int, kind: int) -> tuple[int, int]:
    value, place = _varint(content, place)
    if value >= 1 << {I16: 16, I32: 32, I64: 64}[kind]:
        raise ValueError("found a number of more bits than it may have")
    return value >> 1 ^ -(value & 1), place


def _varint(content: mmap.mmap, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("found a number of more than 70 bits")

"""How much memory the pages of a Parquet file will take, read from their headers before any of them is opened.

Why this is not left to pyarrow (26). Its limits (`thrift_string_size_limit`, `thrift_container_size_limit`)
bound the footer alone, and a file's hash in zoo.json is of no use against whoever wrote both. With those limits,
and a check of the column types and of the number of rows, a file of 37 kB (three texts of 400 MB, compressed) took
2690 MB before it could be refused, and one of 6 kB took 586 MB; here they take 7 MB. pyarrow's own account of the
pages, `metadata.row_group(0).column(0)`, ends the process when the footer's statistics do not fit the column
(tests/test_hostile_sizes.py has both). Files that are merely damaged are no reason: of 1500 made by tests/fuzz
pyarrow refused or read each one, in little memory.

So footer and page headers are read here, and no more of them than needed. A field that stands there twice, or has
another type than Parquet's, is refused: then what is looked at here is what pyarrow reads later.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

LONGEST_FOOTER = 16_000_000
ENCODINGS = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 8: "RLE_DICTIONARY", 9: "BYTE_STREAM_SPLIT"}
"""Those whose values take no more memory than their page, or are numbers, or entries of a dictionary."""


@dataclass(frozen=True)
class _Page:
    """What a page's header says. encoding: None for a page of other data."""

    header_bytes: int
    compressed: int
    uncompressed: int
    values: int
    encoding: int | None


def check_pages(path: Path, schema: pa.Schema, most: int) -> None:
    """Raise ValueError when the pages do not fill the file's columns, or would take more than `most` bytes."""
    columns = [_length_and_width(field.type) for field in schema]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        footer = _footer(content)
        if footer[3, I64] > len(content):
            raise ValueError(f"found {footer[3, I64]} rows in {len(content)} bytes")
        for group in footer[4, LIST]:
            for chunk, (length, width) in zip(group[1, LIST], columns, strict=True):
                values = 0
                for page in _pages(content, chunk):
                    values += page.values
                    most -= max(page.uncompressed, page.values * width)
                    if page.encoding not in (None, *ENCODINGS):
                        raise ValueError(f"found encoding {page.encoding}, expected one of {ENCODINGS}")
                if most < 0 or values > max(1, length) * group[3, I64]:
                    raise ValueError("its pages hold more than its size and its rows allow")


def _length_and_width(kind: pa.DataType) -> tuple[int, int]:
    """How many values a row has, and the bytes of each; of texts those of its number in a dictionary."""
    is_list = pa.types.is_fixed_size_list(kind)
    value = kind.value_type if is_list else kind
    return kind.list_size if is_list else 1, 4 if pa.types.is_string(value) else -(-value.bit_width // 8)


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

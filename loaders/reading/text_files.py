"""Text files of a dataset or a stream, with all numbers of tensors: nested lists in JSON, vectors in CSV.

`datasets` leaves both to pandas, which writes one number of a matrix, and of a vector NumPy's shortened print.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from datasets import Dataset, IterableDataset

from rnnzoo.loaders.reading.private_parts import ArrayType, chosen_rows
from rnnzoo.zoo_builder.errors import RnnzooError, some_of

DECIMALS = 15
"""Of a number in JSON: as many as pandas writes."""
BLOCK = 1000
"""Rows of a stream that are read at once."""


class TextFiles:
    """How our classes write text files; for the arguments see those of `datasets`."""

    def to_csv(self, *args: Any, **options: Any) -> int:
        """Write a CSV file, in which a vector is a text such as "[0.5, 1.0]". Returns its bytes.

        Raises:
            RnnzooError: There are columns of matrices.
        """
        features = self.features or _rows(self).features  # type: ignore[attr-defined]
        if matrices := [field.name for field in features.arrow_schema if _is_matrix(field.type)]:
            raise RnnzooError(
                f"to_csv: found matrices in the columns {some_of(matrices)}; expected none, as with `tensors=[]` "
                "or after `remove_columns`; `to_parquet` writes them"
            )
        return Dataset.to_csv(_changed(_rows(self), _as_text), *args, **options)

    def to_json(self, *args: Any, **options: Any) -> int:
        """Write a JSON file, in which tensors are nested lists, with 15 decimals a number. Returns its bytes."""
        rows = _changed(_rows(self), _as_lists)
        return Dataset.to_json(rows, *args, **{"double_precision": DECIMALS} | options)


def _rows(dataset: Any) -> Dataset:
    """All rows of a dataset or a stream, the latter's in memory."""
    if not isinstance(dataset, IterableDataset):
        return dataset
    tables = list(dataset.with_format("arrow").iter(BLOCK))
    return Dataset(pa.concat_tables(tables) if tables else dataset.features.arrow_schema.empty_table())


def _changed(rows: Dataset, change: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> Dataset:
    """The same rows, with every column changed."""
    table = rows.data.table
    table = pa.table({name: change(table[name]) for name in table.column_names})
    chosen = chosen_rows(rows)
    return Dataset(table) if chosen is None else Dataset(table).select(chosen)


def _as_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of matrices as lists of lists over the same memory."""
    if not isinstance(column.type, ArrayType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of lists as their JSON."""
    if not _is_list(column.type):
        return column
    texts = [None if each is None else json.dumps(each) for each in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _is_matrix(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_list(kind.value_type) or _is_matrix(kind.value_type)
    return isinstance(kind, ArrayType)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

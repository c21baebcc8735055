"""Which checkpoints are meant: by id, by row, by a row of a table, or by a whole table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.loaders.values import columns_of, listed, plain
from rnnzoo.zoo_builder.errors import RnnzooError, in_a_line, some_of

ID = "checkpoint_id"
HASHES = ("sha256", "rollout_sha256")
"""Columns by which a row of this zoo is told from one of another zoo with the same ids."""
Checkpoint = str | int | Mapping[str, Any] | Any
"""A checkpoint_id, a row number of `Zoo.metadata`, or a row that has a "checkpoint_id": of pandas (or that is
labelled by it), also as named tuple, of pyarrow's `to_pylist`, of a dataset."""
NO_LIST = bytes | bytearray | memoryview | set | frozenset
"""What can be gone through, but not as checkpoints: bytes would be row numbers, and sets have no order."""
Checkpoints = Iterable[Any]
"""Some of these, as often as they are needed; or a table with a column "checkpoint_id"; or truth values, one for
each row of `Zoo.metadata`, which a Series labels by row numbers or ids, in any order."""


class NoSuchCheckpoint(RnnzooError, LookupError):
    """A checkpoint that is not in the zoo."""


class Index:
    """The rows of checkpoints. metadata: one row a checkpoint, with its id and hashes of its content."""

    def __init__(self, metadata: pa.Table) -> None:
        self._names = metadata[ID].to_pylist()
        self._row_of = {name: row for row, name in enumerate(self._names)}
        self._hashes = {name: metadata[name] for name in HASHES if name in metadata.column_names}

    def __contains__(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is in the zoo. Raises RnnzooError for a table, and for a row without an id."""
        try:
            return self.row(checkpoint) >= 0
        except NoSuchCheckpoint:
            return False

    def row(self, checkpoint: Checkpoint) -> int:
        """The row of a checkpoint.

        Raises:
            NoSuchCheckpoint: It is not in the zoo, or it is a row of another one.
            RnnzooError: It has no id.
        """
        if columns_of(checkpoint) is not None:
            raise RnnzooError("checkpoint: found a table, expected one row, such as table.iloc[0]")
        checkpoint = plain(checkpoint)
        if isinstance(checkpoint, Integral) and not isinstance(checkpoint, bool):
            if 0 <= int(checkpoint) < len(self._names):
                return int(checkpoint)
            raise NoSuchCheckpoint(f"checkpoint: found row {checkpoint}, expected 0 to {len(self._names) - 1}")
        if isinstance(checkpoint, str):
            if checkpoint in self._row_of:
                return self._row_of[checkpoint]
        elif (name := self._id_of(checkpoint)) is not None:
            row = self.row(name)
            self._check_hashes([row], {each: [_field(checkpoint, each)] for each in self._hashes})
            return row
        raise NoSuchCheckpoint(
            f"checkpoint: found {in_a_line(checkpoint)}, expected a row number, a {ID} such as "
            f"{self._names[0]!r}, or a row that has one"
        )

    def rows(self, checkpoints: Checkpoints) -> NDArray[np.int64]:
        """The rows of some checkpoints [N]. Raises RnnzooError where there are none, and as `row` does."""
        columns = columns_of(checkpoints)
        if columns is not None:
            given = listed(_ids_of_table(checkpoints, columns))
        elif _is_one(checkpoints):
            found = in_a_line(checkpoints)
            order = ", whose order is arbitrary" if isinstance(checkpoints, set | frozenset) else ""
            raise RnnzooError(f"ids: found {found}{order}, expected a list of checkpoints, or a table of them")
        elif getattr(checkpoints, "name", None) not in (None, ID) and not _are(str | bool | np.bool_, checkpoints):
            raise RnnzooError(
                f"ids: found the column {checkpoints.name!r} of a table, expected {ID!r}, or the table"  # type: ignore[attr-defined]
            )
        else:
            given = listed(checkpoints)
        if given and _are(bool | np.bool_, given):
            given = self._chosen(given, checkpoints.index if isinstance(checkpoints, pd.Series) else None)
        if not given:
            raise RnnzooError("ids: found none, expected at least one checkpoint")
        rows = np.array([self.row(each) for each in given], np.int64)
        if columns is not None:
            hashes = {name: listed(checkpoints[name]) for name in self._hashes if name in columns}  # type: ignore[index]
            self._check_hashes(rows.tolist(), hashes)
        return rows

    def _chosen(self, truths: Sequence[bool], labels: pd.Index | None) -> list[int]:
        """The rows for which there is a True. labels: those of a Series, the row number or id of each truth value;
        None where they stand in the order of the metadata."""
        if len(truths) != len(self._names):
            raise RnnzooError(
                f"ids: found {len(truths)} truth values, expected one for each of {len(self._names)}"
            )
        if labels is None:
            return np.flatnonzero(truths).tolist()
        try:
            rows = np.array([self.row(label) for label in labels], np.int64)
        except RnnzooError:
            rows = np.empty(0, np.int64)
        if len(np.unique(rows)) != len(truths):
            raise RnnzooError(
                f"ids: found truth values with the labels {some_of(list(map(repr, labels)))}, expected each row "
                f"number from 0 to {len(truths) - 1} once, or each {ID}"
            )
        return sorted(rows[np.asarray(truths)].tolist())

    def _id_of(self, row: Any) -> Any:
        """The id of a row of a table: that of its column, or its label, where that is one; None for what has none.

        Raises RnnzooError for a row that has columns, and no id.
        """
        if isinstance(row, Mapping) and ID not in row:
            raise RnnzooError(f"row: found no {ID!r} among its columns {list(row)}")
        if (name := _field(row, ID)) is not None:
            return name
        label = row.name if isinstance(row, pd.Series) else getattr(row, "Index", None)
        return label if isinstance(label, str) and label in self._row_of else None

    def _check_hashes(self, rows: Sequence[int], found: Mapping[str, Sequence[Any]]) -> None:
        """Raise NoSuchCheckpoint where rows were given with other hashes than those of the zoo.

        found: for each of these columns, what stands in the rows that were given; what is no text says nothing.
        """
        for name, hashes in found.items():
            expected = self._hashes[name].take(pa.array(rows)).to_pylist()
            for row, got, wanted in zip(rows, hashes, expected, strict=True):
                if isinstance(got, str) and got != wanted:
                    raise NoSuchCheckpoint(
                        f"checkpoint {self._names[row]!r}: found the {name} {got:.64}, expected {wanted} "
                        "as in this zoo: the row is one of another zoo"
                    )


def _is_one(checkpoints: Any) -> bool:
    """Whether it is one checkpoint, or what cannot be several in an order."""
    is_row = isinstance(checkpoints, str | Mapping | NO_LIST) or hasattr(checkpoints, ID)
    return is_row or not hasattr(checkpoints, "__iter__")


def _field(row: Any, name: str) -> Any:
    """The value of a column in a row; None where there is no such column."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _ids_of_table(table: Any, columns: Sequence[str]) -> list[Any]:
    """The ids of a table's rows: those of a column, or of the index that `Zoo.evaluate` gives its tables."""
    if ID in columns:
        return list(table[ID])
    index = getattr(table, "index", None)
    if getattr(index, "name", None) != ID:
        raise RnnzooError(f"ids: found a table with the columns {list(columns)}, expected {ID!r} among them")
    return list(index)  # type: ignore[arg-type]


def _are(kinds: Any, values: Iterable[Any]) -> bool:
    return all(isinstance(each, kinds) for each in values)

"""Which checkpoints are meant: by id, by row, by a row of a table, or by a whole table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError

ID = "checkpoint_id"
Checkpoint = str | int | Mapping[str, Any] | Any
"""A checkpoint_id, a row number of `Zoo.metadata`, or a row that has a "checkpoint_id": of pandas, also as named
tuple, of pyarrow's `to_pylist`, of a dataset."""
Checkpoints = Iterable[Any]
"""Some of these, as often as they are needed; or a table with a column "checkpoint_id"; or truth values, one for
each row of `Zoo.metadata`."""


class NoSuchCheckpoint(RnnzooError, LookupError):
    """A checkpoint that is not in the zoo."""


class Index:
    """The rows of checkpoints. names: the checkpoint_id of every row."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._row_of = {name: row for row, name in enumerate(names)}

    def row(self, checkpoint: Checkpoint) -> int:
        """The row of a checkpoint. Raises NoSuchCheckpoint, or RnnzooError for what has no id."""
        if _columns_of(checkpoint) is not None:
            raise RnnzooError("checkpoint: found a table, expected one row, such as table.iloc[0]")
        if isinstance(checkpoint, Integral) and not isinstance(checkpoint, bool):
            if 0 <= int(checkpoint) < len(self._names):
                return int(checkpoint)
            raise NoSuchCheckpoint(f"checkpoint: found row {checkpoint}, expected 0 to {len(self._names) - 1}")
        if isinstance(checkpoint, Mapping):
            if ID not in checkpoint:
                raise RnnzooError(f"row: found no {ID!r} among its columns {list(checkpoint)}")
            return self.row(checkpoint[ID])
        if not isinstance(checkpoint, str) and hasattr(checkpoint, ID):
            return self.row(getattr(checkpoint, ID))
        if not isinstance(checkpoint, str) or checkpoint not in self._row_of:
            raise NoSuchCheckpoint(
                f"checkpoint: found {checkpoint!r}, expected a row number, a {ID} such as {self._names[0]!r}, "
                "or a row that has one"
            )
        return self._row_of[checkpoint]

    def rows(self, checkpoints: Checkpoints) -> NDArray[np.int64]:
        """The rows of some checkpoints [N]. Raises RnnzooError where there are none, and as `row` does."""
        if (columns := _columns_of(checkpoints)) is not None:
            checkpoints = _ids_of_table(checkpoints, columns)
        elif _is_one(checkpoints):
            found = " ".join(repr(checkpoints).split())  # a row of pandas has many lines
            raise RnnzooError(f"ids: found {found:.200}, expected a list of checkpoints, or a table of them")
        elif getattr(checkpoints, "name", None) not in (None, ID) and not _are(str | bool | np.bool_, checkpoints):
            raise RnnzooError(
                f"ids: found the column {checkpoints.name!r} of a table, expected {ID!r}, or the table"  # type: ignore[attr-defined]
            )
        elif hasattr(checkpoints, "tolist"):  # of NumPy, torch and pandas
            checkpoints = np.atleast_1d(np.asarray(checkpoints)).tolist()
        given = [each.as_py() if hasattr(each, "as_py") else each for each in checkpoints]
        if given and _are(bool | np.bool_, given):
            if len(given) != len(self._names):
                raise RnnzooError(
                    f"ids: found {len(given)} truth values, expected one for each of {len(self._names)}"
                )
            given = np.flatnonzero(given).tolist()
        if not given:
            raise RnnzooError("ids: found none, expected at least one checkpoint")
        return np.array([self.row(each) for each in given], np.int64)


def _is_one(checkpoints: Any) -> bool:
    """Whether it is one checkpoint, or what cannot be several."""
    is_row = isinstance(checkpoints, str | Mapping) or hasattr(checkpoints, ID)
    return is_row or not hasattr(checkpoints, "__iter__")


def _columns_of(table: Any) -> Sequence[str] | None:
    """The columns of a table of pandas, pyarrow or datasets; None for what is no table."""
    found = getattr(table, "column_names", getattr(table, "columns", None))
    return None if found is None else list(found)


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

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
        if isinstance(checkpoints, str | Mapping):
            raise RnnzooError(
                f"ids: found {checkpoints!r:.200}, expected a list of checkpoints, or a table of them"
            )
        columns = getattr(checkpoints, "column_names", getattr(checkpoints, "columns", None))
        if columns is not None:
            if ID not in columns:
                raise RnnzooError(
                    f"ids: found a table with the columns {list(columns)}, expected {ID!r} among them"
                )
            checkpoints = list(checkpoints[ID])  # type: ignore[index]
        given = [each.as_py() if hasattr(each, "as_py") else each for each in checkpoints]
        if given and all(isinstance(each, bool | np.bool_) for each in given):
            if len(given) != len(self._names):
                raise RnnzooError(
                    f"ids: found {len(given)} truth values, expected one for each of {len(self._names)}"
                )
            given = np.flatnonzero(given).tolist()
        if not given:
            raise RnnzooError("ids: found none, expected at least one checkpoint")
        return np.array([self.row(each) for each in given], np.int64)

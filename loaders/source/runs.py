"""Numbers of rows as runs of consecutive ones: what is read or copied in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def runs_of(rows: NDArray[np.integer[Any]], breaks: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Runs of consecutive numbers as [K, 2] of (first, last + 1).

    rows: [B], not empty. breaks: [B - 1], whether a run must end between two neighbours all the same.

    >>> runs_of(np.array([3, 4, 5, 9])).tolist()
    [[3, 6], [9, 10]]
    """
    ends_run = np.diff(rows) != 1
    if breaks is not None:
        ends_run |= breaks
    cuts = np.flatnonzero(ends_run)
    firsts = rows[np.concatenate([[0], cuts + 1])]
    lasts = rows[np.concatenate([cuts, [len(rows) - 1]])]
    return np.stack([firsts, lasts + 1], axis=1).astype(np.int64)

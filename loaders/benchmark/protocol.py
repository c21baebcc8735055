"""Who sees what: which checkpoints train, choose and report, under each protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError

Rows = NDArray[np.int64]
Protocol = Literal["strict", "paper"]
PROTOCOLS = ("strict", "paper")


@dataclass(frozen=True)
class Partition:
    """Rows of a `LoadedZoo`, by what they are used for.

    train: encoders learn from these. readout: readouts are fitted on these. validation: both are chosen by these.
    reported: split -> rows that scores are reported on.
    """

    train: Rows
    readout: Rows
    validation: Rows
    reported: dict[str, Rows]


def partition(loaded: LoadedZoo, protocol: str) -> Partition:
    """The partition of a zoo under a protocol; tasks are never divided.

    strict: readouts see train, are chosen on validation, and report test and ood.
    paper: by the paper's splits; every other one of its ood tasks joins the readouts' training, the rest is
    reported (Herrmann et al. 2024).
    """
    if protocol not in PROTOCOLS:
        raise ParameterError("protocol", f"found {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    names = loaded.column("split" if protocol == "strict" else "paper_split")
    rows = {name: np.flatnonzero(names == name) for name in ("train", "validation", "test", "ood")}
    if protocol == "strict":
        reported = {"test": rows["test"], "ood": rows["ood"]}
        parts = Partition(rows["train"], rows["train"], rows["validation"], reported)
    else:
        tasks = loaded.column("task_id")
        shown = np.isin(tasks[rows["ood"]], np.unique(tasks[rows["ood"]])[::2])
        readout = np.concatenate([rows["train"], rows["ood"][shown]])
        parts = Partition(rows["train"], readout, rows["validation"], {"ood": rows["ood"][~shown]})
    for name, held in {"train": parts.train, **parts.reported}.items():
        if not len(held):
            raise RnnzooError(f"the split {name!r} is empty; a benchmark needs a zoo of more tasks")
    return parts


def zoo_digest(config: Mapping[str, Any]) -> str:
    """Names the zoo that a config stands for: results of zoos with the same digest may be compared.

    The same config gives the same runs, tasks and splits everywhere, and weights that agree up to the rounding of
    the machine that built it.
    """
    # `source` was called `images` when the first results were stored: so they still count as of the same zoo.
    named = {"images" if name == "source" else name: value for name, value in config.items()}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

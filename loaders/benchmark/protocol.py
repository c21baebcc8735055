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

    Attributes:
        train: Encoders learn from these.
        readout: Readouts are fitted on these.
        validation: Encoders and readouts are chosen by these.
        reported: Split -> rows that scores are reported on.
    """

    train: Rows
    readout: Rows
    validation: Rows
    reported: dict[str, Rows]


def partition(loaded: LoadedZoo, protocol: str) -> Partition:
    """The partition of a zoo under a protocol; the checkpoints of a task always stay together.

    Args:
        loaded: The zoo.
        protocol: "strict": readouts are fitted on train, chosen on validation, and reported on test and ood.
            "paper": by the splits of Herrmann et al. (2024); every other one of the ood tasks joins the training
            of the readouts, and the rest is reported.

    Returns:
        The rows for each use.

    Raises:
        ParameterError: There is no such protocol.
        RnnzooError: A split that the protocol needs is empty.
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
    """A digest that names the zoo of a config: results of zoos with the same digest may be compared.

    The same config gives the same runs, tasks and splits everywhere, and weights that agree up to the rounding of
    the machine that built it.

    Args:
        config: That of the zoo's manifest.

    Returns:
        The digest, as text.
    """
    # `source` was called `images` when the first results were stored: so they still count as of the same zoo.
    named = {"images" if name == "source" else name: value for name, value in config.items()}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

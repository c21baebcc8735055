"""Who sees what: which checkpoints train, choose and report, under each protocol."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.storage.digest import ZooDigest, config_digest
from rnnzoo.zoo_builder.storage.manifest import Manifest

Protocol = Literal["strict", "paper"]
PROTOCOLS = ("strict", "paper")
PAPER_HALVES_SEED = 2
"""Of the published permutation of the ood tasks."""


@dataclass(frozen=True)
class Partition:
    """Rows of a `LoadedZoo`, by what they are used for.

    Attributes:
        train: Encoders learn from these.
        readout: Readouts are fitted on these.
        validation: Encoders and readouts are chosen by these.
        reported: Split -> rows that scores are reported on.
        rim: Those of `readout` whose tasks lie furthest out, by the rule by which `ood` was set apart from all
            tasks: readouts that see the others and are asked for these extrapolate as they will have to. None
            under "paper", where readouts see half of the ood tasks.
    """

    train: RowNumbers
    readout: RowNumbers
    validation: RowNumbers
    reported: dict[str, RowNumbers]
    rim: RowNumbers


def partition(loaded: LoadedZoo, protocol: str) -> Partition:
    """The partition of a zoo under a protocol; the checkpoints of a task always stay together.

    Args:
        loaded: The zoo.
        protocol: "strict": readouts are fitted on train, and reported on test and ood; for test they are chosen on
            validation, for ood on the rim of train.
            "paper": by the splits of Herrmann et al. (2024); one half of the ood tasks, that of their code, joins
            the training of the readouts, and the other is reported.

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
        rim = _rim(loaded, rows["train"])
        parts = Partition(rows["train"], rows["train"], rows["validation"], reported, rim)
    else:
        shown = np.isin(loaded.column("task_id")[rows["ood"]], _shown_tasks(loaded, rows["ood"]))
        readout = np.concatenate([rows["train"], rows["ood"][shown]])
        none = np.zeros(0, dtype=np.int64)
        parts = Partition(rows["train"], readout, rows["validation"], {"ood": rows["ood"][~shown]}, none)
    for name, held in {"train": parts.train, "validation": parts.validation, **parts.reported}.items():
        if not len(held):
            raise RnnzooError(f"the split {name!r} is empty; a benchmark needs a zoo of more tasks")
    return parts


def _rim(loaded: LoadedZoo, train: RowNumbers) -> RowNumbers:
    """The rows of the training tasks that would be out of distribution, were there no others."""
    ids = loaded.column("task_id")[train]
    known, first = np.unique(ids, return_index=True)
    furthest = loaded.family.out_of_distribution(loaded.tasks(train[first]))
    rim = train[np.isin(ids, [task.task_id for task in furthest])]
    return rim if len(known) > len(furthest) else rim[:0]


def _shown_tasks(loaded: LoadedZoo, ood: RowNumbers) -> NDArray[np.str_]:
    """The ids of the half of the paper's ood tasks that its code moves to the training of readouts."""
    ids, first = np.unique(loaded.column("task_id")[ood], return_index=True)
    tasks = loaded.tasks(ood[first])
    ranked = ids[sorted(range(len(ids)), key=lambda place: loaded.family.paper_rank(tasks[place]))]
    order = np.random.RandomState(PAPER_HALVES_SEED).permutation(len(ranked))
    return ranked[order[len(ranked) // 2 :]]


def zoo_digest(manifest: Manifest) -> str:
    """What names the zoo of a manifest in results: those of zoos with the same digest are of the same weights.

    Args:
        manifest: That of the zoo.

    Returns:
        The text of its digest. Of a zoo that has none, one in the same form that stands for its files.
    """
    if manifest.digest is not None:
        return manifest.digest
    files = {name: entry.sha256 for name, entry in manifest.files.items()}
    contents = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    return str(ZooDigest("unrecorded", config_digest(manifest.config), contents))

"""Embeds a zoo, fits a readout for every target, and scores it on tasks it has not seen.

Readouts are fitted on `train`, chosen on `validation`, and reported on `test` and `ood`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

import zoo_builder
from loaders import Zoo, load_zoo
from loaders.benchmark.readout import fit_readout
from loaders.benchmark.targets import TARGETS, Target
from loaders.encoders import ENCODERS, Encoder, check_encoder, load_encoder
from zoo_builder.errors import RnnzooError

BATCH = 256
REPORTED = ("test", "ood")
SPLITS = ("train", "validation", *REPORTED)


def run_benchmark(zoo_path: str | Path, encoder_name: str, target_names: Sequence[str] = ()) -> dict[str, Any]:
    """Benchmark one encoder on a zoo; target_names: a choice of `TARGETS`, none for all that the zoo has.

    Returns the result as plain JSON values: "scores" is target -> split -> score -> value, main score first.
    """
    zoo = Zoo(zoo_path)
    filled = [split for split in SPLITS if zoo.manifest.splits[split].runs]
    missing = [split for split in ("train", *REPORTED) if split not in filled]
    if missing:
        raise RnnzooError(f"{zoo_path}: the split {missing[0]!r} is empty; a benchmark needs a zoo of more tasks")
    targets = choose_targets(zoo, target_names)
    encoder = load_encoder(encoder_name, ENCODERS, zoo.spec)
    width = check_encoder(encoder, zoo.spec)
    began = time.perf_counter()
    features = {split: embed_split(zoo_path, split, encoder) for split in filled}
    embedded = time.perf_counter()
    metadata = {split: _kept_columns(zoo, split, targets) for split in features}
    scores = {target.name: _score_target(target, features, metadata) for target in targets}
    return {
        "encoder": encoder_name,
        "embedding_size": width,
        "zoo": zoo.manifest.zoo,
        "zoo_config": zoo.manifest.config,
        "track": "features",
        "protocol": "strict",
        "checkpoints": {split: len(rows) for split, rows in features.items()},
        "better": {target.name: target.better for target in targets},
        "scores": scores,
        "seconds": {"embedding": embedded - began, "readouts": time.perf_counter() - embedded},
        "versions": {
            "rnnzoo": zoo_builder.__version__,
            "torch": torch.__version__,
            "scikit-learn": version("scikit-learn"),
        },
    }


def choose_targets(zoo: Zoo, names: Sequence[str]) -> list[Target]:
    """The named targets, or all that the zoo has; a column that never varies is no target."""
    columns = zoo.metadata.column_names
    available = {
        name: target
        for name, target in TARGETS.items()
        if target.column in columns and len(np.unique(zoo.metadata[target.column].to_pylist(), axis=0)) > 1
    }
    for name in names:
        if name not in available:
            raise RnnzooError(f"--target: found {name!r}, expected one of {', '.join(available)} for this zoo")
    return [available[name] for name in names or available]


def embed_split(zoo_path: str | Path, split: str, encoder: Encoder) -> NDArray[np.float64]:
    """Embeddings [M, E] of a split's checkpoints that did not diverge, in the order of the metadata."""
    rows = load_zoo(zoo_path, split=split, filters=[("diverged", "==", False)], columns=["step"])
    batches = rows.iter(batch_size=BATCH)
    embedded = []
    for batch in tqdm(batches, desc=f"embedding {split}", total=-(-len(rows) // BATCH), leave=False):
        del batch["step"]
        with torch.no_grad():
            embedded.append(encoder(batch).double().numpy())
    result = np.concatenate(embedded)
    if not np.isfinite(result).all():
        raise RnnzooError(f"encoder: found values that are not finite in the embeddings of the split {split!r}")
    return result


def _kept_columns(zoo: Zoo, split: str, targets: Sequence[Target]) -> dict[str, NDArray[np.float64]]:
    """The columns that targets and scores need, of the checkpoints that did not diverge."""
    table = zoo.metadata
    rows = table.filter((table["split"].to_numpy() == split) & ~table["diverged"].to_numpy())
    names = {"step", *(target.column for target in targets)}
    return {name: np.array(rows[name].to_pylist(), dtype=np.float64) for name in names}


def _score_target(
    target: Target,
    features: dict[str, NDArray[np.float64]],
    metadata: dict[str, dict[str, NDArray[np.float64]]],
) -> dict[str, dict[str, float | None]]:
    """split -> score -> value; None where a score has no value (a rank correlation with one rank)."""

    def of_split(split: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if split not in features:
            return np.empty((0, 0)), np.empty(0)
        used = metadata[split]["step"] > (0 if target.trained_only else -1)
        return features[split][used], metadata[split][target.column][used]

    readout = fit_readout(target, of_split("train"), of_split("validation"))
    scores: dict[str, dict[str, float | None]] = {}
    for split in REPORTED:
        inputs, truth = of_split(split)
        steps = metadata[split]["step"]
        steps = steps[steps > 0] if target.trained_only else steps
        found = target.score(truth, readout.predict(inputs), steps)
        scores[split] = {name: value if np.isfinite(value) else None for name, value in found.items()}
    return scores

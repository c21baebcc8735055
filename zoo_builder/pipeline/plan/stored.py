"""Whether what is stored of a zoo is what its config stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.plan.runs import draw_settings, run_id, run_seeds
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.manifest import Manifest
from rnnzoo.zoo_builder.zoos import DRAWN_FIELDS, IMPORTED, ZooConfig, config_of


def check_stored(manifest: Manifest, metadata: pa.Table) -> str:
    """Compare a zoo's config with the rest of its manifest, and with the metadata of all its checkpoints.

    Returns:
        What was found, in words.

    Raises:
        RnnzooError: They differ. The error names the field.
    """
    config = manifest.config
    _compare("zoo", manifest.zoo, config["zoo"])
    run_ids = pc.unique(metadata["run_id"]).to_pylist()
    _compare("runs", len(run_ids), config["runs"])
    _compare("checkpoints", pc.unique(metadata["step"]).sort().to_pylist(), list(config["checkpoints"]))
    _compare("steps", max(config["checkpoints"]), config["steps"])
    _compare("rows of metadata", len(metadata), config["runs"] * len(config["checkpoints"]))
    constants = {**manifest.spec, "num_parameters": manifest.rnn_spec().num_parameters}
    for name, value in constants.items():
        _compare(f"column {name}", pc.unique(metadata[name]).to_pylist(), [value])
    if config["preset"] == IMPORTED:
        return f"{len(run_ids)} runs, which were imported"
    built = config_of(config, schema.MANIFEST)
    _compare("spec", manifest.spec, built.spec.to_dict())
    _compare("encoding", manifest.encoding, built.encoding.to_dict())
    _check_settings(built, run_ids, metadata)
    return f"{len(run_ids)} runs with the seeds and settings of the config"


def _compare(name: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise RnnzooError(
            f"{schema.MANIFEST}: config: {name}: found {found!r:.200}, expected {expected!r:.200} by the config"
        )


def _check_settings(config: ZooConfig, run_ids: list[str], metadata: pa.Table) -> None:
    """Seed and settings of every row are those that its run has."""
    seeds = {run_id(number): seed for number, seed in enumerate(run_seeds(config).tolist())}
    if strangers := [run_id for run_id in run_ids if run_id not in seeds]:
        raise RnnzooError(f"metadata: {strangers[0]!r:.80} is no run of this config")
    columns: dict[str, list[Any]] = {"seed": [seeds[run_id] for run_id in run_ids]}
    drawn = [draw_settings(config, seed) for seed in columns["seed"]]
    for place, name in enumerate(DRAWN_FIELDS):
        columns[name.removesuffix("s")] = [settings[place] for settings in drawn]
    rates, sizes = columns["learning_rate_scale"], columns.pop("batch_size_scale")
    columns["learning_rate"] = [config.learning_rate[0][1] * rate for rate in rates]
    columns["batch_size"] = [config.batch_size * size for size in sizes]
    places = pc.index_in(metadata["run_id"], pa.array(run_ids)).to_numpy()
    for name, values in columns.items():
        field = metadata.schema.field(name)
        expected, found = schema.stored_numbers(field, values)[places], metadata[name].to_numpy()
        if len(wrong := np.flatnonzero(expected != found)):
            where = metadata["checkpoint_id"][int(wrong[0])].as_py()
            raise RnnzooError(
                f"metadata: {where}: {name}: found {found[wrong[0]]}, expected {expected[wrong[0]]} by the config"
            )

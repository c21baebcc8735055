"""What the texts of a release say: numbers of the zoo, who made it and how, how it is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

import rnnzoo
from rnnzoo import command_line
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import for_code_block, for_markdown
from rnnzoo.zoo_builder.hub import code_url
from rnnzoo.zoo_builder.release.edition import Edition
from rnnzoo.zoo_builder.release.parquet import ZooTables
from rnnzoo.zoo_builder.release.statistics import column_statistics, columns_table
from rnnzoo.zoo_builder.rnn import CELLS, Cell
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.storage.digest import ZooDigest
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_splits
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family
from rnnzoo.zoo_builder.tasks.family import NamedZoo
from rnnzoo.zoo_builder.zoos import IMPORTED, config_of, resolve_config

PAPER_CITATION = """@inproceedings{herrmann2024learning,
  title     = {Learning Useful Representations of Recurrent Neural Network Weight Matrices},
  author    = {Herrmann, Vincent and Faccio, Francesco and Schmidhuber, J{\\"u}rgen},
  booktitle = {Proceedings of the 41st International Conference on Machine Learning},
  year      = {2024},
  url       = {https://arxiv.org/abs/2403.11998}
}"""


def facts_of(tables: ZooTables, edition: Edition) -> dict[str, Any]:
    """What the templates may say of a zoo.

    Args:
        tables: Those of the zoo.
        edition: Which release of it.

    Raises:
        RnnzooError: No installed family knows the zoo, or it was imported.
    """
    return _origin(tables, edition) | _making(tables.manifest) | _networks(tables) | _contents(tables)


def _origin(tables: ZooTables, edition: Edition) -> dict[str, Any]:
    """Which zoo it is, where it lies, and whose it is."""
    named = named_zoo(tables.manifest)
    is_ours = (package := tables.family.__module__.partition(".")[0]) == "rnnzoo"
    facts = {
        "title": named.title,
        "notice": named.notice,
        "personal": " ".join(named.personal.split()),
        "family": tables.family.name,
        "package": package,
        "zoo": tables.manifest.zoo,
        "digest": tables.manifest.digest,
        "repo_id": edition.repo_id,
        "url": edition.url,
        "tag": edition.tag,
        "authors": "The rnnzoo authors" if is_ours else f"The authors of {edition.repo_id.partition('/')[0]}",
        "is_of_paper": tables.family.published is not None,  # by Herrmann et al. (2024)
        "paper_citation": PAPER_CITATION,
        "code_url": code_url(),
        "version": rnnzoo.__version__,
    }
    return facts | {"citation": _citation(facts, edition)}


def _citation(facts: dict[str, Any], edition: Edition) -> str:
    """A BibTeX entry for the data set."""
    fields = {
        "title": f"{{{facts['title']}}}",
        "author": f'"{{{facts["authors"]}}}"',  # the inner braces make it one name
        "year": edition.published[:4],
        "url": f"{{{edition.url}}}",
        "note": f"{{Version {edition.tag}" + (f", digest {facts['digest']}}}" if facts["digest"] else "}"),
    }
    lines = ",\n".join(f"  {name:6} = {value}" for name, value in fields.items())
    return f"@misc{{rnnzoo_{facts['zoo']},\n{lines}\n}}"


def _making(manifest: Manifest) -> dict[str, Any]:
    """How the zoo was built, and whether it can be built again."""
    return {
        "source": manifest.config["source"],
        "config": manifest.config,
        "batch_sizes": _batch_sizes(manifest.config),
        "config_json": for_code_block(json.dumps(manifest.config, indent=1)),
        "build_command": build_command(manifest.config),
        "built_with": {for_markdown(name): _joined(found) for name, found in manifest.built_with.items()},
        "arithmetic": manifest.arithmetic,
        "is_own_family": manifest.config["family"] in FAMILIES,
        "is_same_everywhere": manifest.digest is not None and ZooDigest.parse(manifest.digest).is_same_everywhere,
    }


def _batch_sizes(config: Mapping[str, Any]) -> str:
    """Those that runs have, in words; empty for an imported zoo, which does not say."""
    if "batch_size" not in config:
        return ""
    sizes = sorted(config["batch_size"] * scale for scale in config.get("batch_size_scales", (1,)))
    return str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"


def _networks(tables: ZooTables) -> dict[str, Any]:
    """What the networks are, and how one is made of a row of weights."""
    cell = CELLS[tables.spec.cell]
    return {
        "spec": tables.spec,
        "cell": cell,
        "torch_call": torch_call(cell),
        "cell_import": cell_import(cell),
        "layout": tables.manifest.layout,
    }


def _contents(tables: ZooTables) -> dict[str, Any]:
    """What is in the zoo: splits, columns, numbers."""
    everything = pa.concat_tables([tables.metadata[split] for split in tables.splits])
    rollouts = tables.kind("rollouts")
    return {
        "configs": tables.configs,
        "split": tables.splits[0],
        "splits": [(name, tables.manifest.splits[name]) for name in tables.splits],
        "empty_splits": [name for name in SPLITS if name not in tables.splits],
        "split_rule": for_markdown(str(read_splits(tables.folder)["rule"])),
        "checkpoints": len(everything),
        "runs": pc.count_distinct(everything["run_id"]).as_py(),
        "tasks": pc.count_distinct(everything["task_id"]).as_py(),
        "diverged": pc.count_distinct(everything.filter(everything["diverged"])["run_id"]).as_py(),
        "accurate": _accurate(tables.metadata[tables.splits[0]]),
        "accuracy_by_step": _accuracy_by_step(everything),
        "columns": columns_table(tables.schema("default"), column_statistics(everything)),
        "rollout_columns": columns_table(rollouts.schema),
        "rollout_shape": rollouts.layout["inputs"],
        "shared_rollouts": tables.rollouts_are_shared,
    }


def named_zoo(manifest: Manifest) -> NamedZoo:
    """What the family of a zoo says of it.

    Raises:
        RnnzooError: No installed family knows the zoo, or it was imported.
    """
    if manifest.config["preset"] == IMPORTED:
        raise RnnzooError(f"zoo: {manifest.zoo} was imported from a published zoo, expected one that was built")
    known = find_family(manifest.config["family"]).zoos
    if manifest.zoo not in known:
        raise RnnzooError(f"zoo: found {manifest.zoo!r}, expected one of {', '.join(known)}")
    return known[manifest.zoo]


def build_command(config: dict[str, Any]) -> str:
    """The command that builds a zoo of this config: its preset, and the fields that differ from it."""
    wanted = config_of(config, "config").to_dict()
    preset = resolve_config(config["zoo"], config["preset"]).to_dict()
    changes = {name: value for name, value in wanted.items() if value != preset[name]}
    return command_line.build_command(config["zoo"], config["preset"], changes)


def torch_call(cell: Cell) -> str:
    """The line of Python that makes a cell's layers in torch, of `sizes`.

    >>> torch_call(CELLS["gru"])
    'torch.nn.GRU(*sizes, batch_first=True)'
    """
    options = {"batch_first": True, **cell.torch_options}
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    place = "" if cell_import(cell) else "torch.nn."
    return f"{place}{cell.torch_module.__name__}(*sizes, {given})"


def cell_import(cell: Cell) -> str:
    """The line of Python that imports a cell's layers, of a cell that torch does not have; else ""."""
    module, name = cell.torch_module.__module__, cell.torch_module.__name__
    return "" if hasattr(torch.nn, name) else f"from {module} import {name}"


def _accurate(rows: pa.Table) -> float:
    """An accuracy that some of the checkpoints have, .9 at most: to show a filter that keeps some."""
    best = pc.max(rows["accuracy"]).as_py()
    return min(0.9, math.floor(10 * best) / 10) if best is not None and math.isfinite(best) else 0.0


def _joined(found: str | list[str]) -> str:
    return for_markdown(found if isinstance(found, str) else " + ".join(found))


def _accuracy_by_step(everything: pa.Table) -> list[dict[str, float]]:
    steps, accuracies, losses = (everything[name].to_numpy() for name in ("step", "accuracy", "eval_loss"))
    found = []
    for step in np.unique(steps):
        low, middle, high = np.nanquantile(accuracies[steps == step], [0.1, 0.5, 0.9])
        loss = np.nanmedian(losses[steps == step])
        found.append({"step": step, "median": middle, "low": low, "high": high, "loss": loss})
    return found

"""The card of a zoo, the README.md of its repository: templates in `dataset_cards/`, numbers from the zoo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

import rnnzoo
from rnnzoo import command_line
from rnnzoo.zoo_builder.columns import PICTURE, description
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import for_code, for_code_block, for_markdown, table_row
from rnnzoo.zoo_builder.hub import EVAL_FILE, code_url
from rnnzoo.zoo_builder.identity.reference import CARD_ENTRY
from rnnzoo.zoo_builder.release.edition import Edition
from rnnzoo.zoo_builder.release.parquet import FOLDERS, ZooTables, features_of
from rnnzoo.zoo_builder.release.statistics import Statistics, column_statistics
from rnnzoo.zoo_builder.rnn import CELLS, Cell
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.storage.digest import ZooDigest
from rnnzoo.zoo_builder.storage.files import read_json
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest, read_splits
from rnnzoo.zoo_builder.storage.schema import metadata_file
from rnnzoo.zoo_builder.tasks import find_family
from rnnzoo.zoo_builder.tasks.family import NamedZoo
from rnnzoo.zoo_builder.zoos import PRESETS, config_of, resolve_config

TEMPLATES = Path(str(files("rnnzoo.dataset_cards")))
"""Beside the packages, in a checkout and where they are installed."""
LICENSE = "cc-by-4.0"
PAGE = "---\n{{ card_data }}\n---\n\n{{ body }}\n"
TAGS = ["model-zoo", "weight-space-learning", "recurrent-neural-networks"]
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
"""Of the hub, by the digits of the number of rows."""
CATEGORIES = ["feature-extraction", "other"]
ARXIV = "2403.11998"
PAPER_CITATION = """@inproceedings{herrmann2024learning,
  title     = {Learning Useful Representations of Recurrent Neural Network Weight Matrices},
  author    = {Herrmann, Vincent and Faccio, Francesco and Schmidhuber, J{\\"u}rgen},
  booktitle = {Proceedings of the 41st International Conference on Machine Learning},
  year      = {2024},
  url       = {https://arxiv.org/abs/2403.11998}
}"""


def named_zoo(manifest: Manifest) -> NamedZoo:
    """What the family of a zoo says of it.

    Raises:
        RnnzooError: No installed family knows the zoo.
    """
    known = find_family(manifest.config["family"]).zoos
    if manifest.zoo not in known:
        raise RnnzooError(f"zoo: found {manifest.zoo!r}, expected one of {', '.join(known)}")
    return known[manifest.zoo]


def render_card(zoo: Path, edition: Edition | None = None, release: Path | None = None) -> str:
    """The card of a zoo, as Markdown with its YAML header.

    Args:
        zoo: The folder of the zoo.
        edition: Which release of it. None stands for one that is not published yet.
        release: A folder whose Parquet files are written, for their sizes.
    """
    tables = ZooTables(zoo, read_manifest(zoo))
    # Imported here: huggingface_hub reads HF_ENDPOINT when it is imported, and datasets take a second.
    from huggingface_hub import DatasetCard, DatasetCardData

    manifest = tables.manifest
    configs = ["default", "metadata", "rollouts"]
    if release is not None and (release / FOLDERS["outputs"]).is_dir():
        configs.append("outputs")
    named = named_zoo(manifest)
    data = DatasetCardData(
        license=[LICENSE, *named.licenses] if named.licenses else LICENSE,
        pretty_name=named.title,
        task_categories=CATEGORIES,
        tags=[*TAGS, tables.spec.cell, *named.tags, *([f"arxiv:{ARXIV}"] if is_of_paper(tables) else [])],
        size_categories=[_size_category(sum(map(len, tables.metadata.values())))],
        configs=[_config_entry(tables, config) for config in configs],
    )
    if manifest.digest is not None:
        data[CARD_ENTRY] = manifest.digest
    _add_dataset_info(data, tables, configs, release)
    facts = _facts(tables, edition or Edition.unpublished(manifest), configs)
    for section in ("loading", "numbers", "uses", "citing"):
        facts[section] = render_template(f"{section}.md", facts)
    has_leaderboard = release is None or (release / EVAL_FILE).is_file()
    facts["leaderboard"] = render_template("leaderboard.md", facts) if has_leaderboard else ""
    facts["baselines"] = _baselines(manifest, facts)
    own = tables.family.card()
    body = render_template("card.md", facts) if own is None else render(own, facts)
    return str(DatasetCard.from_template(data, template_str=PAGE, body=body)).rstrip() + "\n"


def data_citation(tables: ZooTables, edition: Edition) -> str:
    """A BibTeX entry for the data set."""
    manifest = tables.manifest
    fields = {
        "title": f"{{{named_zoo(manifest).title}}}",
        "author": f'"{{{authors_of(tables, edition.repo_id)}}}"',  # the inner braces make it one name
        "year": edition.published[:4],
        "url": f"{{{edition.url}}}",
        "note": f"{{Version {edition.tag}" + (f", digest {manifest.digest}}}" if manifest.digest else "}"),
    }
    lines = ",\n".join(f"  {name:6} = {value}" for name, value in fields.items())
    return f"@misc{{rnnzoo_{manifest.zoo},\n{lines}\n}}"


def render_template(name: str, facts: dict[str, Any]) -> str:
    """A template of `dataset_cards` with its facts."""
    path = TEMPLATES / name
    if not path.is_file():
        raise RnnzooError(f"{path}: this template is missing; reinstall rnnzoo")
    return render(path.read_text(encoding="utf-8"), facts)


def render(template: str, facts: dict[str, Any]) -> str:
    """A Jinja template with its facts; a fact that is not there is an error."""
    made = jinja2.Template(template, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return made.render(facts).strip()


def _baselines(manifest: Manifest, facts: dict[str, Any]) -> str:
    """The committed results (`loaders.benchmark.report.baselines`) on this zoo, else on one of its name."""
    places = [TEMPLATES / manifest.zoo / preset / "baselines.md" for preset in PRESETS]
    tables = [path for path in places if path.is_file()]
    measured = {path: read_json(min(path.parent.glob("results/*/rows.json")))["zoo_digest"] for path in tables}
    if not tables:
        return ""
    path = next((path for path in tables if measured[path] == manifest.digest), tables[0])
    shown = {"table": path.read_text(encoding="utf-8").strip(), "is_this_zoo": measured[path] == manifest.digest}
    return render_template("baselines.md", facts | shown)


def _config_entry(tables: ZooTables, config: str) -> dict[str, Any]:
    files = [
        {
            "split": split,
            "path": metadata_file(split) if config == "metadata" else f"{FOLDERS[config]}/{split}-*.parquet",
        }
        for split in tables.splits
    ]
    entry: dict[str, Any] = {"config_name": config, "data_files": files}
    return entry | ({"default": True} if config == "default" else {})


def _add_dataset_info(data: Any, tables: ZooTables, configs: list[str], release: Path | None) -> None:
    """Features and sizes of every config, as `datasets` writes them.

    Numbers of rows are left out: `datasets` checks a split against them even where `filters` keep fewer.
    """
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict

    infos = {}
    for config in configs:
        files = [] if release is None else config_files(release, config)
        infos[config] = DatasetInfo(
            features=features_of(config_schema(tables, config)),
            config_name=config,
            download_size=sum(path.stat().st_size for path in files) or None,
            dataset_size=sum(map(_unpacked_bytes, files)) or None,
        )
    DatasetInfosDict(infos).to_dataset_card_data(data)


def config_schema(tables: ZooTables, config: str) -> pa.Schema:
    """The columns of a config, with their descriptions."""
    return tables.metadata[tables.splits[0]].schema if config == "metadata" else tables.kind(config).schema


def config_files(release: Path, config: str) -> list[Path]:
    return sorted((release / FOLDERS.get(config, "metadata")).glob("*.parquet"))


def _unpacked_bytes(file: Path) -> int:
    """Bytes of a Parquet file's columns before they are compressed."""
    metadata = pq.read_metadata(file)
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def _facts(tables: ZooTables, edition: Edition, configs: list[str]) -> dict[str, Any]:
    """What the templates may say."""
    manifest, spec, named = tables.manifest, tables.spec, named_zoo(tables.manifest)
    everything = pa.concat_tables([tables.metadata[split] for split in tables.splits])
    kind = tables.kind("rollouts")
    return {
        "title": named.title,
        "notice": named.notice,
        "family": tables.family.name,
        "repo_id": edition.repo_id,
        "zoo": manifest.zoo,
        "source": manifest.config["source"],
        "config": manifest.config,
        "spec": spec,
        "cell": CELLS[spec.cell],
        "torch_call": torch_call(CELLS[spec.cell]),
        "cell_import": cell_import(CELLS[spec.cell]),
        "accurate": _accurate(tables.metadata[tables.splits[0]]),
        "is_of_paper": is_of_paper(tables),
        "authors": authors_of(tables, edition.repo_id),
        "package": tables.family.__module__.partition(".")[0],
        "configs": configs,
        "tag": edition.tag,
        "citation": data_citation(tables, edition),
        "checkpoints": len(everything),
        "runs": pc.count_distinct(everything["run_id"]).as_py(),
        "tasks": pc.count_distinct(everything["task_id"]).as_py(),
        "diverged": pc.count_distinct(everything.filter(everything["diverged"])["run_id"]).as_py(),
        "empty_splits": [name for name in SPLITS if name not in tables.splits],
        "splits": [(name, manifest.splits[name]) for name in tables.splits],
        "split_rule": for_markdown(str(read_splits(tables.folder)["rule"])),
        "columns": columns_table(config_schema(tables, "default"), column_statistics(everything)),
        "rollout_columns": columns_table(kind.schema),
        "rollout_shape": kind.layout["inputs"],
        "shared_rollouts": tables.rollouts_are_shared,
        "layout": manifest.layout,
        "accuracy_by_step": _accuracy_by_step(everything),
        "built_with": {for_markdown(name): _joined(found) for name, found in manifest.built_with.items()},
        "arithmetic": manifest.arithmetic,
        "digest": manifest.digest,
        "is_same_everywhere": manifest.digest is not None and ZooDigest.parse(manifest.digest).is_same_everywhere,
        "build_command": build_command(manifest.config),
        "config_json": for_code_block(json.dumps(manifest.config, indent=1)),
        "paper_citation": PAPER_CITATION,
        "split": tables.splits[0],
        "code_url": code_url(),
        "version": rnnzoo.__version__,
        "personal": " ".join(named.personal.split()),
    }


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


def is_of_paper(tables: ZooTables) -> bool:
    """Whether it rebuilds a zoo of Herrmann et al. (2024)."""
    return tables.family.published is not None


def authors_of(tables: ZooTables, repo_id: str) -> str:
    """Who a data set is by: of a family from elsewhere, those of the repository."""
    is_ours = tables.family.__module__.partition(".")[0] == "rnnzoo"
    return "The rnnzoo authors" if is_ours else f"The authors of {repo_id.partition('/')[0]}"


def _accurate(rows: pa.Table) -> float:
    """An accuracy that some of the checkpoints have, .9 at most: to show a filter that keeps some."""
    best = pc.max(rows["accuracy"]).as_py()
    return min(0.9, math.floor(10 * best) / 10) if best is not None and math.isfinite(best) else 0.0


def columns_table(schema: pa.Schema, statistics: Mapping[str, Statistics] | None = None) -> str:
    """The columns as a Markdown table, from the descriptions they carry.

    Args:
        schema: The columns.
        statistics: Of their values, for those that have some. None leaves the values out.
    """
    header = ["column", "type", "what it is", *([] if statistics is None else ["values"])]
    lines = [table_row(header), "|" + "---|" * len(header)]
    for field in schema:
        cells = [f"`{for_code(field.name)}`", _type_name(field.type), for_markdown(description(field))]
        if statistics is not None:
            cells.append(str(statistics.get(field.name, "")))
        lines.append(table_row(cells))
    return "\n".join(lines)


def _joined(found: str | list[str]) -> str:
    return for_markdown(found if isinstance(found, str) else " + ".join(found))


def _type_name(kind: pa.DataType) -> str:
    if kind == PICTURE:
        return "image"
    if pa.types.is_fixed_size_list(kind):
        return f"list<{kind.value_type}, {kind.list_size}>"
    return for_markdown(str(kind))


def _accuracy_by_step(everything: pa.Table) -> list[dict[str, float]]:
    steps, accuracies, losses = (everything[name].to_numpy() for name in ("step", "accuracy", "eval_loss"))
    found = []
    for step in np.unique(steps):
        low, middle, high = np.nanquantile(accuracies[steps == step], [0.1, 0.5, 0.9])
        loss = np.nanmedian(losses[steps == step])
        found.append({"step": step, "median": middle, "low": low, "high": high, "loss": loss})
    return found


def build_command(config: dict[str, Any]) -> str:
    """The command that builds a zoo of this config: its preset, and the fields that differ from it."""
    wanted = config_of(config, "config").to_dict()
    preset = resolve_config(config["zoo"], config["preset"]).to_dict()
    changes = {name: value for name, value in wanted.items() if value != preset[name]}
    return command_line.build_command(config["zoo"], config["preset"], changes)


def _size_category(rows: int) -> str:
    return SIZES[max(0, len(str(rows)) - 3)]

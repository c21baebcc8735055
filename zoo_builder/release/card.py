"""The card of a zoo, the README.md of its repository: templates in `dataset_cards/`, numbers from the zoo."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pyarrow.parquet as pq

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.hub import EVAL_FILE
from rnnzoo.zoo_builder.identity.reference import CARD_ENTRY
from rnnzoo.zoo_builder.release.edition import Edition
from rnnzoo.zoo_builder.release.facts import facts_of, named_zoo
from rnnzoo.zoo_builder.release.parquet import FOLDERS, ZooTables, features_of
from rnnzoo.zoo_builder.storage.files import read_json
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest
from rnnzoo.zoo_builder.storage.schema import metadata_file
from rnnzoo.zoo_builder.zoos import PRESETS

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

TEMPLATES = Path(str(files("rnnzoo.dataset_cards")))
"""Beside the packages, in a checkout and where they are installed."""
LICENSE = "cc-by-4.0"
TAGS = ["model-zoo", "weight-space-learning", "recurrent-neural-networks"]
ARXIV = "2403.11998"
PAGE = "---\n{{ card_data }}\n---\n\n{{ body }}\n"
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")
"""Of the hub, by the digits of the number of rows."""
CATEGORIES = ["feature-extraction", "other"]


def render_card(zoo: Path, edition: Edition | None = None) -> str:
    """The card of a zoo, as Markdown with its YAML header.

    Args:
        zoo: The folder of the zoo, or of a release of it.
        edition: Which release. None stands for one that is not published yet.
    """
    tables = ZooTables(zoo, read_manifest(zoo))
    return card_of(tables, facts_of(tables, edition or Edition.unpublished(tables.manifest)))


def card_of(tables: ZooTables, facts: dict[str, Any]) -> str:
    """Likewise, of the tables and facts of a zoo."""
    # Imported here: huggingface_hub reads HF_ENDPOINT when it is imported, and datasets take a second.
    from huggingface_hub import DatasetCard

    sections = {name: render_template(f"{name}.md", facts) for name in ("loading", "numbers", "uses", "citing")}
    has_leaderboard = not tables.are_released or (tables.folder / EVAL_FILE).is_file()
    sections["leaderboard"] = render_template("leaderboard.md", facts) if has_leaderboard else ""
    sections["baselines"] = _baselines(tables.manifest, facts)
    with blaming(f"family {tables.family.name!r}: card"):
        own = tables.family.card()
        body = None if own is None else render(own, facts | sections)
    if body is None:
        body = render_template("card.md", facts | sections)
    return str(DatasetCard.from_template(_header(tables), template_str=PAGE, body=body)).rstrip() + "\n"


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


def _header(tables: ZooTables) -> DatasetCardData:
    from huggingface_hub import DatasetCardData

    named = named_zoo(tables.manifest)
    of_paper = [f"arxiv:{ARXIV}"] if tables.family.published is not None else []
    data = DatasetCardData(
        license=[LICENSE, *named.licenses] if named.licenses else LICENSE,
        pretty_name=named.title,
        task_categories=CATEGORIES,
        tags=[*TAGS, tables.spec.cell, *named.tags, *of_paper],
        size_categories=[_size_category(sum(map(len, tables.metadata.values())))],
        configs=[_config_entry(tables, config) for config in tables.configs],
    )
    if tables.manifest.digest is not None:
        data[CARD_ENTRY] = tables.manifest.digest
    _add_dataset_info(data, tables)
    return data


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


def _add_dataset_info(data: DatasetCardData, tables: ZooTables) -> None:
    """Features of every config, and sizes of those that are written, as `datasets` writes them.

    Numbers of rows are left out: `datasets` checks a split against them even where `filters` keep fewer.
    """
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict

    infos = {}
    for config in tables.configs:
        folder = tables.folder / FOLDERS.get(config, "metadata")
        files = sorted(folder.glob("*.parquet")) if tables.are_released else []
        infos[config] = DatasetInfo(
            features=features_of(tables.schema(config)),
            config_name=config,
            download_size=sum(path.stat().st_size for path in files) or None,
            dataset_size=sum(map(_unpacked_bytes, files)) or None,
        )
    DatasetInfosDict(infos).to_dataset_card_data(data)


def _unpacked_bytes(file: Path) -> int:
    """Bytes of a Parquet file's columns before they are compressed."""
    metadata = pq.read_metadata(file)
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def _size_category(rows: int) -> str:
    return SIZES[max(0, len(str(rows)) - 3)]

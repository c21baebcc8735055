"""croissant.json: the release as machine-readable metadata (Croissant 1.1 with responsible AI, MLCommons).

The specification is https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, that of the fields `rai:`
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html; provenance is told in PROV-O.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

import rnnzoo
from rnnzoo.zoo_builder.columns import PICTURE, description
from rnnzoo.zoo_builder.release.card import LICENSE, TAGS
from rnnzoo.zoo_builder.release.edition import Edition
from rnnzoo.zoo_builder.release.facts import named_zoo
from rnnzoo.zoo_builder.release.parquet import FOLDERS, ZooTables
from rnnzoo.zoo_builder.release.statistics import Statistics, column_statistics
from rnnzoo.zoo_builder.storage.schema import metadata_file

PARQUET = "application/x-parquet"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {
    term: f"cr:{term}"
    for term in (
        *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes"),
        *("extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray"),
        *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "readLines", "recordSet"),
        *("references", "regex", "repeated", "replace", "samplingRate", "sdVersion", "separator", "source"),
        *("subField", "transform", "unArchive"),
    )
}
"""That of the specification, with PROV-O, and the terms of earlier versions that checkers still ask for."""
RESPONSIBLE_AI = {
    "rai:dataLimitations": "Known limits",
    "rai:dataBiases": "Biases",
    "rai:dataUseCases": "Uses",
    "rai:personalSensitiveInformation": "Personal data",
    "rai:dataSocialImpact": "Social impact",
}
"""Field -> the section of the card that says it."""


def croissant(tables: ZooTables, edition: Edition, facts: dict[str, Any], card: str) -> dict[str, Any]:
    """The release as Croissant metadata: files, a record set for each config and split, provenance, limits.

    Args:
        tables: Those of the release.
        edition: Which release of the zoo.
        facts: What its texts say, see `facts_of`.
        card: The text of the card, which says what the data are good for and what not.
    """
    named = named_zoo(tables.manifest)
    configs = ["metadata", *(config for config in FOLDERS if (tables.folder / FOLDERS[config]).is_dir())]
    sets = [(config, split) for config in configs for split in tables.splits]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": edition.repo_id.split("/")[-1],
        "description": f"{named.title}: weights of recurrent networks at every stage of training, and metadata.",
        "url": edition.url,
        "license": [f"https://spdx.org/licenses/{name.upper()}" for name in (LICENSE, *named.licenses)],
        "creator": {"@type": "sc:Organization", "name": facts["authors"]},
        "datePublished": edition.published,
        "keywords": [*TAGS, tables.spec.cell, *named.tags],
        "citeAs": facts["citation"],
        "version": edition.version,
        "isLiveDataset": False,
        **_provenance(facts["build_command"], named.derived_from),
        "rai:hasSyntheticData": True,
        **{field: items for field, section in RESPONSIBLE_AI.items() if (items := _items(card, section))},
        "distribution": [_file(tables, config, split) for config, split in sets],
        "recordSet": [_records(tables, config, split) for config, split in sets],
    }


def _provenance(command: str, derived_from: str) -> dict[str, Any]:
    made = {"@type": "prov:Activity", "prov:label": command}
    agent = {"@type": "prov:SoftwareAgent", "prov:label": f"rnnzoo {rnnzoo.__version__}"}
    source = {"prov:wasDerivedFrom": {"@id": derived_from}} if derived_from else {}
    return {"prov:wasGeneratedBy": made, "prov:wasAttributedTo": agent, **source}


def _items(card: str, section: str) -> list[str]:
    """The items of the list in a section of a card, each in one line."""
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", card, re.DOTALL | re.MULTILINE)
    items = re.findall(r"^- (.*?)(?=^- |^\S|\Z)", found[1] if found else "", re.DOTALL | re.MULTILINE)
    return [" ".join(item.split()) for item in items]


def _file(tables: ZooTables, config: str, split: str) -> dict[str, Any]:
    """A file of metadata with its hash, or the files of another config, which release.json has the hashes of."""
    if config == "metadata":
        name = metadata_file(split)
        kind = {"@type": "cr:FileObject", "contentUrl": name, "sha256": tables.manifest.files[name].sha256}
    else:
        name = f"{FOLDERS[config]}/{split}"
        kind = {"@type": "cr:FileSet", "includes": f"{name}-*.parquet"}
    return {"@id": name, "name": name, "encodingFormat": PARQUET, **kind}


def _records(tables: ZooTables, config: str, split: str) -> dict[str, Any]:
    name = f"{config}/{split}"
    if config == "metadata":
        source = {"fileObject": {"@id": metadata_file(split)}}
        statistics = column_statistics(tables.metadata[split])
    else:
        source, statistics = {"fileSet": {"@id": f"{FOLDERS[config]}/{split}"}}, {}
    fields = []
    for field in tables.schema(config):
        entry: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{name}/{field.name}",
            "name": field.name,
            "description": description(field),
            "dataType": _data_type(field.type),
            "source": source | {"extract": {"column": field.name}},
        }
        if field.type == PICTURE:
            entry["source"]["transform"] = {"jsonPath": "bytes"}
        if pa.types.is_fixed_size_list(field.type):
            entry |= {"isArray": True, "arrayShape": str(field.type.list_size)}
        if (found := statistics.get(field.name)) is not None and found.least is not None:
            entry["annotation"] = _annotations(entry["@id"], found)
        fields.append(entry)
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _annotations(field: str, statistics: Statistics) -> list[dict[str, Any]]:
    """Least and greatest value and mean of a field, in the vocabulary that the specification shows."""
    terms = {
        "minValue": (statistics.least, {"equivalentProperty": "sc:minValue"}),
        "maxValue": (statistics.most, {"equivalentProperty": "sc:maxValue"}),
        "mean": (statistics.mean, {"description": "arithmetic mean"}),
    }
    return [
        {
            "@type": "cr:Field",
            "@id": f"{field}/{term}",
            "name": term,
            "value": value,
            "dataType": "sc:Float",
            **said,
        }
        for term, (value, said) in terms.items()
    ]


def _data_type(kind: pa.DataType) -> str:
    if kind == PICTURE:
        return "sc:ImageObject"
    if pa.types.is_nested(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"

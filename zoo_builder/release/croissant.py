"""croissant.json: the release as machine-readable metadata (Croissant 1.0, MLCommons)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rnnzoo.zoo_builder.release.parquet import ZooTables
from rnnzoo.zoo_builder.storage.schema import metadata_file

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "recordSet": "cr:recordSet",
    "repeated": "cr:repeated",
    "source": "cr:source",
}


def croissant(tables: ZooTables, repo_id: str, title: str, citation: str, version: str) -> dict[str, Any]:
    """The metadata of every split as a record set, with the descriptions of its columns."""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": repo_id.split("/")[-1],
        "description": f"{title}: weights of recurrent networks at every stage of their training, and metadata.",
        "url": f"https://huggingface.co/datasets/{repo_id}",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "citeAs": citation,
        "version": version,
        "distribution": [_file(tables, split) for split in tables.splits],
        "recordSet": [_records(tables, split) for split in tables.splits],
    }


def _file(tables: ZooTables, split: str) -> dict[str, Any]:
    name = metadata_file(split)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": "application/x-parquet",
        "sha256": tables.manifest.files[name].sha256,
    }


def _records(tables: ZooTables, split: str) -> dict[str, Any]:
    fields = []
    for field in tables.metadata[split].schema:
        source = {"fileObject": {"@id": metadata_file(split)}, "extract": {"column": field.name}}
        entry = {
            "@type": "cr:Field",
            "@id": f"{split}/{field.name}",
            "name": field.name,
            "description": (field.metadata or {}).get(b"description", b"").decode(),
            "dataType": _data_type(field.type),
            "source": source,
        }
        fields.append(entry | ({"repeated": True} if pa.types.is_nested(field.type) else {}))
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "field": fields}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_nested(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"

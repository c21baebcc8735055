"""Metadata columns that carry their own description, into Parquet and onto the card."""

import pyarrow as pa

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type of an image file, as `datasets` and the hub's viewer know it."""


def description(field: pa.Field) -> str:
    """What a column is; "" where it does not say."""
    return (field.metadata or {}).get(b"description", b"").decode("utf-8", "replace")


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """An Arrow field with its description."""
    return pa.field(name, kind, metadata={"description": description})

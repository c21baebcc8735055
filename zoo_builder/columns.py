"""Metadata columns that carry their own description, into Parquet and onto the card."""

import pyarrow as pa

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type of an image file, as `datasets` and the hub's viewer know it."""


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """An Arrow field with its description."""
    return pa.field(name, kind, metadata={"description": description})

"""Metadata columns that carry their own description, into Parquet and onto the card."""

import pyarrow as pa


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """An Arrow field with its description."""
    return pa.field(name, kind, metadata={"description": description})

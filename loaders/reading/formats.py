"""How a zoo's columns look to `datasets`: tensors stored flat, shaped when they are formatted.

Arrow holds a tensor column as flat fixed-size lists, because `take` on nested ones returns wrong values in
pyarrow 22 to 26. The shape is kept in the dataset's features, and every format puts it back on. The formats
"zoo_torch" and "zoo_numpy" do so a block at a time: a column becomes one array [B, *shape] in one copy, so that
results may be written to.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Features
from numpy.typing import NDArray

from rnnzoo.loaders.reading.private_parts import (
    NumpyFormatter,
    TensorFormatter,
    TorchFormatter,
    register_feature,
    register_formatter,
)
from rnnzoo.zoo_builder.errors import RnnzooError


@dataclass
class StoredTensor:
    """A column of tensors of one shape: the `datasets` feature whose storage is a flat fixed-size list."""

    shape: tuple[int, ...]
    dtype: str
    _type: str = field(default="StoredTensor", init=False, repr=False)

    def __post_init__(self) -> None:
        self.shape = tuple(self.shape)  # comes back from JSON as a list

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __call__(self) -> pa.DataType:
        return pa.list_(pa.from_numpy_dtype(self.dtype), self.size)

    def encode_example(self, value: Any) -> NDArray[Any]:
        """A tensor, as the flat row that is stored."""
        return np.asarray(value, dtype=self.dtype).reshape(self.size)

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> NDArray[Any]:
        """A flat row, as the array that the stock formats of `datasets` then convert."""
        return np.asarray(value, dtype=self.dtype).reshape(self.shape)


class BlockFormatter(TensorFormatter):
    """Formats columns as stacked arrays. Strings and the like go the way of the stock formatter."""

    def format_row(self, pa_table: pa.Table) -> dict[str, Any]:
        return {name: values[0] for name, values in self.format_batch(pa_table).items()}

    def format_column(self, pa_table: pa.Table) -> Any:
        return self.format_batch(pa_table.select([0]))[pa_table.column_names[0]]

    def format_batch(self, pa_table: pa.Table) -> dict[str, Any]:
        return {name: self._format_one(pa_table, name) for name in pa_table.column_names}

    def _format_one(self, pa_table: pa.Table, name: str) -> Any:
        column = pa_table[name]
        if is_tensor(column.type) and not column.null_count:
            values = _values(column.type.value_type, [chunk.flatten() for chunk in column.chunks])
            return self.tensor(name, values.reshape(-1, column.type.list_size))
        if (_is_number(column.type) or pa.types.is_boolean(column.type)) and not column.null_count:
            return self.wrap(_values(column.type, column.chunks))
        return super().format_column(pa_table.select([name]))

    def tensor(self, name: str, rows: NDArray[Any]) -> Any:
        """The flat rows [B, size] of a tensor column, in its shape and as what this format returns."""
        feature = (self.features or {}).get(name)
        return self.wrap(rows.reshape(-1, *feature.shape) if isinstance(feature, StoredTensor) else rows)

    def wrap(self, array: NDArray[Any]) -> Any:
        """An array that belongs to nobody else, as what this format returns."""
        raise NotImplementedError


class ZooNumpyFormatter(BlockFormatter, NumpyFormatter):
    """NumPy arrays in the dtypes of the storage."""

    def wrap(self, array: NDArray[Any]) -> NDArray[Any]:
        return array


class ZooTorchFormatter(BlockFormatter, TorchFormatter):
    """torch tensors: int64 for integers and float32 for floats, as "torch" does it, but uint8 stays uint8."""

    def wrap(self, array: NDArray[Any]) -> torch.Tensor:
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        elif array.dtype.kind in "iu" and array.dtype != np.uint8:
            array = array.astype(np.int64, copy=False)
        return torch.from_numpy(array)


class FormatName(str):
    """A format's name whose unpickling imports this module: a spawned worker then knows the format."""

    __slots__ = ()


FORMATS = {"torch": FormatName("zoo_torch"), "numpy": FormatName("zoo_numpy")}
"""What `load_zoo` calls a format -> its name in `datasets`."""

register_formatter(ZooTorchFormatter, FORMATS["torch"])
register_formatter(ZooNumpyFormatter, FORMATS["numpy"])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # datasets calls the registration of features experimental
    register_feature(StoredTensor, "StoredTensor")


def format_name(format: str) -> str:
    """The name in `datasets` of one of `FORMATS`."""
    if format not in FORMATS:
        raise RnnzooError(f"format: found {format!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[format]


def features_of(metadata: pa.Schema, tensors: Mapping[str, StoredTensor]) -> Features:
    """Features of a dataset: columns of metadata, in which vectors of numbers are tensors too, then tensors."""
    features = Features.from_arrow_schema(metadata)
    for column in metadata:
        if is_tensor(column.type):
            dtype = np.dtype(column.type.value_type.to_pandas_dtype())
            features[column.name] = StoredTensor((column.type.list_size,), dtype.name)
    return Features({**features, **tensors})


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a column of this type is one of tensors."""
    return pa.types.is_fixed_size_list(kind) and _is_number(kind.value_type)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _values(kind: pa.DataType, chunks: list[pa.Array]) -> NDArray[Any]:
    """The values of some chunks in one new array."""
    if not chunks:
        return np.empty(0, kind.to_pandas_dtype())
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks])

"""How a zoo's columns look to `datasets`: as its own features for arrays, read a block at a time.

A matrix is a column of `Array2D`, a vector a list of fixed length. Those are features of `datasets` itself, so
that what is saved of a zoo is read without this package. (No nested lists of fixed size: `take` on those returns
wrong values in pyarrow 22 to 26.) What is ours are two formats, in which a column becomes one array [B, *shape] in
one copy, so that results may be written to. Where `datasets` itself makes tensors, of what `map` and `batch` hand
on, a column keeps its dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from datasets import Array2D, Array3D, Array4D, Array5D, Features, Sequence, Value
from numpy.typing import NDArray

from rnnzoo.loaders.reading.private_parts import (
    ArrayType,
    NumpyFormatter,
    TensorFormatter,
    TorchFormatter,
    register_formatter,
)
from rnnzoo.zoo_builder.errors import RnnzooError, in_a_line

ARRAYS = {2: Array2D, 3: Array3D, 4: Array4D, 5: Array5D}
"""Features for tensors, by their number of axes."""


class Kind(NamedTuple):
    """What is asked of an Arrow type for every row: such a type is made anew at every look, and slowly.

    shape: of tensors; () for numbers and truth values, None for anything else. dtype: None likewise.
    """

    shape: tuple[int, ...] | None = None
    dtype: np.dtype[Any] | None = None
    is_text: bool = False

    @classmethod
    def of(cls, kind: pa.DataType) -> Kind:
        if is_tensor(kind):
            return cls(shape_of(kind), dtype_of(kind))
        if _is_number(kind) or pa.types.is_boolean(kind):
            return cls((), np.dtype(kind.to_pandas_dtype()))
        return cls(is_text=pa.types.is_string(kind))


class BlockFormatter(TensorFormatter):
    """Formats columns as stacked arrays. What is no tensor, number or text goes the stock formatter's way."""

    def format_row(self, pa_table: pa.Table) -> dict[str, Any]:
        return {name: values[0] for name, values in self.format_batch(pa_table).items()}

    def format_column(self, pa_table: pa.Table) -> Any:
        return self.format_batch(pa_table.select([0]))[pa_table.column_names[0]]

    def format_batch(self, pa_table: pa.Table) -> dict[str, Any]:
        return {name: self._format_one(pa_table, name) for name in pa_table.column_names}

    def _format_one(self, pa_table: pa.Table, name: str) -> Any:
        column = pa_table[name]
        if name not in self._kinds:
            self._kinds[name] = Kind.of(column.type)
        shape, dtype, is_text = self._kinds[name]
        if is_text and not column.null_count:
            return self.wrap_texts(column.to_pylist())
        if shape is None or dtype is None or column.null_count:
            return super().format_column(pa_table.select([name]))
        values = [flat(chunk, len(shape)).to_numpy(zero_copy_only=False) for chunk in column.chunks]
        return self.wrap((np.concatenate(values) if values else np.empty(0, dtype)).reshape(-1, *shape))

    def recursive_tensorize(self, data_struct: Any) -> Any:
        """Rows and batches of Python, as `map` hands them on: numbers take the dtype of their column."""
        if isinstance(data_struct, dict):
            data_struct = {name: _typed(value, self._dtypes.get(name)) for name, value in data_struct.items()}
        return super().recursive_tensorize(data_struct)

    @cached_property
    def _kinds(self) -> dict[str, Kind]:
        return {}

    @cached_property
    def _dtypes(self) -> dict[str, np.dtype[Any] | None]:
        schema = self.features.arrow_schema if self.features else pa.schema([])
        return {field.name: _leaf_dtype(field.type) for field in schema}

    def wrap(self, array: NDArray[Any]) -> Any:
        """An array that belongs to nobody else, as what this format returns."""
        raise NotImplementedError

    def wrap_texts(self, texts: list[str]) -> Any:
        """Text, as what this format returns."""
        raise NotImplementedError


class ZooNumpyFormatter(BlockFormatter, NumpyFormatter):
    """NumPy arrays in the dtypes of the storage."""

    def wrap(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def wrap_texts(self, texts: list[str]) -> NDArray[np.str_]:
        return np.array(texts, dtype=np.str_)

    def _tensorize(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value if value.flags.writeable else value.copy())[()]
        return np.asarray(value)[()] if isinstance(value, bool | int | float) else super()._tensorize(value)

    def _consolidate(self, column: Any) -> Any:
        is_text = isinstance(column, list) and bool(column) and all(isinstance(each, str) for each in column)
        return self.wrap_texts(column) if is_text else super()._consolidate(column)


class ZooTorchFormatter(BlockFormatter, TorchFormatter):
    """torch tensors: int64 for integers and float32 for floats, as "torch" does it, but uint8 stays uint8."""

    def wrap(self, array: NDArray[Any]) -> torch.Tensor:
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        elif array.dtype.kind in "iu" and array.dtype != np.uint8:
            array = array.astype(np.int64, copy=False)
        return torch.from_numpy(array)

    def wrap_texts(self, texts: list[str]) -> list[str]:
        return texts

    def _tensorize(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().clone()
        is_array = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf"
        return self.wrap(np.array(value)) if is_array else super()._tensorize(value)


class FormatName(str):
    """The name of one of our formats: written down it is that of the format of `datasets` that it stands for.

    So what is saved of a zoo opens without this package. In memory it is found as itself alone, and its unpickling
    imports this module: a spawned worker then knows the format.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is FormatName and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((FormatName, str(self)))


FORMATS = {name: FormatName(name) for name in ("torch", "numpy")}
"""What `load_zoo` calls a format -> its name in `datasets`."""

register_formatter(ZooTorchFormatter, FORMATS["torch"])
register_formatter(ZooNumpyFormatter, FORMATS["numpy"])


def format_name(format: str) -> str:
    """The name in `datasets` of one of `FORMATS`."""
    if not isinstance(format, str) or format not in FORMATS:
        raise RnnzooError(f"format: found {in_a_line(format)}, expected one of {', '.join(FORMATS)}")
    return FORMATS[format]


def features_of(metadata: pa.Schema, tensors: Mapping[str, Any]) -> Features:
    """Features of a dataset: those of columns of metadata, and then those given."""
    return Features({**Features.from_arrow_schema(metadata), **tensors})


def tensor_feature(shape: tuple[int, ...], dtype: str) -> Any:
    """The feature of a column of tensors of this shape, which has one axis at least."""
    if len(shape) == 1:
        return Sequence(Value(dtype), length=shape[0])
    return ARRAYS[len(shape)](shape, dtype)


@cache
def tensor_type(shape: tuple[int, ...], dtype: str) -> pa.DataType:
    """The Arrow type of `tensor_feature`: kept, as Arrow else makes its Python side anew at every look."""
    feature = tensor_feature(shape, dtype)
    return pa.list_(pa.from_numpy_dtype(dtype), shape[0]) if len(shape) == 1 else feature()


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a column of this type is one of tensors of one shape."""
    if isinstance(kind, ArrayType):
        return None not in kind.shape
    return pa.types.is_fixed_size_list(kind) and _is_number(kind.value_type)


def shape_of(kind: pa.DataType) -> tuple[int, ...]:
    """The shape of the tensors of a column of this type."""
    return kind.shape if isinstance(kind, ArrayType) else (kind.list_size,)


def dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """The dtype of the tensors of a column of this type."""
    return np.dtype(kind.value_type if isinstance(kind, ArrayType) else kind.value_type.to_pandas_dtype())


def flat(chunk: pa.Array, axes: int) -> pa.Array:
    """The numbers of a column without nulls, of tensors with so many axes, one after the other, where they lie."""
    values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    for _ in range(axes):
        values = values.flatten()
    return values


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _leaf_dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    """The dtype of a column of numbers, or of tensors or lists of them; None for any other."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if isinstance(kind, ArrayType):
        return np.dtype(kind.value_type)
    return np.dtype(kind.to_pandas_dtype()) if _is_number(kind) or pa.types.is_boolean(kind) else None


def _typed(value: Any, dtype: np.dtype[Any] | None) -> Any:
    """Numbers of Python, alone or in lists of one shape, in this dtype; anything else as it is."""
    first = value
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if dtype is None or not isinstance(first, bool | int | float):
        return value
    try:
        return np.array(value, dtype)
    except (ValueError, TypeError, OverflowError):
        return value

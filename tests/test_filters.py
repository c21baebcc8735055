"""Filters: a row passes where its value compares so, as the column stores it; a row without one never does."""

import warnings
from collections import deque

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnzoo.loaders.reading.selection import COMPARISONS, OPERATORS, matching_rows
from rnnzoo.zoo_builder.errors import RnnzooError

TABLE = pa.table(
    {
        "seed": pa.array([0, 2**62 + 1, None, -5, 7], pa.int64()),
        "index": pa.array([0, 127, None, -128, 7], pa.int8()),
        "loss": pa.array([0.1, np.inf, None, np.nan, 3e38], pa.float32()),
        "accuracy": pa.array([0.1, 1e300, None, np.nan, 7.0], pa.float64()),
        "language": pa.array(["a", "b", None, "", "0"]),
        "diverged": pa.array([True, False, None, True, False]),
        "offsets": pa.array([[0, 1]] * 5, pa.list_(pa.int8(), 2)),
    }
)
NUMBERS = [0, 7, 127, 128, -128, -129, 0.5, 7.0, 0.1, float(np.float32(0.1)), 3e38, 1e300, -1e300, np.inf]
VALUES = {
    "seed": [*NUMBERS, 2**62 + 1, 2**63 - 1, -5, -(2**63), -5.5, 2.0**62, 2.0**63, -np.inf, np.nan],
    "index": [*NUMBERS, -np.inf, np.nan],
    "loss": [*NUMBERS, np.float64(0.1), np.float32(0.1), np.int64(7)],
    "accuracy": [*NUMBERS, np.float32(0.1), np.float16(0.5)],
    "language": ["a", "", "0", np.str_("b")],
    "diverged": [True, False, np.True_],
}
OTHERS = {
    "seed": ["0", True, 2**63, -(2**63) - 1, [0], b"0"],
    "index": ["0", False, 2**80],
    "loss": ["0", True, 2**80, 1j],
    "accuracy": ["high", np.False_, {}],
    "language": [0, True, b"a", 0.5],
    "diverged": [0, 1.0, "True"],
    "offsets": [0, 0.5, "0"],
}


def stored(value, kind):
    """A value as a column of this type has it, where it has such a value at all."""
    if not pa.types.is_floating(kind):
        return value
    with np.errstate(over="ignore"):
        rounded = float(kind.to_pandas_dtype()(value))
    return float(value) if np.isinf(rounded) else rounded


def passes(found, symbol, value, kind):
    if found is None:
        return False
    if symbol in COMPARISONS:
        return COMPARISONS[symbol](found, stored(value, kind))
    return any(found == stored(each, kind) for each in value) == (symbol == "in")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_condition(data):
    name, symbol = data.draw(st.sampled_from(sorted(VALUES))), data.draw(st.sampled_from(OPERATORS))
    values = st.sampled_from(VALUES[name])
    value = data.draw(values if symbol in COMPARISONS else st.lists(values, max_size=6))
    kind = TABLE.schema.field(name).type
    expected = [passes(found, symbol, value, kind) for found in TABLE[name].to_pylist()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = matching_rows(TABLE, [(name, symbol, value)])
    assert rows.tolist() == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OTHERS.items() for value in values])
def test_a_value_of_another_kind_is_an_error(name, symbol, value):
    several = symbol not in COMPARISONS
    mixed = [[value], [*VALUES.get(name, [])[:2], value]] if several else [value]
    for each in mixed:
        with pytest.raises(RnnzooError, match=r"^filters: found .*, expected .*"):
            matching_rows(TABLE, [(name, symbol, each)])


@pytest.mark.parametrize("symbol", ["==", "!=", "in", "not in"])
def test_no_value_is_no_value_of_a_condition(symbol):
    value = None if symbol in COMPARISONS else [0, None]
    message = r"found None in .*, expected numbers \(a row without a value passes no condition\) for column 'seed'"
    with pytest.raises(RnnzooError, match=message):
        matching_rows(TABLE, [("seed", symbol, value)])
    assert matching_rows(TABLE, pc.field("seed").is_null()).tolist() == [2]


@pytest.mark.parametrize(
    "expression", [pc.field("seed") + 1, pc.field("seed"), pc.field("no"), pc.field("loss") > 2**62]
)
def test_expressions_that_choose_no_rows(expression):
    with pytest.raises(RnnzooError, match=r"^filters: found .*; the columns are seed, index"):
        matching_rows(TABLE, expression)


def test_arrays_of_values():
    arrays = (np.array([7, 0]), np.array(7), np.array([7.0, 0.5]), {7}, frozenset([7]), (7, 8), range(7, 9))
    frames = (pd.Series([7, 0]), pd.Series([7.0]), pd.Index([7]), pd.Series([7], dtype="Int64"))
    others = (pa.array([7, 0]), pa.chunked_array([[7], [0]]), torch.tensor([7, 0]), torch.tensor([7.0]))
    scalars = (deque([np.int8(7)]), {7: "", 0: ""}.keys(), [pa.scalar(7), torch.tensor(0)])
    columns = [Dataset.from_dict({"a": [7, 0]}).with_format(kind)["a"] for kind in (None, "torch", "numpy")]
    for values in (*arrays, *frames, *others, *scalars, *columns):
        assert matching_rows(TABLE, [("index", "in", values), ("index", ">", 0)]).tolist() == [4]
    with pytest.raises(RnnzooError, match=r"found \[7\] in .*, expected numbers for column 'index'"):
        matching_rows(TABLE, [("index", "in", np.array([[7]]))])
    texts = ["a", "0"]
    for values in (np.array(texts), pd.Series(texts), pd.Series(texts, dtype="category"), pa.array(texts)):
        assert matching_rows(TABLE, [("language", "in", values)]).tolist() == [0, 4]
        with pytest.raises(RnnzooError, match=r"expected one value after '=='"):
            matching_rows(TABLE, [("language", "==", values)])
    tables = (pd.DataFrame({"a": [7]}), pa.table({"a": [7]}), Dataset.from_dict({"a": [7]}), {7: 0})
    for values in (*tables, torch.tensor([[7]]), torch.tensor(7), (each for each in [7]), "7", b"7", pa.scalar(7)):
        with pytest.raises(RnnzooError, match=r"expected a list of values after 'in'"):
            matching_rows(TABLE, [("index", "in", values)])


SCALARS = {
    "index": [pc.max(TABLE["index"]), pa.scalar(127.0), torch.tensor(127), np.uint8(127)],
    "language": [pc.max(TABLE["language"]), np.str_("b")],
    "diverged": [pc.max(TABLE["diverged"]), np.True_, torch.tensor(True)],
}


@pytest.mark.parametrize("name", SCALARS)
def test_one_value_of_an_array_or_a_table(name):
    for value in SCALARS[name]:
        expected = pc.equal(TABLE[name], pc.max(TABLE[name])).fill_null(False).to_numpy()
        assert matching_rows(TABLE, [(name, "==", value)]).tolist() == np.flatnonzero(expected).tolist()
        assert matching_rows(TABLE, [(name, "in", [value])]).tolist() == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize(
    "filters",
    [
        pd.Series([True, False, True]),
        pd.DataFrame({"step": [1, 2]}),
        [[("index", "in", pd.DataFrame({"a": range(100)}))]],
        [("index", "==", pd.Series(range(100)))],
        [pd.Series([1, 2])],
        pc.field("no").isin([1, 2]),
    ],
)
def test_an_error_is_one_line(filters):
    with pytest.raises(RnnzooError) as found:
        matching_rows(TABLE, filters)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 600

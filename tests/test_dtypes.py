"""A column has one dtype in a format, and its values to the last bit, in whatever way a row is reached."""

import numpy as np
import pytest
import torch
from datasets import Features, Value

from rnnzoo import load_zoo
from rnnzoo.loaders.reading.formats import FORMATS

STORED = {
    "digits_zoo": {
        "step": np.int32,
        "num_layers": np.int16,
        "accuracy": np.float64,
        "rotation_degrees": np.float64,
        "eval_loss": np.float32,
        "diverged": np.bool_,
        "image_source": np.str_,
        "rollout_inputs": np.uint8,
        "rollout_labels": np.uint8,
        "head.weight": np.float32,
        "head.bias": np.float32,
    },
    "language_zoo": {"offsets": np.int8, "accuracy": np.float64, "rollout_inputs": np.uint8},
}
IN_TORCH = {"i": torch.int64, "f": torch.float32, "b": torch.bool, "u": torch.uint8}
ROWS = {
    "rows": lambda d: d,
    "filter": lambda d: d.filter(lambda row: True),
    "filter, batched": lambda d: d.filter(lambda rows: [True] * len(rows["accuracy"]), batched=True, batch_size=3),
    "map": lambda d: d.map(lambda row: {"more": 1}),
    "map, batched": lambda d: d.map(lambda rows: {"more": [1] * len(rows["accuracy"])}, batched=True),
    "map of the row": lambda d: d.map(lambda row: row),
    "map with features": lambda d: d.map(
        lambda row: {"more": 1}, features=Features({**d.features, "more": Value("int64")})
    ),
    "filter, rename": lambda d: d.filter(lambda row: True).rename_column("split", "part"),
    "filter, cast": lambda d: d.filter(lambda row: True).cast(d.features),
    "take": lambda d: d.take(5),
    "unbatched": lambda d: d.batch(3).map(lambda rows: rows, batched=True, batch_size=1).map(_first),
}
BATCHES = {
    "iter": lambda d: d.iter(4),
    "batch": lambda d: iter(d.batch(4)),
    "map, iter": lambda d: d.map(lambda row: {"more": 1}).iter(4),
    "filter, batch": lambda d: iter(d.filter(lambda row: True).batch(4)),
    "filter, rename, iter": lambda d: d.filter(lambda row: True).rename_column("split", "part").iter(4),
    "batch, map": lambda d: iter(d.batch(4).map(lambda rows: {"more": 1})),
}


def _first(batch):
    return {name: values[0] for name, values in batch.items()}


def check(found, expected, format, dtype):
    """Values as they are stored, in the dtype that the format has for them."""
    if dtype is np.str_:
        assert np.array_equal(np.array(found), expected)
        assert isinstance(found, str | list) if format == "torch" else np.asarray(found).dtype.kind == "U"
        return
    assert found.dtype == (IN_TORCH[np.dtype(dtype).kind] if format == "torch" else dtype)
    assert not isinstance(found, np.ndarray) or found.ndim
    assert np.array_equal(np.asarray(found), expected.astype(np.asarray(found).dtype))


@pytest.fixture(scope="module", params=STORED)
def zoo(request):
    """A zoo's folder, the dtypes of some columns, and four rows as they are stored."""
    folder, dtypes = request.getfixturevalue(request.param), STORED[request.param]
    arrow = load_zoo(folder, "train", rollouts=True).with_format("arrow")[:4]
    stored = {name: np.array(arrow[name].to_pylist(), dtype) for name, dtype in dtypes.items()}
    return folder, dtypes, stored


def opened(folder, format, streaming):
    return load_zoo(
        folder, "train", rollouts=True, tensors=["head.weight", "head.bias"], format=format, streaming=streaming
    )


@pytest.mark.parametrize("streaming", [False, True], ids=["map-style", "stream"])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("way", ROWS)
def test_rows(zoo, format, streaming, way):
    folder, dtypes, stored = zoo
    row = next(iter(ROWS[way](opened(folder, format, streaming))))
    for name, dtype in dtypes.items():
        check(row[name], stored[name][0], format, dtype)


@pytest.mark.parametrize("streaming", [False, True], ids=["map-style", "stream"])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("way", BATCHES)
def test_batches(zoo, format, streaming, way):
    folder, dtypes, stored = zoo
    batch = next(BATCHES[way](opened(folder, format, streaming)))
    for name, dtype in dtypes.items():
        check(batch[name], stored[name], format, dtype)

"""What a `datasets` object with columns of `Array2D` can do, one of a zoo can, with the same result.

Each line of the tables is one use of it, done to a dataset of a zoo and to a stock dataset of the same values.
"""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Array2D, Dataset, DatasetDict, Features, Sequence, Value, concatenate_datasets

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.reading.map_style import ZooDataset
from rnnzoo.zoo_builder.errors import RnnzooError

W = "head.weight"
SMALL_NUMBERS = ["int8", "uint8", "int16", "uint16", "uint64"]
MATRIX = Array2D((6, 32), "float64")
EITHER = {
    "rows": lambda d: list(d)[2],
    "batches": lambda d: list(d.iter(5))[1],
    "batches of rows": lambda d: next(iter(d.batch(4))),
    "map": lambda d: list(d.map(lambda row: {"sum": float(row[W].sum()), W: 2 * row[W]})),
    "map, batched": lambda d: list(d.map(lambda rows: {"sum": rows[W].sum((1, 2))}, batched=True, batch_size=7)),
    "map to matrices": lambda d: list(d.map(lambda row: {"turned": row[W].T.contiguous()}, remove_columns=[W])),
    "map in pandas": lambda d: list(
        d.with_format("pandas").map(lambda f: f.assign(x=f["step"] + 1), batched=True)
    ),
    "map in Arrow": lambda d: list(
        d.with_format("arrow").map(lambda t: t.append_column("x", t["step"]), batched=True, batch_size=5)
    )[:1],
    "filter": lambda d: list(d.filter(lambda row: row["step"] > 0)),
    "filter, batched": lambda d: list(d.filter(lambda rows: [s > 0 for s in rows["step"]], batched=True)),
    "filter a column": lambda d: list(d.filter(lambda step: step > 0, input_columns="step")),
    "take": lambda d: list(d.take(3)),
    "skip": lambda d: list(d.skip(3)),
    "repeat": lambda d: list(d.repeat(2)),
    "rename": lambda d: next(iter(d.rename_column(W, "w"))),
    "remove": lambda d: next(iter(d.remove_columns(W))),
    "select columns": lambda d: next(iter(d.select_columns([W]))),
    "cast a number": lambda d: next(iter(d.cast_column("step", Value("float64")))),
    "cast a matrix": lambda d: next(iter(d.cast_column(W, MATRIX).with_format("numpy"))),
    "cast all": lambda d: next(iter(d.cast(d.features))),
    "add a column": lambda d: list(d.add_column("number", list(range(16))))[3],
    "in NumPy": lambda d: list(d.with_format("numpy"))[1],
    "in Python": lambda d: list(d.with_format(None))[1],
    "in Arrow": lambda d: list(d.with_format("arrow").iter(4)),
    "in pandas": lambda d: list(d.with_format("pandas").iter(4)),
    "in polars": lambda d: list(d.with_format("polars").iter(4)),
    "to pandas": lambda d: d.to_pandas(),
    "to polars": lambda d: d.to_polars(),
    "to CSV": lambda d: d.remove_columns([W, "head.bias"]).to_csv("rows.csv") and csv_rows(),
}
MAP_STYLE = {
    "a row": lambda d: d[3],
    "from the end": lambda d: d[-1],
    "a slice": lambda d: d[2:9:3],
    "backwards": lambda d: d[::-1],
    "an empty slice": lambda d: d[5:2],
    "a list": lambda d: d[[3, 1, -2]],
    "no rows": lambda d: d[[]]["step"],
    "a range": lambda d: d[range(1, 4)],
    "an array": lambda d: d[np.array([4, 4])],
    "small numbers": lambda d: [d[np.array([1, 2], kind)] for kind in SMALL_NUMBERS],
    "a tensor": lambda d: d[torch.tensor([1, 2])],
    "a tuple": lambda d: d[(1, 2)],
    "a number of NumPy": lambda d: d[np.int64(3)],
    "a column": lambda d: d[W][:3],
    "a column's entry": lambda d: d[W][2],
    "for a DataLoader": lambda d: d.__getitems__([1, 2]),
    "in columns": lambda d: d.with_format("torch", columns=[W])[:2],
    "with a transform": lambda d: d.with_transform(lambda batch: {"shape": [np.shape(w) for w in batch[W]]})[:2],
    "to a dict": lambda d: d.to_dict(),
    "to a list": lambda d: d.to_list(),
    "to a stream": lambda d: list(d.to_iterable_dataset(num_shards=3)),
    "sort": lambda d: d.sort("accuracy")[:],
    "shuffle": lambda d: d.shuffle(seed=0)[:3],
    "shard": lambda d: d.shard(3, 1)[:],
    "split": lambda d: d.train_test_split(0.2, seed=0)["test"][:],
    "unique": lambda d: d.unique("language"),
    "flatten": lambda d: d.flatten()[0],
    "flatten indices": lambda d: d.select([3, 1]).flatten_indices()[:],
    "join": lambda d: concatenate_datasets([d, d.select([2, 0])])[15:],
    "interleave": lambda d: datasets.interleave_datasets([d, d])[3:5],
    "add an item": lambda d: d.add_item(dict(d.with_format(None)[2]))[-1],
    "name classes": lambda d: d.with_format(None).class_encode_column("language").features["language"].names,
    "rename several": lambda d: d.rename_columns({W: "w", "step": "t"})[0],
    "map in polars": lambda d: d.with_format("polars").map(lambda f: f.select(x=f["step"] + 1), batched=True)[:],
    "processes": lambda d: d.map(_doubled, num_proc=2)[:],
    "pickle": lambda d: pickle.loads(pickle.dumps(d))[:],
}
WRONG = {
    "too few truth values": ([True, False], IndexError, "found 2 truth values, expected one for each of 16 rows"),
    "floats": ([0.7, 1.9], TypeError, "found float64 of shape"),
    "text": (["1"], TypeError, "found <U1 of shape"),
    "a number too large": ([16], IndexError, "found 16, expected -16 to 15"),
    "nested": ([[1]], TypeError, "found int64 of shape"),
    "one truth value": (True, TypeError, "found bool of shape"),
}


def csv_rows():
    return Path("rows.csv").read_text(encoding="utf-8")


def _doubled(row):
    return {W: 2 * row[W]}


def plain(value):
    """Nested lists and dicts of what is there, without the classes of arrays."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    if hasattr(value, "to_pydict"):
        return plain(value.to_pydict())
    if hasattr(value, "columns"):
        return {name: plain(value[name].to_list()) for name in value.columns}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


@pytest.fixture(scope="module")
def ours(language_zoo):
    columns = ["checkpoint_id", "language", "step", "accuracy"]
    return load_zoo(language_zoo, "train", columns=columns, tensors=[W, "head.bias"]).select(range(16))


@pytest.fixture(scope="module")
def stock(ours):
    rows = [{name: plain(value) for name, value in row.items()} for row in ours.with_format("numpy")]
    kinds = {"checkpoint_id": "string", "language": "string", "step": "int32", "accuracy": "float64"}
    features = {name: Value(kind) for name, kind in kinds.items()}
    features |= {W: Array2D((6, 32), "float32"), "head.bias": Sequence(Value("float32"), length=6)}
    return Dataset.from_list(rows, features=Features(features)).with_format("torch")


def _skip_without_polars(use):
    if "polars" in use:
        pytest.importorskip("polars")


@pytest.mark.parametrize("use", MAP_STYLE | EITHER)
def test_a_dataset(ours, stock, use, tmp_path, monkeypatch):
    _skip_without_polars(use)
    monkeypatch.chdir(tmp_path)
    do = (MAP_STYLE | EITHER)[use]
    assert plain(do(ours)) == plain(do(stock))


@pytest.mark.parametrize("use", EITHER)
def test_a_stream(language_zoo, ours, stock, use, tmp_path, monkeypatch):
    _skip_without_polars(use)
    monkeypatch.chdir(tmp_path)
    shown = list(ours.column_names)
    stream = load_zoo(language_zoo, "train", streaming=True, columns=shown[:4], tensors=shown[4:]).take(16)
    assert plain(EITHER[use](stream)) == plain(EITHER[use](stock.to_iterable_dataset().with_format("torch")))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_truth_values_choose_rows(ours, kind):
    wanted = np.array(ours["accuracy"][:]) > np.median(ours["accuracy"][:])
    for dataset in (ours, ours.with_format("numpy"), ours.map(lambda row: {"more": 1}), ours.shuffle(seed=0)):
        chosen = np.array(dataset["accuracy"][:])[wanted]
        assert np.array_equal(dataset[kind(wanted.tolist())]["accuracy"], chosen)


@pytest.mark.parametrize("case", WRONG)
def test_what_names_no_rows_is_an_error(ours, case):
    key, error, message = WRONG[case]
    for dataset in (ours, ours.with_format(None)):
        with pytest.raises(error, match=message):
            dataset[key]


CHANGES = {
    "none": lambda d: d,
    "a column more": lambda d: d.add_column("n", list(range(16))),
    "an item more": lambda d: d.add_item(d.with_format(None)[0]),
    "repeated": lambda d: d.repeat(2),
}


def test_every_result_reads_blocks_again(ours):
    made = [
        ours.select([1]),
        ours.shuffle(seed=1),
        ours.sort("step"),
        ours.map(_doubled),
        ours.add_column("n", [0] * 16),
    ]
    made += [ours.filter(lambda row: True), ours.shard(2, 0), ours.cast(ours.features), ours.rename_column(W, "w")]
    made += [
        *ours.train_test_split(0.5).values(),
        ours.flatten_indices(),
        ours.repeat(2),
        ours.add_item(ours.with_format(None)[0]),
    ]
    assert {type(dataset) for dataset in made} == {ZooDataset}


@pytest.mark.parametrize("change", CHANGES)
def test_map_keeps_its_result_on_the_disk(ours, change):
    mapped = CHANGES[change](ours).map(_doubled)
    assert mapped.cache_files
    assert CHANGES[change](ours).map(_doubled).cache_files == mapped.cache_files


def test_row_numbers_of_a_small_type_reach_beyond_it(language_zoo):
    rows = load_zoo(language_zoo, "train", tensors=[]).repeat(40)
    assert len(rows) > 2**8
    assert rows[np.array([1, -1], np.int8)]["checkpoint_id"] == [
        rows[1]["checkpoint_id"],
        rows[-1]["checkpoint_id"],
    ]
    with pytest.raises(IndexError, match=f"found {2**64 - 1}, expected"):
        rows[np.array([2**64 - 1], np.uint64)]


def test_map_without_a_folder_to_write_to_keeps_its_result_in_memory(ours, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # chmod is nothing to root
    before = ours.map(_doubled)[:]
    for made in (ours.map(_doubled), ours.filter(lambda row: True), ours.shuffle(seed=0), ours.sort("accuracy")):
        assert not made.cache_files
        assert len(made) == len(ours)
    assert torch.equal(before[W], 2 * ours[:][W])


TEXT_FILES = {
    "as it is": lambda d: d,
    "taken": lambda d: d.take(9),
    "mapped": lambda d: d.map(_doubled),
    "filtered": lambda d: d.filter(lambda row: row["step"] > 0),
    "repeated": lambda d: d.repeat(2),
    "renamed": lambda d: d.rename_column("step", "time").select_columns(["time", "accuracy", W, "head.bias"]),
    "shuffled": lambda d: d.shuffle(seed=0),
    "batched": lambda d: d.batch(4),
    "in NumPy": lambda d: d.with_format("numpy"),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", TEXT_FILES)
def test_tensors_in_json_are_read_back(language_zoo, way, streaming, tmp_path):
    """Numbers have 15 decimals there."""
    made = TEXT_FILES[way](load_zoo(language_zoo, "train", tensors=[W, "head.bias"], streaming=streaming))
    made.to_json(tmp_path / "rows.jsonl")
    read = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    rows = list(made)
    assert len(read) == len(rows) > 0
    for found, row in zip(read, rows, strict=True):
        assert found.keys() == row.keys()
        for name in found.keys() & {W, "head.bias", "accuracy", "offsets"}:
            assert np.shape(found[name]) == np.shape(row[name])
            assert np.allclose(found[name], row[name], rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", TEXT_FILES)
def test_matrices_are_not_written_to_csv(language_zoo, way, streaming, tmp_path):
    made = TEXT_FILES[way](load_zoo(language_zoo, "train", tensors=[W, "head.bias"], streaming=streaming))
    names = "offsets, word_probabilities, head.weight and 1 more" if way == "batched" else "head.weight"
    message = f"to_csv: found matrices in the columns {names}; expected none, .*; `to_parquet` writes them"
    with pytest.raises(RnnzooError, match=message):
        made.to_csv(tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize("streaming", [False, True])
def test_metadata_in_csv_are_read_back(language_zoo, streaming, tmp_path):
    made = load_zoo(language_zoo, "train", tensors=["lstm.bias_ih_l0"], streaming=streaming)
    made.to_csv(tmp_path / "rows.csv")
    expected = made.to_pandas()
    as_text = {name: str for name in expected.columns if expected[name].dtype.kind == "f"}  # older pandas rounds
    read = pd.read_csv(tmp_path / "rows.csv", dtype=as_text)
    assert list(read.columns) == list(expected.columns)
    for name in read.columns:
        is_vector = isinstance(expected[name].iloc[0], np.ndarray)
        found = read[name].map(json.loads) if is_vector else read[name].astype(expected[name].dtype)
        assert plain(found.tolist()) == plain(expected[name].tolist()), name


WITHOUT_US = """
import sys
sys.modules["rnnzoo"] = None
import numpy as np
from datasets import load_dataset, load_from_disk
for rows in (load_from_disk("disk"), load_dataset("parquet", data_files="rows.parquet", split="train"),
             load_from_disk("all")["train"], load_from_disk("joined")):
    print(*rows.with_format("numpy")[0]["head.weight"].shape, np.shape(rows[0]["head.weight"]), len(rows))
"""


def test_what_is_saved_is_read_without_this_package(ours, tmp_path):
    ours.save_to_disk(tmp_path / "disk")
    ours.to_parquet(tmp_path / "rows.parquet")
    DatasetDict(train=ours.map(_doubled)).save_to_disk(tmp_path / "all")
    concatenate_datasets([ours, ours]).save_to_disk(tmp_path / "joined")
    command = [sys.executable, "-c", WITHOUT_US]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    saved = "6 32 torch.Size([6, 32]) 16"  # with its format; Parquet has none
    assert done.stdout.splitlines() == [saved, "6 32 (6, 32) 16", saved, saved.replace("16", "32")], done.stderr


def test_a_zoo_pickles_as_its_place(language_zoo):
    zoo = Zoo(language_zoo)
    fresh = len(pickle.dumps(zoo))
    weights = zoo.batch(range(len(zoo)))
    assert len(pickle.dumps(zoo)) == fresh < 1000
    assert torch.equal(pickle.loads(pickle.dumps(zoo)).batch([3])[W][0], weights[W][3])

"""`load_zoo`: every way of reading gives the bytes that safetensors reads, whatever is asked of it."""

import json
import multiprocessing
import pickle
from collections import Counter

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Array2D, Dataset, IterableDataset, Split, concatenate_datasets
from datasets.distributed import split_dataset_by_node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from benchmarks import loading
from rnnzoo import load_zoo
from rnnzoo.loaders.source import local
from rnnzoo.loaders.source.runs import runs_of
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.storage.shards import row_sha256

NAMES = [parameter.name for parameter in RNNSpec(input_size=6, output_size=6, hidden_size=32).parameters]
SIZES = {"train": 24, "validation": 3, "test": 3, "ood": 6}


@pytest.fixture(scope="module")
def stored(language_zoo):
    """checkpoint_id -> name -> tensor, as `safetensors` itself reads the train split."""
    rows = {}
    for row in pq.read_table(language_zoo / "metadata" / "train.parquet").to_pylist():
        shard = load_file(language_zoo / row["shard"])
        rows[row["checkpoint_id"]] = {name: tensor[row["row"]] for name, tensor in shard.items()}
    return rows


def sha256_of(row):
    """sha256 of the weights of a dataset's row, torch or NumPy."""
    return row_sha256(np.concatenate([np.asarray(row[name]).reshape(-1) for name in NAMES]))


def rows_of(batch):
    """A batch as single rows."""
    return [{name: column[i] for name, column in batch.items()} for i in range(len(batch["checkpoint_id"]))]


def check_rows(rows, stored, each_once=True):
    """Every row has the stored weights, by value and by hash, and (in any order) each is there once."""
    rows = list(rows)
    for row in rows:
        expected = stored[row["checkpoint_id"]]
        assert sha256_of(row) == row["sha256"]
        for name in NAMES:
            assert tuple(row[name].shape) == tuple(expected[name].shape)
            assert np.array_equal(np.asarray(row[name]), expected[name].numpy())
    if each_once:
        assert Counter(row["checkpoint_id"] for row in rows) == Counter(stored.keys())


# --- map-style


def test_every_split(language_zoo):
    zoo = load_zoo(language_zoo)
    assert {split: len(dataset) for split, dataset in zoo.items()} == SIZES
    streams = load_zoo(language_zoo, streaming=True)
    assert {split: len(list(stream)) for split, stream in streams.items()} == SIZES
    assert len(load_zoo(language_zoo, Split.TEST)) == SIZES["test"]


@pytest.mark.parametrize("format", ["torch", "numpy"])
def test_rows_and_batches(language_zoo, stored, format):
    dataset = load_zoo(language_zoo, "train", format=format)
    assert isinstance(dataset, Dataset)
    kind = torch.Tensor if format == "torch" else np.ndarray
    assert isinstance(dataset[0]["head.weight"], kind)
    assert dataset[2:5]["lstm.weight_hh_l0"].shape == (3, 128, 32)
    check_rows((dataset[i] for i in range(len(dataset))), stored)
    check_rows(rows_of(dataset[:]), stored)
    check_rows((row for batch in dataset.iter(7) for row in rows_of(batch)), stored)
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    assert list(dataset[order]["checkpoint_id"]) == [dataset[i]["checkpoint_id"] for i in order]
    check_rows(rows_of(dataset[order]), stored)
    check_rows(rows_of(dataset[[3, 3, -1]]), stored, each_once=False)
    assert len(dataset[0:0]["checkpoint_id"]) == 0
    with pytest.raises(IndexError):
        dataset[[0, len(dataset)]]


def test_columns_of_a_dataset(language_zoo, stored):
    dataset = load_zoo(language_zoo, "train")
    column = dataset["head.bias"][:]
    assert torch.equal(column, torch.stack([weights["head.bias"] for weights in stored.values()]))
    assert dataset["offsets"][:].shape == (24, 3)
    assert dataset["checkpoint_id"][:2] == list(stored)[:2]


def test_what_datasets_does_with_it(language_zoo, stored):
    dataset = load_zoo(language_zoo, "train")
    check_rows(rows_of(dataset.shuffle(seed=1)[:]), stored)
    check_rows((row for batch in dataset.shuffle(seed=1).iter(5) for row in rows_of(batch)), stored)
    check_rows(rows_of(concatenate_datasets([dataset.select(range(9)), dataset.select(range(9, 24))])[:]), stored)
    halves = dataset.train_test_split(0.5, seed=0)
    check_rows([*rows_of(halves["train"][:]), *rows_of(halves["test"][:])], stored)
    last = dataset.filter(lambda row: row["step"] == 100)
    assert last["step"][:].tolist() == [100] * 8
    check_rows(rows_of(last[:]), stored, each_once=False)
    renamed = dataset.rename_column("head.bias", "b").remove_columns("head.weight").sort("accuracy")
    assert torch.equal(renamed[:]["b"], dataset.sort("accuracy")[:]["head.bias"])
    assert len(dataset.add_column("extra", list(range(24)))[[5, 2]]["extra"]) == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_names_may_come_in_any_order_that_is_one(language_zoo, streaming):
    """A generator is gone through once, and there are four splits."""
    expected = ["step", "accuracy", "head.bias"]
    for kind in (list, tuple, iter, dict.fromkeys, lambda names: dict.fromkeys(names).keys(), np.array):
        options = {"columns": kind(expected[:2]), "tensors": kind(expected[2:])}
        found = load_zoo(language_zoo, streaming=streaming, **options)
        assert [each.column_names for each in found.values()] == [expected] * 4


def test_map(language_zoo, stored):
    dataset = load_zoo(language_zoo, "train")

    def double(batch):
        batch["head.weight"].zero_()  # in place and not returned: must not reach the result
        return {"norm": batch["head.bias"].norm(dim=1), "head.bias": batch["head.bias"] * 2}

    mapped = dataset.shuffle(seed=0).map(double, batched=True, batch_size=5)
    for row in mapped:
        weights = stored[row["checkpoint_id"]]
        assert torch.equal(row["head.bias"], weights["head.bias"] * 2)
        assert torch.equal(row["head.weight"], weights["head.weight"])
        assert row["norm"].item() == pytest.approx(weights["head.bias"].norm().item())


def test_stock_formats_keep_shapes(language_zoo):
    dataset = load_zoo(language_zoo, "train", columns=["step"], tensors=["head.weight"])
    expected = dataset[:3]["head.weight"]
    assert torch.equal(dataset.with_format("torch")[:3]["head.weight"], expected)
    assert np.array_equal(dataset.with_format("numpy")[:3]["head.weight"], expected.numpy())
    assert np.array_equal(dataset.with_format(None)[1]["head.weight"], expected[1].numpy())
    assert dataset.with_format("arrow")[:3].schema.field("head.weight").type == Array2D((6, 32), "float32")()
    only = dataset.with_format("torch", columns=["head.weight"])
    assert list(only[:3]) == ["head.weight"]
    assert torch.equal(only[[0, 1, 2]]["head.weight"], expected)


def test_results_may_be_written_to(language_zoo):
    for dataset in (load_zoo(language_zoo, "train"), load_zoo(language_zoo, "train", format="numpy")):
        kept = np.asarray(dataset[0]["head.bias"])
        for taken in (dataset[0]["head.bias"], dataset[0:2]["head.bias"], dataset[[0, 5]]["head.bias"]):
            taken[...] = 7
        for batch in dataset.iter(4):
            batch["head.bias"][...] = 7
        assert np.array_equal(np.asarray(dataset[0]["head.bias"]), kept)


def test_types(language_zoo):
    row = load_zoo(language_zoo, "train", rollouts=True)[0]
    assert row["step"].dtype == row["offsets"].dtype == torch.int64
    assert row["accuracy"].dtype == row["lstm.bias_ih_l1"].dtype == torch.float32
    assert row["diverged"].dtype == torch.bool
    assert row["rollout_inputs"].dtype == torch.uint8
    assert isinstance(row["language"], str)


def test_rollouts(language_zoo, digits_zoo):
    for path in (language_zoo, digits_zoo):
        for streaming in (False, True):
            rows = load_zoo(path, "train", rollouts=True, tensors=[], streaming=streaming)
            for row in rows:
                shard = load_file(path / row["shard"].replace("weights", "rollouts"))
                assert torch.equal(row["rollout_inputs"], shard["inputs"][row["rollout_row"]])
                if path == digits_zoo:
                    assert torch.equal(row["rollout_labels"], shard["labels"][row["rollout_row"]])
                else:
                    assert "rollout_labels" not in row


# --- streaming


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_streams_give_each_row_once(language_zoo, digits_zoo, stored, seed):
    stream = load_zoo(language_zoo, "train", streaming=True)
    assert isinstance(stream, IterableDataset)
    assert stream.n_shards == 4
    check_rows(stream, stored)
    for buffer_size in (2, 5, 100):
        shuffled = stream.shuffle(seed=seed, buffer_size=buffer_size)
        check_rows(shuffled, stored)
        check_rows((row for batch in shuffled.iter(5) for row in rows_of(batch)), stored)
    filtered = load_zoo(digits_zoo, "train", streaming=True, filters=[("step", "!=", 40)], rollouts=True)
    seen = list(filtered.shuffle(seed=seed, buffer_size=7))
    assert len({row["checkpoint_id"] for row in seen}) == len(seen) == 16
    for row in seen:
        assert sha256_of(row) == row["sha256"]
        inputs = load_file(digits_zoo / row["shard"].replace("weights", "rollouts"))["inputs"]
        assert torch.equal(row["rollout_inputs"], inputs[row["rollout_row"]])


def test_epochs_differ_and_repeat(language_zoo):
    stream = load_zoo(language_zoo, "train", streaming=True, tensors=["head.bias"]).shuffle(seed=3, buffer_size=6)
    orders = []
    for epoch in (0, 1, 1):
        stream.set_epoch(epoch)
        orders.append([row["checkpoint_id"] for row in stream])
    assert orders[0] != orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("streaming", [False, True])
def test_nodes_share_the_rows(language_zoo, stored, nodes, streaming):
    dataset = load_zoo(language_zoo, "train", streaming=streaming)
    parts = [list(split_dataset_by_node(dataset, rank, nodes)) for rank in range(nodes)]
    check_rows((row for part in parts for row in part), stored)
    assert min(map(len, parts)) > 0


@pytest.mark.parametrize("filters", [None, [("accuracy", "<", 0.5), ("step", "in", [0, 100])]])
def test_resume(language_zoo, filters):
    def stream():
        return load_zoo(language_zoo, "train", streaming=True, filters=filters)

    whole = [row["sha256"] for row in stream()]
    for stop in range(1, len(whole)):
        first = stream()
        seen = [row["sha256"] for _, row in zip(range(stop), first, strict=False)]
        second = stream()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        rest = list(second)
        assert seen + [row["sha256"] for row in rest] == whole
        assert all(sha256_of(row) == row["sha256"] for row in rest)
    batches = stream()
    iterator = batches.iter(5)
    seen = next(iterator)["sha256"]
    resumed = stream()
    resumed.load_state_dict(batches.state_dict())
    assert seen + [sha256 for batch in resumed.iter(5) for sha256 in batch["sha256"]] == whole


def test_map_and_filter_of_a_stream(language_zoo):
    stream = load_zoo(language_zoo, "train", streaming=True, tensors=["head.weight"])
    norms = {row["checkpoint_id"]: row["head.weight"].norm() for row in stream}
    mapped = stream.map(lambda row: {"norm": row["head.weight"].norm()})
    assert {row["checkpoint_id"]: row["norm"] for row in mapped} == norms
    assert all(row["head.weight"].shape == (6, 32) for row in mapped)
    last = list(stream.filter(lambda row: row["step"] == 100))
    assert len(last) == 8
    assert all(row["head.weight"].shape == (6, 32) for row in last)


# --- workers


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("streaming", [False, True])
def test_workers(language_zoo, stored, streaming, start):
    if start == "fork" and "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    dataset = load_zoo(language_zoo, "train", streaming=streaming)
    loader = DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert batches[0]["lstm.weight_ih_l0"].shape == (5, 128, 6)
    assert isinstance(batches[0]["language"], list)
    check_rows((row for batch in batches for row in rows_of(batch)), stored)


def test_spawned_worker_after_map(language_zoo):
    """Nothing of the zoo is left in the dataset but the name of its format."""
    dataset = load_zoo(language_zoo, "train", columns=["step"], tensors=["head.bias"])
    mapped = dataset.map(lambda row: {"norm": row["head.bias"].norm()}, remove_columns=["head.bias"])
    loader = DataLoader(mapped, batch_size=24, num_workers=1, multiprocessing_context="spawn")
    assert next(iter(loader))["norm"].shape == (24,)


def test_blocks_through_a_sampler(language_zoo, stored):
    dataset = load_zoo(language_zoo, "train")
    sampler = BatchSampler(RandomSampler(dataset), batch_size=7, drop_last=False)
    batches = DataLoader(dataset, sampler=sampler, batch_size=None)
    check_rows((row for batch in batches for row in rows_of(batch)), stored)


def test_pickle(language_zoo, copied, stored):
    dataset = load_zoo(language_zoo, "train").shuffle(seed=0).remove_columns("task_id")
    content = pickle.dumps(dataset)
    assert len(content) < 20_000
    check_rows(rows_of(pickle.loads(content)[:]), stored)
    stream = load_zoo(language_zoo, "train", streaming=True)
    assert len(pickle.dumps(stream)) < 100_000  # the metadata of the wanted rows
    check_rows(pickle.loads(pickle.dumps(stream)), stored)
    content = pickle.dumps(load_zoo(copied, "train"))
    manifest = copied / "zoo.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(RnnzooError, match="replaced while it was in use"):
        pickle.loads(content)


def test_fingerprints(language_zoo, digits_zoo):
    calls = [
        {},
        {"tensors": ["head.bias"]},
        {"columns": ["step"]},
        {"rollouts": True},
        {"filters": [("step", "==", 0)]},
        {"filters": [("step", "==", 100)]},
        {"split": "ood"},
        {"path_or_repo": digits_zoo},
    ]
    arguments = [{"path_or_repo": language_zoo, "split": "train"} | call for call in calls]
    prints = [load_zoo(**each)._fingerprint for each in arguments]
    assert len(set(prints)) == len(calls)
    assert prints == [load_zoo(**each)._fingerprint for each in arguments]


# --- filters


def test_filters_read_no_other_weights(copied, monkeypatch):
    opened = []
    read = local.read_shard
    monkeypatch.setattr(local, "read_shard", lambda path: opened.append(path.name) or read(path))
    metadata = pq.read_table(copied / "metadata" / "train.parquet").to_pandas()
    shards = metadata["shard"].unique()
    kept_tasks = metadata[metadata["shard"] == shards[2]]["task_id"].unique().tolist()
    for shard in (0, 1, 3):
        (copied / shards[shard]).unlink()
    filters = [("task_id", "in", kept_tasks)]
    dataset = load_zoo(copied, "train", filters=filters)
    assert len(dataset) == 6
    assert all(sha256_of(row) == row["sha256"] for row in dataset)
    stream = load_zoo(copied, "train", filters=filters, streaming=True)
    assert stream.n_shards == 1
    assert [row["sha256"] for row in stream] == dataset["sha256"][:]
    assert set(opened) == {shards[2].removeprefix("weights/")}
    opened.clear()
    assert len(load_zoo(copied, "train", tensors=[])[:]["accuracy"]) == 24
    assert opened == []
    for streaming in (False, True):
        with pytest.raises(RnnzooError, match=f"{shards[0]}: this file is missing"):
            load_zoo(copied, "train", streaming=streaming)


def test_forms_of_filters(language_zoo):
    def steps(filters, **options):
        rows = load_zoo(language_zoo, "train", filters=filters, columns=["step"], tensors=["head.bias"], **options)
        return sorted({int(row["step"]) for row in rows}), len(list(rows))

    for streaming in (False, True):
        assert steps([("step", "==", 40)], streaming=streaming) == ([40], 8)
        assert steps([["step", ">", 0], ["step", "<=", 40]], streaming=streaming) == ([40], 8)
        assert steps([[("step", "=", 0)], [("step", "in", {100})]], streaming=streaming) == ([0, 100], 16)
        assert steps([("step", "not in", (0, 40))], streaming=streaming) == ([100], 8)
        assert steps(pc.field("step") == 0, streaming=streaming) == ([0], 8)
        assert steps([("weight_decay", "==", 1e-4)], streaming=streaming)[1] == 24  # a float32 column
        assert steps([("step", "==", 7)], streaming=streaming) == ([], 0)
        assert steps([("task_id", "in", [])], streaming=streaming) == ([], 0)
        assert steps([("step", "not in", [])], streaming=streaming)[1] == 24


OPERATIONS = {
    "==": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    ">=": lambda column, value: column >= value,
    "in": lambda column, values: column.isin(values),
    "not in": lambda column, values: ~column.isin(values),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_choice_against_pandas(language_zoo, stored, data):
    frame = pq.read_table(language_zoo / "metadata" / "train.parquet").to_pandas()
    names = st.sampled_from(["accuracy", "step", "task_id", "eval_loss", "seed", "weight_decay"])
    conditions = []
    expected = np.zeros(len(frame), bool)
    for _ in range(data.draw(st.integers(1, 2))):
        group, passes = [], np.ones(len(frame), bool)
        for name in data.draw(st.lists(names, min_size=1, max_size=3)):
            operator = data.draw(st.sampled_from(sorted(OPERATIONS)))
            values = st.sampled_from(frame[name].tolist())
            value = data.draw(st.lists(values, min_size=1, max_size=8) if "in" in operator else values)
            group.append((name, operator, value))
            passes &= OPERATIONS[operator](frame[name], value).to_numpy()
        conditions.append(group)
        expected |= passes
    columns = data.draw(st.lists(st.sampled_from(list(frame.columns)), unique=True))
    tensors = data.draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    streaming, rollouts = data.draw(st.booleans()), data.draw(st.booleans())
    dataset = load_zoo(
        language_zoo,
        "train",
        filters=conditions,
        columns=columns,
        tensors=tensors,
        rollouts=rollouts,
        streaming=streaming,
        format="numpy",
    )
    assert dataset.column_names == [*columns, *["rollout_inputs"] * rollouts, *tensors]
    chosen = frame[expected]
    rows = list(dataset)
    assert len(rows) == len(chosen)
    for row, (_, wanted) in zip(rows, chosen.iterrows(), strict=True):
        for name in columns:
            assert np.array_equal(row[name], wanted[name])
        for name in tensors:
            assert np.array_equal(row[name], stored[wanted["checkpoint_id"]][name].numpy())


def test_runs_of():
    assert runs_of(np.array([3, 4, 5, 9])).tolist() == [[3, 6], [9, 10]]
    assert runs_of(np.array([2, 1, 0])).tolist() == [[2, 3], [1, 2], [0, 1]]
    assert runs_of(np.array([3, 4, 5]), breaks=np.array([False, True])).tolist() == [[3, 5], [5, 6]]


# --- the program that measures


def test_loading(language_zoo, tmp_path):
    measured = loading.measure(language_zoo, batch=8, repeats=1, scratch=tmp_path)
    names = [found.name for found in measured]
    assert {"numpy, shuffled", "map-style, filtered", "streamed, sequential"} <= set(names)
    assert len(loading.table_of(measured).splitlines()) == len(measured) + 1
    assert all(found.rows_per_second > 0 for found in measured)

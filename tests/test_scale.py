"""Many shards without training: what is joined, merged, shown and opened, and that it takes little memory."""

import dataclasses
import gc
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.opening import WAYS
from benchmarks.scale import Simulation, generate, store_untrained, tiny_config
from rnnzoo import Zoo, load_zoo
from rnnzoo.zoo_builder import overview, verify
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import ZooPlan
from rnnzoo.zoo_builder.pipeline.folder import metadata as joining
from rnnzoo.zoo_builder.pipeline.folder.finish import write_zoo
from rnnzoo.zoo_builder.pipeline.folder.metadata import regrouped
from rnnzoo.zoo_builder.pipeline.merge import merge_parts
from rnnzoo.zoo_builder.pipeline.plan import zoo_plan as planning
from rnnzoo.zoo_builder.pipeline.shard.record import record_path, rows_file
from rnnzoo.zoo_builder.rnn import flatten_weights
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.storage.shards import read_shard, write_shard
from rnnzoo.zoo_builder.training.kernels import TorchKernel

RUNS, CHECKPOINTS, RUNS_PER_SHARD = 1200, 2, 8


def stored_shards(folder, runs=120, runs_per_shard=4, zoo="formal_languages"):
    """A plan, with every shard in a folder."""
    config = tiny_config(zoo, runs, CHECKPOINTS, runs_per_shard)
    plan = ZooPlan(config, config.make_family())
    for shard in plan.shards:
        store_untrained(plan, folder, shard)
    return plan


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    """A merged zoo of 150 shards, from four folders of parts."""
    home = tmp_path_factory.mktemp("scale")
    simulation = Simulation(tiny_config("formal_languages", RUNS, CHECKPOINTS, RUNS_PER_SHARD), home)
    generate(simulation)
    merge_parts(simulation.plan(), simulation.parts, simulation.zoo, lambda: None)
    return simulation


# --- the plan


def test_runs_are_the_same_however_they_are_asked_for():
    config = tiny_config("sequential_digits", 50, 1, 7)
    plan = ZooPlan(config, config.make_family())
    runs = list(plan.runs)
    assert [run.index for run in runs] == list(range(50))
    assert [plan.runs[number] for number in (3, -1)] == [runs[3], runs[49]]
    assert list(plan.runs[10:20:3]) == runs[10:20:3]
    planned = [run for shard in plan.shards for run in shard.runs]
    assert sorted(planned, key=lambda run: run.index) == runs
    assert plan.runs.tasks == [run.task for run in runs]
    assert [plan.runs.find(run.run_id) for run in runs] == runs
    assert [plan.runs.find(name) for name in ("run-000050", "run-3", "run-", "000003", "run-٣")] == [None] * 5
    shard = pickle.loads(pickle.dumps(plan.shards[0]))
    assert shard.runs == tuple(plan.shards[0].runs)


def test_a_plan_takes_few_bytes_a_run():
    def peak(runs):
        config = tiny_config("formal_languages", runs, 1, 64)
        family = config.make_family()
        gc.collect()
        tracemalloc.start()
        ZooPlan(config, family).shards  # noqa: B018
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (peak(12_000) - peak(4_000)) / 8_000 < 300


def test_too_many_shards_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(planning, "MOST_SHARDS", 10)
    config = tiny_config("formal_languages", 100, 1, 2)
    with pytest.raises(RnnzooError, match=r"runs_per_shard: found 2, which makes .* expected at most 10"):
        ZooPlan(config, config.make_family()).shards  # noqa: B018


# --- finishing


@pytest.mark.parametrize("zoo", ["formal_languages", "sequential_digits"])
def test_metadata_are_those_of_the_shards_one_after_the_other(tmp_path, monkeypatch, zoo):
    monkeypatch.setattr(joining, "ROWS_PER_GROUP", 50)
    plan = stored_shards(tmp_path, zoo=zoo)
    manifest = write_zoo(plan, tmp_path)
    for split in SPLITS:
        tables = [pq.read_table(tmp_path / rows_file(shard)) for shard in plan.shards_of(split)]
        with pq.ParquetFile(tmp_path / "metadata" / f"{split}.parquet") as file:
            assert file.read().equals(pa.concat_tables(tables))
            groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        assert groups[:-1] == [50] * (len(groups) - 1)
        assert sum(groups) == manifest.splits[split].checkpoints == CHECKPOINTS * manifest.splits[split].runs
    names = {f"{room}/{shard.name}.safetensors" for shard in plan.shards for room in ("weights", "rollouts")}
    assert names < manifest.files.keys()
    assert (manifest.files, manifest.splits) == (read_manifest(tmp_path).files, read_manifest(tmp_path).splits)


def test_a_small_zoo_has_the_bytes_of_one_write(tmp_path):
    plan = stored_shards(tmp_path)
    write_zoo(plan, tmp_path)
    path = tmp_path / "metadata" / "train.parquet"
    table = pa.concat_tables([pq.read_table(tmp_path / rows_file(shard)) for shard in plan.shards_of("train")])
    note = {"rnnzoo": '{"split": "train", "zoo": "formal_languages"}'}
    pq.write_table(table.replace_schema_metadata(note), tmp_path / "again", compression="zstd")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("sizes", [[], [0], [3], [10], [4, 0, 6], [25], [7, 7, 7, 7], [1] * 31])
def test_regrouping_keeps_every_row(sizes):
    table = pa.table({"number": np.arange(sum(sizes))})
    ends = np.cumsum(sizes)
    pieces = [table.slice(end - size, size) for end, size in zip(ends, sizes, strict=True)]
    groups = list(regrouped(iter(pieces), table.schema, 10))
    assert pa.concat_tables(groups).equals(table)
    assert [len(group) for group in groups[:-1]] == [10] * (len(groups) - 1)
    assert len(groups) == max(1, -(-sum(sizes) // 10))


def test_the_record_of_another_shard_is_named(tmp_path):
    plan = stored_shards(tmp_path)
    first, last = plan.shards_of("train")[0], plan.shards_of("train")[-1]
    record_path(tmp_path, first).write_bytes(record_path(tmp_path, last).read_bytes())
    with pytest.raises(RnnzooError, match=rf"{first.name}\.record\.json: found the files .*{last.name}"):
        write_zoo(plan, tmp_path)
    assert not (tmp_path / "zoo.json").exists()


def test_the_rows_of_another_plan_are_named(tmp_path):
    plan = stored_shards(tmp_path, runs=120)
    more = dataclasses.replace(plan.config, checkpoints=(0, 50, 100))
    with pytest.raises(RnnzooError, match=r"\.parquet: found 8 rows of .*, expected 12 rows"):
        write_zoo(ZooPlan(more, plan.family), tmp_path)


@pytest.mark.slow
def test_memory_of_finishing_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "ROWS_PER_GROUP", 64)

    def peaks(runs):
        """The most bytes held in Arrow, and in Python, while some shards are joined."""
        folder = tmp_path / str(runs)
        plan = stored_shards(folder, runs, runs_per_shard=8)
        gc.collect()
        usual, watched = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(watched)
        tracemalloc.start()
        try:
            write_zoo(plan, folder)
            return watched.max_memory(), tracemalloc.get_traced_memory()[1], len(plan.shards)
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(usual)

    peaks(40)  # imports, caches
    few, many = peaks(200), peaks(1600)
    assert few[0] > 10_000  # something was measured
    assert many[0] < 1.5 * few[0]
    assert many[1] - few[1] < 8_000 * (many[2] - few[2])


# --- the whole


def test_its_checks_look_at_each_shard_once(simulation, monkeypatch):
    """All that `verify` finds without training: hashes, counts, splits, and the weights of every row."""
    for name in ("check_rollout_losses", "check_metrics"):
        monkeypatch.setattr(f"rnnzoo.zoo_builder.verify.zoo.{name}", lambda *_: "nothing")
    checks = verify.verify_zoo(simulation.zoo, TorchKernel())
    assert [check.name for check in checks if not check.passed] == []
    assert f"{RUNS * CHECKPOINTS} rows with their sha256, 0 not finite" in [check.found for check in checks]


def test_a_merged_zoo_is_whole(simulation):
    manifest = read_manifest(simulation.zoo)
    assert sum(entry.runs for entry in manifest.splits.values()) == RUNS
    assert sum(len(entry.shards) for entry in manifest.splits.values()) == len(simulation.plan().shards)
    assert len(manifest.files) == 2 * len(simulation.plan().shards) + len(SPLITS) + 1
    for name, entry in manifest.files.items():
        assert (simulation.zoo / name).stat().st_size == entry.bytes


def test_it_is_summed_up_and_drawn_from_a_sample(simulation, monkeypatch):
    assert f"{RUNS} runs of 100 steps, {RUNS * CHECKPOINTS} checkpoints" in overview.summarize(simulation.zoo)
    opened = []
    read = overview.read_shard
    monkeypatch.setattr(overview, "read_shard", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(overview, "MOST_RUNS", 100)
    figure = overview.draw_overview(simulation.zoo)
    assert f"{RUNS * CHECKPOINTS} checkpoints, " in figure.get_suptitle()
    assert "of them drawn" in figure.get_suptitle()
    drawn = {path for path in opened if path.parent.name == "weights"}
    assert 100 / RUNS_PER_SHARD / 2 < len(drawn) < 100 / RUNS_PER_SHARD + 5


@pytest.mark.parametrize("way", WAYS)
def test_it_opens_in_every_way(simulation, way):
    found = WAYS[way](simulation.zoo)
    assert found["step"] in (0, 100) if isinstance(found, dict) else found.spec.hidden_size == 1


def test_no_file_stays_open(simulation):
    before = len(os.listdir("/proc/self/fd"))
    held = load_zoo(simulation.zoo, rollouts=True)
    assert len(os.listdir("/proc/self/fd")) < before + 10
    assert len(held["train"]) > 1000


def test_headers_that_are_alike_are_not_mixed_up(tmp_path):
    """Shards whose headers differ in nothing but their note, or in their rows alone."""
    for number, rows in enumerate((2, 2, 3, 2)):
        tensors = {"a": np.full((rows, 3), number, np.float32), "b": np.full((rows, 2), 10 + number, np.float32)}
        write_shard(tmp_path / f"{number}", tensors, {"shard": f"train-{number}", "text": 'a "},{" b'})
    for number, rows in enumerate((2, 2, 3, 2)):
        found = read_shard(tmp_path / f"{number}")
        found.tensors.pop("b")  # the caller's own
        assert found.metadata["shard"] == f"train-{number}"
        assert found.tensors["a"].tolist() == [[number] * 3] * rows
    content = (tmp_path / "0").read_bytes()
    (tmp_path / "0").write_bytes(content + b"more")
    with pytest.raises(RnnzooError, match="file not fully covered"):
        read_shard(tmp_path / "0")


def test_rows_and_models_are_those_of_the_files(simulation):
    zoo, dataset = Zoo(simulation.zoo), load_zoo(simulation.zoo, "train", format="numpy")
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(dataset))[:200]
    ids = zoo.metadata["checkpoint_id"].take(pa.array(rows)).to_pylist()
    flat, inputs = zoo.flat(ids), zoo.rollout_tensor("inputs", ids)
    batch = dataset[rows.tolist()]
    weights = {name: torch.from_numpy(batch[name]) for name in (p.name for p in zoo.spec.parameters)}
    assert torch.equal(flat, flatten_weights(zoo.spec, weights))
    for place in range(0, 200, 20):
        row = zoo.metadata.slice(int(rows[place]), 1).to_pylist()[0]
        shard = load_file(simulation.zoo / row["shard"])
        model = {name: tensor[row["row"]][None] for name, tensor in shard.items()}
        assert torch.equal(flat[place], flatten_weights(zoo.spec, model)[0])
        rollouts = load_file(simulation.zoo / row["shard"].replace("weights", "rollouts"))["inputs"]
        assert np.array_equal(inputs[place], rollouts[row["rollout_row"]].numpy())


def test_a_pickled_stream_holds_every_row_once(simulation):
    """For spawned workers of a DataLoader: each shard's rows, not the whole table with every shard."""
    stream = load_zoo(simulation.zoo, "train", streaming=True, columns=["checkpoint_id"], tensors=["head.bias"])
    rows = list(stream)
    pickled = pickle.dumps(stream)
    shards = len(read_manifest(simulation.zoo).splits["train"].shards)
    assert len(pickled) < 16_000 * shards
    again = list(pickle.loads(pickled))
    assert [row["checkpoint_id"] for row in again] == [row["checkpoint_id"] for row in rows]
    assert all(torch.equal(a["head.bias"], b["head.bias"]) for a, b in zip(again, rows, strict=True))


def test_untrained_shards_are_the_same_each_time(tmp_path):
    config = tiny_config("formal_languages", 12, CHECKPOINTS, 4)
    plan = ZooPlan(config, config.make_family())
    shard = plan.shards[0]
    store_untrained(plan, tmp_path / "a", shard)
    store_untrained(plan, tmp_path / "b", dataclasses.replace(shard, runs=list(shard.runs)))
    for name in [f"weights/{shard.name}.safetensors", rows_file(shard), str(record_path(Path(), shard))]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

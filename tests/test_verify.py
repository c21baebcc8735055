"""`verify` passes a sound zoo and names what is wrong with any other."""

import json
import re
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from compilers import needs_compiler
from safetensors.torch import load_file
from tiny_builds import Watcher, tiny_config
from torch.func import functional_call, vmap

from rnnzoo import load_zoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.overview import summarize
from rnnzoo.zoo_builder.pipeline import build_zoo
from rnnzoo.zoo_builder.rnn import RNNModule
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, read_manifest, read_split
from rnnzoo.zoo_builder.storage.shards import file_sha256, read_shard
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel
from rnnzoo.zoo_builder.verify import verify_zoo


@pytest.fixture
def zoo(copied):
    return copied


def failure(zoo):
    *passed, last = verify_zoo(zoo, TorchKernel(), sample=6)
    assert all(check.passed for check in passed)
    assert not last.passed
    return last


@pytest.mark.parametrize("name", ["language_zoo", "digits_zoo"])
def test_a_sound_zoo_passes_every_check(name, request):
    checks = verify_zoo(request.getfixturevalue(name), TorchKernel(), sample=10)
    expected = ["files", "metadata", "config", "splits", "weights", "rollout losses", "metrics", "digest"]
    assert [check.name for check in checks] == expected
    assert all(check.passed for check in checks), checks
    assert "10 of them bit for bit" in checks[-2].found
    assert str(read_manifest(request.getfixturevalue(name)).digest) in checks[-1].found


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add"])
def test_damaged_files_are_named(zoo, damage):
    victim = next((zoo / "weights").glob("train-00000*"))
    content = bytearray(victim.read_bytes())
    if damage == "remove":
        victim.unlink()
    elif damage == "add":
        victim = zoo / "weights" / "train-00099-of-00099.safetensors"
        victim.write_bytes(content)
    elif damage == "truncate":
        victim.write_bytes(content[:-1])
    else:
        content[-1] ^= 1
        victim.write_bytes(content)
    check = failure(zoo)
    assert check.name == "files"
    assert victim.name in check.found


def test_a_file_that_cannot_be_read_is_named(zoo, monkeypatch):
    def refuse(file, name):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    check = failure(zoo)
    assert check.name == "files"
    assert re.search(r"\.(parquet|json|safetensors): cannot be read: Input/output error$", check.found)


def test_few_files_are_open_at_once(language_zoo, monkeypatch):
    """A system lets a process map 65,530 files; a zoo may have twice as many shards."""
    opened, counts = [], []

    def read(path):
        shard = read_shard(path)
        opened.append(weakref.ref(shard))
        counts.append(sum(each() is not None for each in opened))
        return shard

    monkeypatch.setattr("rnnzoo.zoo_builder.verify.opened.read_shard", read)
    assert all(check.passed for check in verify_zoo(language_zoo, TorchKernel()))
    assert max(counts) <= 4 < len(read_manifest(language_zoo).shards)


def entry_of(path):
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def reseal(zoo, name):
    """Make the manifest agree with a file that was changed: only deeper checks can find it now."""
    values = json.loads((zoo / "zoo.json").read_bytes())
    values["files"][name] = entry_of(zoo / name)
    (zoo / "zoo.json").write_bytes(encode_manifest(values))


def change_column(zoo, column, change):
    path = zoo / "metadata/train.parquet"
    table = pq.read_table(path)
    values = change(table[column].to_pylist())
    where = table.schema.get_field_index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(where, field, pa.array(values, field.type)), path)
    reseal(zoo, "metadata/train.parquet")


@pytest.mark.parametrize(
    ("column", "change", "check"),
    [
        ("checkpoint_id", lambda v: [v[0]] * len(v), "metadata"),
        ("run_id", lambda v: ["one"] * len(v), "metadata"),
        ("shard", lambda v: v[::-1], "metadata"),
        ("split", lambda v: ["test"] * len(v), "splits"),
        ("paper_split", lambda v: ["elsewhere"] * len(v), "splits"),
        ("row", lambda v: [n + 1 for n in v], "weights"),
        ("sha256", lambda v: v[1:] + v[:1], "weights"),
        ("diverged", lambda v: [True] * len(v), "weights"),
        ("rollout_loss", lambda v: [n * 1.001 for n in v], "rollout losses"),
        ("tensors_sha256", lambda v: v[1:] + v[:1], "weights"),
        ("rollout_sha256", lambda v: v[1:] + v[:1], "weights"),
        ("seed", lambda v: [n + 1 for n in v], "config"),
        ("learning_rate", lambda v: [n * 2 for n in v], "config"),
        ("weight_decay", lambda v: [n + 1 for n in v], "config"),
        ("hidden_size", lambda v: [n + 1 for n in v], "config"),
        ("step", lambda v: [n + 1 for n in v], "config"),
        ("eval_loss", lambda v: [n * 1.001 for n in v], "metrics"),
        ("accuracy", lambda v: [1 - n for n in v], "metrics"),
    ],
)
def test_metadata_that_lie_are_found(zoo, column, change, check):
    change_column(zoo, column, change)
    assert failure(zoo).name == check


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["zoo"], "formal_language"),
        (["config", "zoo"], "formal_language"),
        (["config", "runs"], 10**9),
        (["config", "steps"], 101),
        (["config", "checkpoints"], [0, 41, 100]),
        (["config", "learning_rate", 0, 1], 8.01),
        (["config", "learning_rate", 1, 1], 8.01),
        (["config", "weight_decays"], [0.5]),
        (["config", "batch_size"], 9),
        (["config", "seed"], 1),
        (["config", "sampled_strings"], 41),
        (["encoding", "begin"], 3),
    ],
)
def test_a_config_that_lies_is_found(zoo, keys, value):
    values = json.loads((zoo / "zoo.json").read_bytes())
    place = values
    for key in keys[:-1]:
        place = place[key]
    assert place[keys[-1]] != value
    place[keys[-1]] = value
    (zoo / "zoo.json").write_bytes(encode_manifest(values))
    assert failure(zoo).name in ("metadata", "config", "digest")


@needs_compiler
@pytest.mark.parametrize("zoo_name", ["formal_languages", "sequential_digits"])
def test_of_an_exact_zoo_every_metric_is_found_again(zoo_name, tmp_path):
    kernel = FusedCpuKernel(1)
    folder = tmp_path / "zoo"
    build_zoo(tiny_config(zoo_name), folder, kernel, Watcher())
    checks = {check.name: check for check in verify_zoo(folder, kernel, sample=10)}
    reproduced = " of 10 checkpoints reproduced, 10 of them bit for bit"
    assert checks["rollout losses"].found == f"rollout_loss{reproduced}"
    metrics = checks["metrics"].found.removesuffix(reproduced).split(", ")
    assert {"train_loss", "train_loss_error", "eval_loss", "eval_loss_error", "accuracy"} < set(metrics)
    assert set(metrics) <= set(read_split(folder, "train").column_names)
    change_column(folder, "accuracy", lambda values: np.nextafter(values, 2))
    assert next(check for check in verify_zoo(folder, kernel, sample=10) if not check.passed).name == "metrics"


def test_a_zoo_of_an_earlier_version_is_read(zoo):
    """Its config said `images` where one says `source` now, and a column said so of every row; there were fewer
    hashes."""
    values = json.loads((zoo / "zoo.json").read_bytes())
    values["config"] = {"images" if name == "source" else name: v for name, v in values["config"].items()}
    del values["arithmetic"], values["digest"], values["sha256"]
    for split in values["splits"]:
        path = zoo / "metadata" / f"{split}.parquet"
        table = pq.read_table(path).drop_columns(["tensors_sha256", "rollout_sha256"])
        sources = pa.array(["generated"] * len(table))
        pq.write_table(table.add_column(table.schema.get_field_index("shard"), "image_source", sources), path)
        values["files"][f"metadata/{split}.parquet"] = entry_of(path)
    (zoo / "zoo.json").write_text(json.dumps(values))
    checks = verify_zoo(zoo, TorchKernel())
    assert [check.name for check in checks if not check.passed] == []
    assert checks[-1].found == "arithmetic: not recorded (built before fma-1)"
    assert "items: generated" in summarize(zoo)
    assert checks[-1].found in summarize(zoo)
    assert "image_source" in load_zoo(zoo, split="train").column_names


def test_a_column_that_is_missing_is_named(zoo):
    for path in (zoo / "metadata").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns("finished"), path)
        reseal(zoo, f"metadata/{path.name}")
    assert "column 'finished': found None, expected float" in failure(zoo).found


def test_parquet_that_disagrees_with_the_shards(zoo):
    path = zoo / "metadata/train.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    reseal(zoo, "metadata/train.parquet")
    check = failure(zoo)
    assert (check.name, "train.parquet" in check.found) == ("metadata", True)


def test_a_split_file_that_disagrees(zoo):
    values = json.loads((zoo / "splits.json").read_bytes())
    task = next(iter(values["split"]))
    values["split"][task] = "validation" if values["split"][task] != "validation" else "train"
    (zoo / "splits.json").write_text(json.dumps(values))
    reseal(zoo, "splits.json")
    check = failure(zoo)
    assert check.name == "splits"
    assert task in check.found


def test_there_must_be_a_zoo(tmp_path):
    with pytest.raises(RnnzooError, match="not a zoo"):
        verify_zoo(tmp_path, TorchKernel())


@pytest.mark.parametrize("name", ["language_zoo", "digits_zoo"])
def test_a_shard_and_safetensors_alone_reproduce_the_stored_losses(name, request):
    """No loader, no rnn_forward: load_file, functional_call under vmap, cross-entropy."""
    folder = request.getfixturevalue(name)
    manifest = read_manifest(folder)
    encoding, module = encoding_of(manifest.encoding), RNNModule(manifest.rnn_spec())
    rows = pq.read_table(folder / "metadata/train.parquet").to_pylist()
    shard = rows[0]["shard"]
    rows = [row for row in rows if row["shard"] == shard]
    weights, rollouts = load_file(folder / shard), load_file(folder / shard.replace("weights", "rollouts", 1))
    which = [row["rollout_row"] for row in rows]
    inputs = rollouts["inputs"][which]
    labels = rollouts["labels"][which] if "labels" in rollouts else None
    logits = vmap(lambda one, x: functional_call(module, one, (x,))[0])(weights, encoding.inputs(inputs))
    targets = encoding.targets(inputs, labels)
    losses = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), targets, reduction="none").flatten(1).mean(1)
    np.testing.assert_allclose(losses.numpy(), [row["rollout_loss"] for row in rows], rtol=1e-5)

"""A zoo's digest: the same however the zoo was built and stored, another one when any value is another."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_builds import Watcher

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Unwatched, ZooPlan, build_zoo
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import claim_arithmetic
from rnnzoo.zoo_builder.pipeline.folder.opening import open_folder
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.merge import merge_parts
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.storage.digest import (
    OF_STORAGE,
    ZooDigest,
    checkpoint_hashes,
    config_digest,
    contents_share,
    join_contents,
    one_nan,
)
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, parse_manifest, read_manifest
from rnnzoo.zoo_builder.storage.shards import file_sha256, row_sha256
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import config_of, resolve_config

ROWS = 6


class OtherArithmetic(TorchKernel):
    """Computes as plain torch does, and says otherwise."""

    def __init__(self):
        super().__init__()
        self.arithmetic = "fma-0"


def shard(rows=ROWS):
    """Metadata with a column of every kind, the hashes of weights, and rollouts that checkpoints share."""
    shares = np.arange(1, rows + 1) / 7
    metadata = pa.table(
        {
            "checkpoint_id": [f"run-{n}" for n in range(rows)],
            "step": pa.array(range(rows), pa.int32()),
            "accuracy": pa.array(shares, pa.float32()),
            "rotation": pa.array(shares, pa.float64()),
            "half": pa.array(shares.astype(np.float16)),
            "diverged": [False] * rows,
            "seed": pa.array([*range(rows - 1), None], pa.int64()),
            "offsets": pa.array([[n, n + 1] for n in range(rows)], pa.list_(pa.int8(), 2)),
            "shares": pa.array([[n / 2] * n for n in range(rows)], pa.list_(pa.float32())),
            "shard": ["weights/a"] * rows,
            "row": pa.array(range(rows), pa.int32()),
            "rollout_row": pa.array([n // 2 for n in range(rows)], pa.int32()),
            **{name: [""] * rows for name in ("sha256", "tensors_sha256", "rollout_sha256")},
        }
    )
    weights = (np.arange(-7, 5 * rows - 7).reshape(rows, 5) / 7).astype(np.float32)
    inputs = (np.arange(rows // 2 * 12) % 9).astype(np.uint8).reshape(rows // 2, 3, 4)
    rollouts = {"inputs": inputs, "labels": inputs[..., 0]}
    return metadata, weights, rollouts


def contents(*shards):
    shares = [
        contents_share(checkpoint_hashes(metadata, [row_sha256(row) for row in one_nan(weights)], rollouts))
        for metadata, weights, rollouts in shards
    ]
    return join_contents(shares)


def with_value(metadata, column, row, value):
    where, field = metadata.schema.get_field_index(column), metadata.schema.field(column)
    values = metadata[column].to_pylist()
    values[row] = value
    return metadata.set_column(where, field, pa.array(values, field.type))


OTHER_VALUES = {
    "checkpoint_id": ["run-x", ""],
    "step": [77],
    "accuracy": [np.float32(0.25), -0.0, float("nan"), None],
    "rotation": [np.nextafter(0.5, 1)],
    "half": [np.float16(2)],
    "diverged": [True],
    "seed": [-1, None],
    "offsets": [[0, 0], [1, 0]],
    "shares": [[], [1.0], [0.5, 0.5, 0.5], [float("nan")]],
}


def test_every_column_of_the_sample_is_changed_or_of_storage():
    assert OTHER_VALUES.keys() | set(OF_STORAGE) == set(shard()[0].column_names)


@pytest.mark.parametrize("column", OTHER_VALUES)
def test_any_value_of_the_metadata_changes_the_contents(column):
    metadata, weights, rollouts = shard()
    found = {contents((metadata, weights, rollouts))}
    for row in (0, 3):
        for value in OTHER_VALUES[column]:
            found.add(contents((with_value(metadata, column, row, value), weights, rollouts)))
    same = sum(metadata[column].to_pylist()[row] == value for row in (0, 3) for value in OTHER_VALUES[column])
    assert len(found) == 1 + 2 * len(OTHER_VALUES[column]) - same


@given(st.integers(0, ROWS * 5 - 1), st.integers(0, 31))
@settings(max_examples=50, deadline=None)
def test_any_bit_of_the_weights_changes_the_contents(place, bit):
    metadata, weights, rollouts = shard()
    changed = weights.copy()
    changed.view(np.uint32).reshape(-1)[place] ^= np.uint32(1 << bit)
    assert contents((metadata, changed, rollouts)) != contents((metadata, weights, rollouts))


@pytest.mark.parametrize("name", ["inputs", "labels"])
def test_any_byte_of_the_rollouts_changes_the_contents(name):
    metadata, weights, rollouts = shard()
    found = {contents((metadata, weights, rollouts))}
    for place in range(rollouts[name].size):
        changed = {key: values.copy() for key, values in rollouts.items()}
        changed[name].reshape(-1)[place] ^= 1
        found.add(contents((metadata, weights, changed)))
    assert len(found) == 1 + rollouts[name].size


@given(
    hnp.arrays(np.uint32, (ROWS, 5), elements=st.sampled_from([0x7F800001, 0x7FC00000, 0xFFC12345, 0x3F800000]))
)
def test_all_nans_are_one(bits):
    metadata, _, rollouts = shard()
    weights = bits.view(np.float32)
    alike = np.where(np.isnan(weights), np.float32(np.nan), weights)
    assert contents((metadata, weights, rollouts)) == contents((metadata, alike, rollouts))
    assert set(one_nan(weights).view(np.uint32).reshape(-1).tolist()) <= {0x7FC00000, 0x3F800000}


@given(st.permutations(range(ROWS)), st.sets(st.integers(1, ROWS - 1)), st.booleans())
@settings(max_examples=30, deadline=None)
def test_neither_order_nor_cuts_nor_places_matter(order, cuts, shared):
    metadata, weights, rollouts = shard()
    whole = contents((metadata, weights, rollouts))
    pieces = np.split(np.array(order), sorted(cuts))
    parts = []
    for number, rows in enumerate(pieces):
        part = metadata.take(rows)
        places = np.array(part["rollout_row"])
        for name in ("shard", "sha256"):
            part = part.set_column(part.schema.get_field_index(name), name, pa.array([f"{number}"] * len(rows)))
        if not shared:  # each checkpoint has rollouts of its own
            where = part.schema.get_field_index("rollout_row")
            part = part.set_column(where, "rollout_row", pa.array(range(len(rows)), pa.int32()))
        own = rollouts if shared else {name: values[places] for name, values in rollouts.items()}
        parts.append((part, weights[rows], own))
    assert contents(*parts) == whole
    assert contents(*parts[:-1]) != whole


def test_digits_of_known_contents():
    """These digits stand in published zoos: they must not change."""
    assert contents(shard()) == "621c889813164aaa"
    config = resolve_config("formal_languages", "small", {"evaluation_items": 500}).to_dict()
    assert config_digest(config) == "1b4d94ba"


def test_the_digits_of_a_config_are_those_of_what_values_depend_on():
    config = resolve_config("formal_languages", "smoke").to_dict()
    digits = config_digest(config)
    for name, value in config.items():
        changed = config_digest(config | {name: [value, "other"]})
        assert (changed == digits) == (name in ("preset", "runs_per_shard")), name
    assert config_digest(json.loads(json.dumps(config))) == digits
    renamed = {"images" if name == "source" else name: value for name, value in config.items()}
    assert config_digest(renamed) == digits


@pytest.mark.parametrize("arithmetic", ["fma-1", "torch-cuda", "imported"])
def test_a_digest_and_its_text(arithmetic):
    digest = ZooDigest(arithmetic, "0123abcd", "0123456789abcdef")
    assert ZooDigest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    ["", "fma-1", "fma-1-0123abcd", "fma-1-0123ABCD-0123456789abcdef", "-0123abcd-0123456789abcdef", "x" * 999],
)
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(RnnzooError, match=r"digest: found .*, expected <arithmetic>-<8 hexadecimal"):
        ZooDigest.parse(text)


def test_a_zoo_cut_otherwise_and_built_in_parts_has_the_same_digest(language_zoo, tmp_path):
    manifest = read_manifest(language_zoo)
    config = replace(config_of(manifest.config, "zoo.json"), runs_per_shard=5)
    plan = ZooPlan(config, config.make_family())
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate(folders, start=1):
        build_plan(plan, folder, InProcess(TorchKernel(), 120), Unwatched(), Part(number, 2))
    merged = merge_parts(plan, folders, tmp_path / "zoo", lambda: None)
    assert merged.digest == manifest.digest
    assert str(manifest.digest).startswith("torch-cpu-")
    assert manifest.arithmetic == "torch-cpu"
    assert verify_zoo(tmp_path / "zoo", TorchKernel(), sample=3)[-1].passed


def test_files_written_otherwise_have_the_same_digest(copied):
    for path in (copied / "metadata").glob("*.parquet"):
        pq.write_table(pq.read_table(path), path, compression="snappy", row_group_size=2)
        reseal(copied, f"metadata/{path.name}")
    assert all(check.passed for check in verify_zoo(copied, TorchKernel(), sample=3))


def reseal(zoo, name):
    values = json.loads((zoo / "zoo.json").read_bytes())
    values["files"][name] = {"bytes": (zoo / name).stat().st_size, "sha256": file_sha256(zoo / name)}
    (zoo / "zoo.json").write_bytes(encode_manifest(values))


def test_a_value_that_no_other_check_knows_is_found(copied):
    path = copied / "metadata/train.parquet"
    table = pq.read_table(path)
    pq.write_table(with_value(table, "finished", 1, 0.123), path)
    reseal(copied, "metadata/train.parquet")
    *passed, last = verify_zoo(copied, TorchKernel(), sample=3)
    assert all(check.passed for check in passed)
    assert (last.name, last.passed) == ("digest", False)
    assert "its files have torch-cpu-" in last.found


def test_a_build_begun_in_another_arithmetic_is_refused(tmp_path):
    config = tiny()
    plan = ZooPlan(config, config.make_family())
    build_plan(plan, tmp_path / "zoo", InProcess(TorchKernel(), 120), Unwatched(), Part(1, 2))
    before = sorted((path, path.read_bytes()) for path in tmp_path.rglob("*.record.json"))
    with pytest.raises(
        RnnzooError, match=r"arithmetic.json: this zoo was begun in the arithmetic 'torch-cpu', .*fma-0"
    ):
        build_zoo(config, tmp_path / "zoo", OtherArithmetic(), Unwatched())
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("*.record.json")) == before
    assert build_zoo(config, tmp_path / "zoo", TorchKernel(), Unwatched()).arithmetic == "torch-cpu"


def test_parts_of_two_arithmetics_are_not_merged(tmp_path):
    config = tiny()
    plan = ZooPlan(config, config.make_family())
    for number, kernel in enumerate((TorchKernel(), OtherArithmetic()), start=1):
        build_plan(plan, tmp_path / f"{number}", InProcess(kernel, 120), Unwatched(), Part(number, 2))
    parts = [tmp_path / "1", tmp_path / "2"]
    with pytest.raises(
        RnnzooError, match=r"several arithmetics, expected one: fma-0: .*2; torch-cpu: .*1\. Build"
    ):
        merge_parts(plan, parts, tmp_path / "out", lambda: None)
    # Brought together by hand, they are no zoo either, and what is missing can be built.
    shutil.copytree(parts[1], parts[0], dirs_exist_ok=True)
    with pytest.raises(RnnzooError, match=r"fma-0: train-00001.*; torch-cpu: train-00000.*Remove the records"):
        build_zoo(config, parts[0], TorchKernel(), Unwatched())


def test_a_merge_that_lacks_shards_goes_on_in_the_arithmetic_of_the_parts_alone(tmp_path):
    config = tiny()
    plan = ZooPlan(config, config.make_family())
    part, out, begun = (tmp_path / name for name in ("part", "out", "begun"))
    build_plan(plan, part, InProcess(OtherArithmetic(), 120), Unwatched(), Part(1, 2))
    with pytest.raises(RnnzooError, match="missing or broken in all parts"):
        merge_parts(plan, [part], out, lambda: None)
    watcher = Watcher()
    with pytest.raises(RnnzooError, match=r"begun in the arithmetic 'fma-0', .* are of torch-cpu; go on"):
        build_plan(plan, out, InProcess(TorchKernel(), 120), watcher)
    assert watcher.trained == 0

    open_folder(config, begun)
    claim_arithmetic(begun, "torch-cpu")
    with pytest.raises(RnnzooError, match=r"begun in the arithmetic 'torch-cpu', .* are of fma-0; go on"):
        merge_parts(plan, [part], begun, lambda: None)
    assert not list(begun.glob(".build/*.record.json"))


def tiny():
    fields = {"runs": 8, "steps": 10, "checkpoints": (0, 10), "batch_size": 4, "runs_per_shard": 2}
    return resolve_config(
        "formal_languages", "smoke", fields | {"evaluation_items": 10, "sampled_strings": 10, "rollouts": 5}
    )


def test_arithmetic_and_digest_of_a_manifest_agree(copied):
    values = json.loads((copied / "zoo.json").read_bytes())
    for changed in ({"arithmetic": "fma-1"}, {"arithmetic": None}, {"digest": "x"}, {"digest": 1}):
        with pytest.raises(RnnzooError, match=r"digest|arithmetic"):
            parse_manifest(encode_manifest(values | changed), "zoo.json")
    old = {name: value for name, value in values.items() if name not in ("arithmetic", "digest")}
    (copied / "zoo.json").write_bytes(encode_manifest(old))
    checks = verify_zoo(copied, TorchKernel(), sample=3)
    assert checks[-1].passed
    assert checks[-1].found == "arithmetic: not recorded (built before fma-1)"

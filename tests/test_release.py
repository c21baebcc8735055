"""A release: stock clients read it, its weights are the zoo's, and a changed one is refused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset

from rnnzoo import Zoo, load_zoo
from rnnzoo.zoo_builder.cli.app import app
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.release import check_release, release_zoo, render_card
from rnnzoo.zoo_builder.release.figures import draw_map
from rnnzoo.zoo_builder.release.parquet import Piece, ZooTables, check_weights, write_config, write_file
from rnnzoo.zoo_builder.rnn import flatten_weights
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.tasks.formal_languages.language import decode_sequence
from rnnzoo.zoo_builder.tasks.pictures import Colouring
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo

SPLITS = ["train", "validation", "test", "ood"]
NAMES = ["language", "digits"]
STRANGERS = (
    ".DS_Store",
    "weights/.nfs0000000001",
    "metadata/._train.parquet",
    "lost+found/fragment",
    "notes.txt",
    "data/README",
)


@pytest.fixture
def releases(language_release, digits_release):
    """Name -> folder of a release with outputs."""
    return {"language": language_release, "digits": digits_release}


@pytest.fixture(params=NAMES)
def release(request, releases):
    return releases[request.param]


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.mark.parametrize(
    ("config", "streaming"),
    [("default", False), ("default", True), ("metadata", False), ("rollouts", False), ("outputs", False)],
)
def test_stock_datasets_read_every_config(release, cache, config, streaming):
    found = load_dataset(str(release), config, streaming=streaming, cache_dir=cache)
    assert list(found) == SPLITS
    row = next(iter(found["ood"].shuffle(seed=1)))
    zoo = Zoo(release)
    if config == "default":
        expected = flatten_weights(zoo.spec, zoo.batch([row["checkpoint_id"]]))[0]
        assert np.array_equal(np.float32(row["weights"]), expected.numpy())
    if config == "outputs":
        _, log_probabilities = zoo.rollouts([row["checkpoint_id"]])
        found = torch.tensor(row["log_probabilities"]).view_as(log_probabilities)
        torch.testing.assert_close(found, log_probabilities, atol=1e-2, rtol=1e-2)


def test_rows_keep_their_order_and_filters_work(release, cache):
    rows = load_dataset(str(release), split="train", cache_dir=cache)
    assert (
        rows["checkpoint_id"][:] == pq.read_table(release / "metadata/train.parquet")["checkpoint_id"].to_pylist()
    )
    for streaming in (False, True):
        last = load_dataset(
            str(release), split="train", cache_dir=cache, filters=[("step", "==", 100)], streaming=streaming
        )
        assert {row["step"] for row in last} == {100}


def test_rollouts_are_those_of_the_zoo(release, cache):
    row = load_dataset(str(release), "rollouts", split="test", cache_dir=cache)[0]
    checkpoint = row.get("checkpoint_id") or f"{row['run_id']}-step-000000"
    encoded, _ = Zoo(release).rollouts([checkpoint])
    note = json.loads(pq.read_schema(next((release / "data_rollouts").glob("test-*"))).metadata[b"rnnzoo"])
    inputs = torch.tensor(row["inputs"], dtype=torch.uint8).view(note["inputs"])
    assert inputs.shape[0] == encoded.shape[1]
    assert ("labels" in row) == ("digits" in str(release.name))


def test_other_readers(release):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")

    path = next((release / "data").glob("train-*.parquet"))
    expected = pq.read_table(path)
    weights = duckdb.sql(f"select weights from '{path}' order by checkpoint_id").fetchnumpy()["weights"]
    ours = expected.sort_by("checkpoint_id")["weights"].to_pylist()
    assert np.array_equal(np.float32([list(row) for row in weights]), np.float32(ours))
    assert np.array_equal(
        polars.read_parquet(path)["weights"].to_numpy(), np.float32(expected["weights"].to_pylist())
    )


def test_weights_compress_and_files_carry_their_layout(release):
    file = pq.ParquetFile(next((release / "data").glob("train-*.parquet")))
    groups = [file.metadata.row_group(group).column(len(file.schema) - 1) for group in range(file.num_row_groups)]
    assert groups[0].path_in_schema == "weights.list.element"
    assert sum(group.total_compressed_size for group in groups) < 0.9 * sum(
        group.total_uncompressed_size for group in groups
    )
    assert "BYTE_STREAM_SPLIT" in groups[0].encodings
    assert all(group.has_offset_index for group in groups)
    layout = json.loads(file.schema_arrow.metadata[b"rnnzoo"])["weights"]
    assert layout == read_manifest(release).layout


def test_a_release_is_a_zoo(release):
    assert all(check.passed for check in verify_zoo(release, TorchKernel(), sample=3))
    assert len(load_zoo(release, split="train")) == read_manifest(release).splits["train"].checkpoints
    assert {"README.md", "LICENSE", "CITATION.cff", "croissant.json"} <= {path.name for path in release.iterdir()}


def test_files_are_split_at_row_groups(language_zoo, tmp_path):
    tables = ZooTables(language_zoo, read_manifest(language_zoo))
    write_config(tables, "default", tmp_path, lambda rows: None, file_bytes=700_000)
    names = sorted(path.name for path in tmp_path.rglob("train-*.parquet"))
    assert len(names) > 1
    assert names[-1].endswith(f"-of-{len(names):05d}.parquet")
    assert check_weights(tables, tmp_path, lambda rows: None) == 36


def test_the_check_finds_a_changed_bit(language_zoo, tmp_path):
    tables = ZooTables(language_zoo, read_manifest(language_zoo))
    write_config(tables, "default", tmp_path, lambda rows: None)
    path = next((tmp_path / "data").glob("test-*"))
    table = pq.read_table(path)
    flat = table["weights"].combine_chunks().flatten().to_numpy().copy()
    flat.view(np.uint32)[-1] ^= 1
    changed = pa.FixedSizeListArray.from_arrays(pa.array(flat), tables.spec.num_parameters)
    pq.write_table(table.set_column(len(table.schema) - 1, "weights", changed), path)
    with pytest.raises(RnnzooError, match=r"test-00000.*its weights are not those of the zoo"):
        check_weights(tables, tmp_path, lambda rows: None)


def test_croissant(release, caplog):
    mlcroissant = pytest.importorskip("mlcroissant")

    dataset = mlcroissant.Dataset(jsonld=str(release / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings, caplog.messages) == (set(), set(), [])
    for config in ("metadata", "default"):
        record = next(iter(dataset.records(f"{config}/test")))
        expected = pq.read_table(release / "metadata/test.parquet").to_pylist()[0]
        assert record[f"{config}/test/checkpoint_id"].decode() == expected["checkpoint_id"]
        assert record[f"{config}/test/accuracy"] == pytest.approx(expected["accuracy"])
    rollouts = next(iter(dataset.records("rollouts/ood")))
    expected = pq.read_table(release / "data_rollouts").filter(
        pc.field("run_id") == rollouts["rollouts/ood/run_id"].decode()
    )
    assert rollouts["rollouts/ood/inputs"] == expected["inputs"][0].as_py()


def test_croissant_says_shapes_limits_and_provenance(release):
    said = json.loads((release / "croissant.json").read_bytes())
    assert said["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    (weights,) = (
        field
        for record in said["recordSet"]
        for field in record["field"]
        if field["@id"] == "default/train/weights"
    )
    assert weights["arrayShape"] == str(Zoo(release).spec.num_parameters)
    for field in ("Limitations", "Biases", "UseCases", "SocialImpact"):
        assert all(text.strip() for text in said[f"rai:data{field}"]), field
        assert said[f"rai:data{field}"], field
    assert "wrote the digits" in said["rai:personalSensitiveInformation"][0] or "language" in release.name
    assert said["rai:hasSyntheticData"]
    assert said["prov:wasGeneratedBy"]["prov:label"].startswith("zoo-builder build ")
    assert ("prov:wasDerivedFrom" in said) == ("digits" in release.name)
    metadata = pq.read_table(release / "metadata/train.parquet")
    (accuracy,) = (
        f for record in said["recordSet"] for f in record["field"] if f["@id"] == "metadata/train/accuracy"
    )
    values = {entry["name"]: entry["value"] for entry in accuracy["annotation"]}
    assert values["maxValue"] == max(metadata["accuracy"].to_pylist())


def test_viewers_see_strings_and_images(language_release, digits_release, cache):
    rollouts = load_dataset(str(language_release), "rollouts", split="train", cache_dir=cache)
    rows = load_dataset(str(language_release), split="train", cache_dir=cache)
    assert rows["text"][:] == rollouts["text"][:]
    tokens = np.uint8(rollouts[0]["inputs"]).reshape(-1, 42)
    assert rows[0]["text"].splitlines() == [decode_sequence(string) for string in tokens]
    row = load_dataset(str(digits_release), "rollouts", split="train", cache_dir=cache)[0]
    tiles = np.uint8(row["inputs"]).reshape(-1, 7, 7, 4, 4)
    images = tiles.swapaxes(2, 3).reshape(-1, 28, 28)
    assert np.array_equal(np.asarray(row["image"]), np.concatenate(images, axis=1))
    assert "image" not in load_dataset(str(digits_release), split="train", cache_dir=cache).column_names


def test_a_new_version_shares_its_bytes_with_the_last(language_zoo, tmp_path):
    """One row more at the beginning of a file moves all others, and leaves most of its bytes as they were."""
    tables = ZooTables(language_zoo, read_manifest(language_zoo))
    table, kind = tables.metadata["train"], tables.kind("rollouts")
    length = kind.schema.field("inputs").type.list_size
    inputs = np.random.default_rng(0).integers(0, 256, (10_000, length), dtype=np.uint8)

    def write(name, first):
        kept = inputs[first:]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(kept.reshape(-1)), length)
        columns = {"text": pa.array(["text"] * len(kept)), "inputs": lists}
        rows = table.take(pa.array(np.arange(len(kept)) % len(table)))
        piece = Piece(rows, "", slice(0, len(kept)))
        write_file(tmp_path / name, replace(kind, made=lambda piece: columns), [piece], lambda rows: None)
        return (tmp_path / name).read_bytes()

    old, new = write("old", 1), write("new", 0)
    blocks = [old[start : start + 1024] for start in range(0, len(old), 65536)]
    assert np.mean([block in new for block in blocks]) > 0.8


def change(folder, how):
    """Change what release.json says."""
    values = json.loads((folder / "release.json").read_bytes())
    how(values)
    (folder / "release.json").write_text(json.dumps(values))


def entry():
    return {"bytes": 0, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "README.md").write_text("mine"),
            "README.md: not the file that release.json lists",
        ),
        (
            lambda folder: (folder / "data/train-00009-of-00010.parquet").touch(),
            "data/train-00009-of-00010.parquet: is there, but not listed",
        ),
        (lambda folder: (folder / "LICENSE").unlink(), "LICENSE: is missing, but listed"),
        (lambda folder: (folder / "release.json").unlink(), "no release of one"),
        (lambda folder: (folder / "release.json").write_text("[]"), "not what `zoo-builder release` writes"),
        (lambda folder: change(folder, lambda values: values.pop("rnnzoo")), "release` writes: KeyError..rnnzoo"),
        (
            lambda folder: change(folder, lambda values: values.pop("format_version")),
            "release` writes for the zoo",
        ),
        (
            lambda folder: change(folder, lambda values: values["files"]["LICENSE"].pop("bytes")),
            "LICENSE: bytes: found nothing",
        ),
        (
            lambda folder: change(folder, lambda values: values["files"].update({"a" * 300: entry()})),
            "cannot be looked into: File name too long",
        ),
        (lambda folder: (folder / "zoo.json").unlink(), "not a zoo"),
    ],
)
def test_a_changed_release_is_refused(releases, tmp_path, spoil, message):
    folder = shutil.copytree(releases["language"], tmp_path / "copy")
    check_release(folder)
    spoil(folder)
    with pytest.raises(RnnzooError, match=message):
        check_release(folder)


def test_a_file_of_a_release_that_cannot_be_read_is_named(language_release, monkeypatch):
    def refuse(file, name):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(RnnzooError, match=rf"{language_release}/\S+: cannot be read: Input/output error"):
        check_release(language_release)


def test_truth_values_colour_the_map(language_zoo, monkeypatch):
    tables = ZooTables(language_zoo, read_manifest(language_zoo))
    right = Colouring("half right", "accuracy", value=lambda accuracies: accuracies > 0.5)
    monkeypatch.setattr(tables.family, "colouring", right)
    _, axes, *_ = draw_map(tables).axes
    assert set(axes.collections[0].get_array().tolist()) <= {0.0, 1.0}


def test_files_that_are_none_of_ours_are_left_alone(digits_release, tmp_path, capsys):
    folder = shutil.copytree(digits_release, tmp_path / "copy")
    contents = check_release(folder)
    for name in STRANGERS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("none of ours")
    app(["info", str(folder)], standalone_mode=False)
    assert f"figure: {folder / 'figures/overview.png'}" in capsys.readouterr().out
    assert check_release(folder) == contents
    assert all(check.passed for check in verify_zoo(folder, TorchKernel(), sample=1))
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present == {*contents["files"], *STRANGERS, "release.json"}


def test_a_card_promises_a_comparison_with_baselines_of_its_own_zoo_alone(language_zoo, monkeypatch):
    assert "scores on another zoo" in render_card(language_zoo)
    digest = read_manifest(language_zoo).digest
    monkeypatch.setattr("rnnzoo.zoo_builder.release.card.read_json", lambda path: {"zoo_digest": digest})
    assert "scores on this zoo" in render_card(language_zoo)


def test_an_unsound_zoo_has_no_release(copied, tmp_path):
    with pytest.raises(RnnzooError, match="exists; expected the name of a new folder"):
        release_zoo(copied, tmp_path, TorchKernel())
    (copied / "splits.json").write_text("{}")
    with pytest.raises(RnnzooError, match=r"not a sound zoo: files: .*splits\.json"):
        release_zoo(copied, tmp_path / "release", TorchKernel())
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


def test_nothing_imports_the_hub_before_its_endpoint_is_set():
    modules = "sys, rnnzoo.zoo_builder.release.push, rnnzoo.zoo_builder.cli"
    code = f"import {modules}; assert 'huggingface_hub' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)

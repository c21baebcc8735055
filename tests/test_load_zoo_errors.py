"""What `load_zoo` and `Zoo` say of bad arguments, and of zoos that are not whole."""

import json
import os
import pickle
import re
import shutil
import tempfile
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.source.checked import CHECKS
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.storage.manifest import encode_manifest
from rnnzoo.zoo_builder.storage.parquet import read_table

CARDS = Path(__file__).parent.parent / "dataset_cards"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split: found 'dev', expected one of train, validation, test, ood"),
        ({"columns": ["step", "loss"]}, "columns: found 'loss', expected names among checkpoint_id, run_id"),
        ({"columns": "step"}, "columns: found the text 'step', expected a list"),
        ({"columns": {"step"}}, "columns: found {'step'}, expected a list"),
        ({"tensors": 3}, "tensors: found 3, expected a list"),
        ({"columns": ["step", "step"]}, "columns: found 'step' twice"),
        ({"tensors": ["lstm.weight"]}, r"tensors: found 'lstm.weight', expected names among lstm.weight_ih_l0"),
        ({"columns": [], "tensors": []}, "columns and tensors: found none of either"),
        ({"columns": [np.array(["step"])]}, r"columns: found array\(\['step'\], .*, expected names among"),
        ({"rollouts": "no"}, "rollouts: found 'no', expected True or False"),
        ({"format": "jax"}, "format: found 'jax', expected one of torch, numpy"),
        ({"format": ["torch"]}, r"format: found \['torch'\], expected one of torch, numpy"),
        ({"filters": []}, "filters: found \\[\\], expected None"),
        ({"filters": "step > 3"}, "filters: found 'step > 3', expected None"),
        ({"filters": [("step", ">")]}, r"filters: found \('step', '>'\), expected \(column, operator, value\)"),
        ({"filters": [("loss", ">", 3)]}, "filters: found column 'loss', expected one of checkpoint_id"),
        ({"filters": [("step", "~", 3)]}, "filters: found operator '~', expected one of =, =="),
        ({"filters": [("step", "in", 3)]}, "expected a list of values after 'in'"),
        ({"filters": [("step", "==", [3])]}, "expected one value after '=='"),
        ({"filters": [("accuracy", ">", "high")]}, "found .*'high'.*, expected numbers for column 'accuracy'"),
        ({"filters": [("step", ">", "high")]}, "found 'high' in .*, expected numbers for column 'step'"),
        ({"filters": [3]}, "filters: found 3, expected a list of conditions"),
        ({"filters": pc.field("loss") > 3}, r"filters: found \(loss > 3\): .*; the columns are checkpoint_id"),
    ],
)
def test_bad_arguments(language_zoo, options, message):
    for streaming in (False, True):
        with pytest.raises(RnnzooError, match=message):
            load_zoo(language_zoo, **({"split": "train"} | options), streaming=streaming)


def test_texts_do_not_choose_how_a_zoo_is_read(language_zoo):
    for text in ("no", "False", 0, None):
        with pytest.raises(ParameterError, match=r"streaming: found .*, expected True or False"):
            load_zoo(language_zoo, "train", streaming=text)
    assert len(load_zoo(language_zoo, "train", tensors=[], rollouts=np.False_, streaming=np.False_))


def test_no_such_zoo(tmp_path, language_zoo, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RnnzooError, match=r"org/zoo: .*offline mode is on"):
        load_zoo("org/zoo")
    with pytest.raises(RnnzooError, match=r"nowhere: there is no such folder$"):
        load_zoo(tmp_path / "nowhere")
    with pytest.raises(RnnzooError, match=r"zoo\.json: a file, expected the folder of a zoo"):
        Zoo(language_zoo / "zoo.json")
    with pytest.raises(RnnzooError, match=r"not a zoo: there is no zoo\.json in it"):
        load_zoo(tmp_path)
    (tmp_path / ".build").mkdir()
    with pytest.raises(RnnzooError, match="an unfinished zoo"):
        Zoo(tmp_path)


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + "/b/c", "a" * 5000, "a\0b"])
def test_names_that_no_folder_can_have(name, tmp_path):
    of_text = r"; expected a folder, or a dataset repository on the hub as org/name or org/name@revision"
    for place, expected in ((name, of_text), (tmp_path / name, "")):
        with pytest.raises(RnnzooError, match=rf"a.*: there is no such folder{expected}$"):
            load_zoo(place)


@pytest.mark.parametrize(
    "name", ["hf://datasets/a/b", "https://huggingface.co/datasets/a/b", "zoo", "a/b@", "~/no"]
)
def test_a_text_that_is_neither_a_folder_nor_a_repository(name):
    message = (
        rf"{name}: there is no such folder; expected a folder, or a dataset repository on the hub as org/name"
    )
    for open_zoo in (load_zoo, Zoo):
        with pytest.raises(RnnzooError, match=message):
            open_zoo(name)


@pytest.mark.parametrize("given", [None, 3, b"zoo", "", ["zoo"], True])
def test_what_is_no_text_and_no_path(given):
    for open_zoo in (load_zoo, Zoo):
        with pytest.raises(
            ParameterError, match=rf"path_or_repo: found {re.escape(repr(given))}, expected a folder"
        ):
            open_zoo(given)


def test_an_open_zoo_is_no_path_and_the_error_is_one_line(language_zoo):
    with pytest.raises(
        ParameterError, match=r"^path_or_repo: found Zoo formal_languages in .*, expected a folder"
    ):
        load_zoo(Zoo(language_zoo))


@pytest.mark.parametrize("revision", [5, 1.0, b"v1.0.0", ["v1.0.0"], ""])
def test_what_is_no_revision(revision):
    for open_zoo in (load_zoo, Zoo):
        with pytest.raises(RnnzooError, match=rf"^revision: found {re.escape(repr(revision))}, expected a tag"):
            open_zoo("org/zoo", revision=revision)


def test_the_home_of_the_user(language_zoo, monkeypatch):
    monkeypatch.setenv("HOME", str(language_zoo.parent))
    for given in (f"~/{language_zoo.name}", Path("~", language_zoo.name)):
        assert len(Zoo(given)) == 36


def test_a_revision_is_said_once(monkeypatch):
    with pytest.raises(ParameterError, match=r"revision: found 'v1.0.0' beside 'org/zoo@v1.0.1', expected one"):
        Zoo("org/zoo@v1.0.1", "v1.0.0")


def as_nobody(call):
    """Call a function without the rights of root, which no permission keeps out."""
    if os.geteuid():
        return call()
    os.seteuid(65534)
    try:
        return call()
    finally:
        os.seteuid(0)


@pytest.fixture
def seen_by_all():
    """A folder that every user may look into; those of pytest are open to their own user alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize("folder", ["", "metadata", "weights"])
def test_a_folder_that_one_may_not_look_into(language_zoo, folder, seen_by_all):
    copied = shutil.copytree(language_zoo, seen_by_all / "zoo")
    closed = copied / folder
    closed.chmod(0o644)
    message = f"{closed}.*: cannot be (looked into|opened): .*denied"
    try:
        for open_zoo in (load_zoo, lambda path: Zoo(path).batch([0])):
            with pytest.raises(RnnzooError, match=message):
                as_nobody(partial(open_zoo, copied))
    finally:
        closed.chmod(0o755)


@pytest.mark.parametrize("check", CHECKS)
def test_a_folder_whose_name_is_not_utf8(language_zoo, tmp_path, check):
    try:
        copy = shutil.copytree(language_zoo, os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    except OSError:
        pytest.skip("this file system has no such names")
    expected = load_zoo(language_zoo, "train", rollouts=True)[:]["sha256"]
    for streaming in (False, True):
        found = load_zoo(copy, "train", rollouts=True, streaming=streaming, check=check)
        assert [row["sha256"] for row in pickle.loads(pickle.dumps(found))] == expected
    assert torch.equal(Zoo(copy, check=check).flat([3]), Zoo(language_zoo).flat([3]))
    (Path(copy) / "metadata" / "ood.parquet").unlink()
    with pytest.raises(RnnzooError, match=r"ood\.parquet: this file is missing"):
        load_zoo(copy, check=check)


def test_a_record_has_metadata_alone():
    records = [path.parent for path in CARDS.glob("*/*/zoo.json")]
    assert records
    for record in records:
        assert len(load_zoo(record, "train", tensors=[])) == Zoo(record).splits["train"].checkpoints
        for streaming in (False, True):
            with pytest.raises(RnnzooError, match="a record of a zoo, without weights: found no folder 'weights'"):
                load_zoo(record, "train", streaming=streaming)
        for read in (Zoo(record).batch, Zoo(record).rollouts):
            with pytest.raises(RnnzooError, match=r"its metadata can be read, by `load_zoo` with tensors=\[\]"):
                read([0])
        with pytest.raises(RnnzooError, match="without weights: found no folder 'rollouts'"):
            load_zoo(record, "train", tensors=[], rollouts=True)


def test_what_is_missing_of_a_whole_zoo_is_said(copied):
    """With weights and without rollouts, the other way round, and where all is gone: none is a record."""
    rows = load_zoo(copied, "train", streaming=True, rollouts=True)
    reads = (lambda: list(rows), lambda: Zoo(copied).rollouts([0]), lambda: load_zoo(copied, rollouts=True))
    for room, other in (("rollouts", "weights"), ("weights", "rollouts")):
        (copied / room).rename(copied / "away")
        message = rf"{copied}: found no folder '{room}', expected it beside '{other}': the zoo is not whole"
        for read in reads:
            with pytest.raises(RnnzooError, match=message):
                read()
        (copied / "away").rename(copied / room)
    zoo = Zoo(copied)
    shutil.rmtree(copied)
    message = rf"{copied}: found no zoo.json any more, expected the zoo that was opened there"
    for read in (lambda: list(rows), lambda: zoo.batch([0]), lambda: zoo.metadata):
        with pytest.raises(RnnzooError, match=message):
            read()


def edit_manifest(folder, change):
    manifest = json.loads((folder / "zoo.json").read_text())
    change(manifest)
    (folder / "zoo.json").write_bytes(encode_manifest(manifest))


def seal(folder):
    """Let the manifest vouch for the files as they are now: what is wrong with them is then for others to see."""

    def vouch(manifest):
        for name, entry in manifest["files"].items():
            content = (folder / name).read_bytes()
            entry.update(bytes=len(content), sha256=sha256(content).hexdigest())

    edit_manifest(folder, vouch)


def test_other_format_version(copied):
    edit_manifest(copied, lambda manifest: manifest.update(format_version=2))
    with pytest.raises(RnnzooError, match=r"zoo\.json: format_version: found 2, expected 1"):
        load_zoo(copied)


def test_empty_split(copied):
    def empty(manifest):
        manifest["splits"]["validation"] = {"tasks": 0, "runs": 0, "checkpoints": 0, "shards": []}

    edit_manifest(copied, empty)
    table = pq.read_table(copied / "metadata" / "validation.parquet")
    pq.write_table(table.slice(0, 0), copied / "metadata" / "validation.parquet")
    seal(copied)
    assert list(load_zoo(copied)) == ["train", "test", "ood"]
    assert len(Zoo(copied)) == len(Zoo(copied).metadata) == 33
    with pytest.raises(RnnzooError, match="split: 'validation' is empty: this zoo has 11 tasks, too few"):
        load_zoo(copied, "validation")


@pytest.mark.parametrize("folder", ["weights", "rollouts"])
@pytest.mark.parametrize("streaming", [False, True])
def test_missing_and_truncated_shards(copied, folder, streaming):
    def load():
        return load_zoo(copied, "train", rollouts=True, streaming=streaming)

    shard = copied / folder / "train-00001-of-00004.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(
        RnnzooError, match=f"{shard.name}: found {len(content) - 1} bytes, expected {len(content)}"
    ):
        load()
    shard.unlink()
    with pytest.raises(RnnzooError, match=f"{folder}/{shard.name}: this file is missing"):
        load()


def test_shard_that_does_not_fit_the_spec(copied):
    """A file of the right size, whose header tells of other tensors."""
    shard = copied / "weights" / "train-00001-of-00004.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b'"shape":[6,6,32]', b'"shape":[6,32,6]'))
    seal(copied)
    with pytest.raises(RnnzooError, match=r"00001-of-00004.safetensors: head.weight: found float32 \[6, 32, 6\]"):
        load_zoo(copied, "train")
    shard.write_bytes(content.replace(b'"head.bias"', b'"head.boas"'))
    seal(copied)
    with pytest.raises(RnnzooError, match=r"its tensors are not the spec's parameters, see 'head\.bias'"):
        load_zoo(copied, "train")


def rewrite_metadata(folder, change):
    path = folder / "metadata" / "train.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    seal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(1), r"train\.parquet: found 23 rows, expected 24 as in the manifest"),
        (lambda table: table.drop(["rollout_row"]), "train.parquet: found no column 'rollout_row'"),
        (
            lambda table: table.set_column(
                table.schema.get_field_index("shard"),
                "shard",
                pc.replace_substring(table["shard"], "00003-of", "00007-of"),
            ),
            "'shard' and the manifest differ, first in 'weights/train-00003-of-00004.safetensors'",
        ),
        (lambda table: table.take(list(range(23, -1, -1))), "column 'shard' and the manifest differ"),
        (lambda table: table.take([1, 0, *range(2, 24)]), "rows are not in the order"),
    ],
)
def test_metadata_that_disagree(copied, change, message):
    rewrite_metadata(copied, change)
    for streaming in (False, True):
        with pytest.raises(RnnzooError, match=message):
            load_zoo(copied, streaming=streaming)


def test_metadata_that_name_missing_rollouts(copied):
    index = pq.read_schema(copied / "metadata" / "train.parquet").get_field_index("rollout_row")
    rewrite_metadata(
        copied, lambda table: table.set_column(index, "rollout_row", pc.add(table["rollout_row"], 3).cast("int32"))
    )
    message = r"rollouts/train-00000-of-00004.safetensors: found 6 rows, expected row \d that the metadata name"
    for streaming in (False, True):
        with pytest.raises(RnnzooError, match=message):
            list(load_zoo(copied, "train", rollouts=True, streaming=streaming))
    with pytest.raises(RnnzooError, match=message):
        Zoo(copied).rollouts([0])


def test_broken_metadata(copied):
    path = copied / "metadata" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    seal(copied)
    with pytest.raises(RnnzooError, match=r"train\.parquet: not a whole Parquet file"):
        load_zoo(copied)
    path.unlink()
    with pytest.raises(RnnzooError, match=r"train\.parquet: this file is missing"):
        load_zoo(copied)


def test_a_damaged_table_is_an_error_of_one_line(copied):
    path = copied / "metadata" / "train.parquet"
    content = path.read_bytes()
    errors = []
    for place in range(0, len(content), 331):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            read_table(path)
        except RnnzooError as error:
            errors.append(str(error))
    assert len(errors) > 15
    assert not any("\n" in error for error in errors)


def test_splits_with_different_columns(copied):
    path = copied / "metadata" / "test.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["language"]), path)
    with pytest.raises(RnnzooError, match="the metadata of its splits have different columns"):
        Zoo(copied, check="off").metadata  # noqa: B018


def test_bad_ids(language_zoo):
    zoo = Zoo(language_zoo)
    for ids, message in [
        ([36], "checkpoint: found row 36, expected 0 to 35"),
        ([-1], "checkpoint: found row -1, expected 0 to 35"),
        (["run-99"], "checkpoint: found 'run-99', expected a row number, a checkpoint_id such as 'run-"),
        ([], "ids: found none"),
        ("run-000000-step-000000", "ids: found 'run-"),
    ]:
        with pytest.raises(RnnzooError, match=message):
            zoo.batch(ids)
    with pytest.raises(RnnzooError, match="row: found no 'checkpoint_id' among its columns"):
        zoo.model({"step": 3})

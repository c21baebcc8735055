"""The files: exact bytes, and clear refusals of everything that is not whole. Never a pickle."""

import contextlib
import errno
import json
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import is_there, read_bytes
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, parse_manifest, read_manifest
from rnnzoo.zoo_builder.storage.schema import FILE_NAME, metadata_schema, shard_name, weights_file
from rnnzoo.zoo_builder.storage.shards import read_shard, row_sha256, write_shard
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family

TENSORS = {
    "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b": np.arange(10, dtype=np.uint8).reshape(2, 5),
}


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "weights" / "train-00000-of-00001.safetensors"
    write_shard(path, TENSORS, {"zoo": "z", "rows": [1, 2]})
    return path


def test_a_shard_is_read_as_it_was_written(shard):
    found = read_shard(shard)
    theirs = load_file(shard)
    assert found.metadata == {"zoo": "z", "rows": [1, 2]}
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert np.array_equal(found.tensors[name], tensor)
        assert np.array_equal(theirs[name], tensor)
        assert not found.tensors[name].flags.writeable


def test_the_same_values_give_the_same_bytes(shard, tmp_path):
    write_shard(tmp_path / "again", dict(reversed(TENSORS.items())), {"rows": [1, 2], "zoo": "z"})
    assert (tmp_path / "again").read_bytes() == shard.read_bytes()


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(RnnzooError, match=r"nothing\.safetensors: this shard is missing"):
        read_shard(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 8, 40, -1])
def test_a_truncated_shard_is_named(shard, kept):
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(RnnzooError, match=r"train-00000-of-00001\.safetensors: not a whole safetensors file"):
        read_shard(shard)


def test_a_longer_shard_is_refused(shard):
    shard.write_bytes(shard.read_bytes() + b"more")
    with pytest.raises(RnnzooError, match="file not fully covered"):
        read_shard(shard)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_header_is_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "shard"
    content = bytearray(save(TENSORS))
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read_shard(path)
    except RnnzooError:
        return
    assert sum(tensor.nbytes for tensor in found.tensors.values()) == 24 * 4 + 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
entries = st.dictionaries(
    st.sampled_from(["dtype", "shape", "data_offsets", "x"]),
    json_values | st.sampled_from(["F32", "U8"]) | st.lists(st.integers(-5, 50), max_size=3),
)


headers = st.dictionaries(st.sampled_from(["a", "__metadata__"]), entries | json_values)


@settings(max_examples=300, deadline=None)
@given(headers | json_values, st.binary(max_size=50))
def test_any_json_for_a_header_is_refused_or_harmless(tmp_path_factory, header, body):
    path = tmp_path_factory.mktemp("fuzz") / "shard"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    with contextlib.suppress(RnnzooError):  # nothing else may come out
        read_shard(path)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_for_a_manifest_are_refused(content):
    with pytest.raises(RnnzooError, match=r"zoo\.json"):
        parse_manifest(content, "zoo.json")


def test_every_bit_of_a_manifest_that_is_flipped_is_seen(language_zoo):
    """All bits of the first and the last bytes, where the entries stand that are read first, and a sample."""
    sound = (language_zoo / "zoo.json").read_bytes()
    parse_manifest(sound, "zoo.json")
    ends = [*range(200), *range(len(sound) - 200, len(sound))]
    places = [place * 8 + bit for place in ends for bit in range(8)]
    places += random.Random(0).sample(range(len(sound) * 8), 6000)
    for place in places:
        flipped = bytearray(sound)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(RnnzooError, match=r"^zoo\.json"):
            parse_manifest(bytes(flipped), "zoo.json")


def test_manifests_of_other_versions_and_with_odd_file_names_are_refused(language_zoo):
    good = json.loads((language_zoo / "zoo.json").read_bytes())
    for version in (0, 2, "1", None):
        with pytest.raises(RnnzooError, match="format_version: found"):
            parse_manifest(encode_manifest(good | {"format_version": version}), "zoo.json")
    for name in ("../secret", "/etc/passwd", "weights/../../x.safetensors", "weights/train.pkl"):
        files = good["files"] | {name: {"bytes": 1, "sha256": "0"}}
        with pytest.raises(RnnzooError, match="which no zoo has"):
            parse_manifest(encode_manifest(good | {"files": files}), "zoo.json")
    with pytest.raises(RnnzooError, match="surprise"):
        parse_manifest(encode_manifest(good | {"surprise": 1}), "zoo.json")


def test_folders_that_are_no_zoo(tmp_path):
    with pytest.raises(RnnzooError, match=r"not a zoo: there is no zoo\.json"):
        read_manifest(tmp_path)
    (tmp_path / ".build").mkdir()
    with pytest.raises(RnnzooError, match="an unfinished zoo"):
        read_manifest(tmp_path)


def test_whether_a_name_leads_to_something(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "round").symlink_to("round")
    assert is_there(tmp_path / "file")
    for name in ("missing", "nowhere", "round", "file/below", "a\0b"):
        assert not is_there(tmp_path / name)


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    """Python tells nobody by `exists`, or everybody by an error of its own: it depends on its version."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(RnnzooError, match=r"a{300}: cannot be looked into: File name too long"):
        is_there(tmp_path / ("a" * 300) / "zoo.json")
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(RnnzooError) as error:
        is_there(tmp_path / "zoo.json")
    monkeypatch.undo()
    assert str(error.value) == f"{tmp_path}: cannot be looked into: Permission denied"


def test_names_follow_the_pattern_that_manifests_may_list():
    assert FILE_NAME.fullmatch(weights_file(shard_name("train", 3, 16)))
    assert weights_file(shard_name("train", 3, 16)) == "weights/train-00003-of-00016.safetensors"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_column_says_what_it_holds(family):
    made = find_family(family)
    for zoo in made.zoos.values():
        schema = metadata_schema(made.columns(zoo.source))
        assert len(set(schema.names)) == len(schema.names)
        assert all(field.metadata[b"description"] for field in schema)


def test_row_hash_is_that_of_little_endian_floats():
    import hashlib

    row = np.array([1.0, -2.5], dtype=np.float32)
    assert row_sha256(row) == hashlib.sha256(struct.pack("<2f", 1.0, -2.5)).hexdigest()


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a device that never ends")
def test_a_device_is_no_file():
    with pytest.raises(RnnzooError, match="/dev/zero: found a pipe, socket or device, expected a file"):
        read_bytes(Path("/dev/zero"))

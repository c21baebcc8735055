"""`verify --against`: whether a zoo is the one that was asked for, and if not, why."""

import json

import digests
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from loopback_hub import LoopbackHub

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity import named
from rnnzoo.zoo_builder.identity.differences import check_same_zoo
from rnnzoo.zoo_builder.identity.reference import find_reference
from rnnzoo.zoo_builder.release import render_card
from rnnzoo.zoo_builder.storage.digest import ZooDigest, config_digest
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, read_manifest, read_metadata
from rnnzoo.zoo_builder.storage.shards import read_shard, row_sha256, write_shard
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import resolve_config


def compare(zoo, reference):
    manifest = read_manifest(zoo)
    metadata = read_metadata(zoo, manifest)
    return check_same_zoo(
        ZooDigest.parse(manifest.digest),
        manifest,
        metadata,
        lambda name: zoo / name,
        find_reference(str(reference)),
    )


def refused(zoo, reference) -> str:
    with pytest.raises(RnnzooError) as error:
        compare(zoo, reference)
    return str(error.value)


def change_manifest(zoo, **changes):
    values = json.loads((zoo / "zoo.json").read_bytes())
    (zoo / "zoo.json").write_bytes(encode_manifest({**values, **changes}))


def other_contents(zoo):
    """Give a zoo the digest of other contents."""
    digest = ZooDigest.parse(read_manifest(zoo).digest)
    change_manifest(zoo, digest=str(ZooDigest(digest.arithmetic, digest.config, "0" * 16)))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub that this process takes for the only one, and an empty cache."""
    with LoopbackHub() as hub:
        hub.take_over(monkeypatch, tmp_path / "home")
        yield hub


def test_a_zoo_is_itself(language_zoo, tmp_path, hub):
    card = tmp_path / "README.md"
    card.write_text(render_card(language_zoo))
    digest = read_manifest(language_zoo).digest
    assert f"digest `{digest}`" in card.read_text()
    hub.add_folder("org/zoo", language_zoo, tags=["v1.0.0"])
    for reference in (digest, language_zoo, card, "org/zoo", "org/zoo@v1.0.0"):
        assert compare(language_zoo, reference) == f"this is the zoo of {reference}: {digest}"


def test_another_arithmetic(language_zoo, copied):
    digest = ZooDigest.parse(read_manifest(language_zoo).digest)
    other = ZooDigest("fma-1", digest.config, "0" * 16)
    found = refused(language_zoo, other)
    assert "another arithmetic: found torch-cpu, expected fma-1" in found
    assert "config" not in found
    assert "contents" not in found
    found = refused(language_zoo, ZooDigest("fma-1", digest.config, digest.contents))
    assert "all values are the same" in found


def test_another_config(language_zoo, copied, digits_zoo):
    digest = ZooDigest.parse(read_manifest(language_zoo).digest)
    for preset, steps in (("small", 2000), ("paper", 20_000)):
        other = config_digest(resolve_config("formal_languages", preset).to_dict())
        found = refused(language_zoo, ZooDigest("torch-cpu", other, digest.contents))
        assert "another config: runs: found 12, expected " in found
        assert f"steps: found 100, expected {steps}" in found
        assert f"(expected is formal_languages at preset {preset})" in found
        assert "arithmetic: found" not in found
    found = refused(language_zoo, ZooDigest("fma-1", "0" * 8, digest.contents))
    assert "another config: of the other one only the digits are known, and no preset has them" in found
    assert "another arithmetic" in found
    assert "zoo: found 'formal_languages', expected 'sequential_digits'" in refused(language_zoo, digits_zoo)


def test_other_contents_of_which_only_the_digest_is_known(language_zoo):
    digest = ZooDigest.parse(read_manifest(language_zoo).digest)
    found = refused(language_zoo, ZooDigest(digest.arithmetic, digest.config, "0" * 16))
    assert "the same config and arithmetic, but other contents: the other zoo is not at hand" in found
    assert "the bits of torch-cpu may change with the machine" in found


def with_other_weights(zoo):
    """Change a weight of the third checkpoint of the training split."""
    path = next((zoo / "weights").glob("train-00000*"))
    shard = read_shard(path)
    tensors = {name: np.array(tensor) for name, tensor in shard.tensors.items()}
    tensors["head.bias"][2] += 1
    write_shard(path, tensors, shard.metadata)
    flat = np.concatenate([tensors[p["name"]][2].reshape(-1) for p in read_manifest(zoo).layout])
    with_other_value(zoo, "sha256", row_sha256(flat))


def with_other_value(zoo, column, value):
    path = zoo / "metadata/train.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[2] = value
    where, field = table.schema.get_field_index(column), table.schema.field(column)
    pq.write_table(table.set_column(where, field, pa.array(values, field.type)), path)


def with_other_rollouts(zoo):
    path = next((zoo / "rollouts").glob("train-00000*"))
    shard = read_shard(path)
    tensors = {name: np.array(tensor) for name, tensor in shard.tensors.items()}
    tensors["inputs"][2, 0, 1] ^= 1
    write_shard(path, tensors, shard.metadata)


CHANGES = {
    "weights": with_other_weights,
    "accuracy": lambda zoo: with_other_value(zoo, "accuracy", 0.123),
    "offsets": lambda zoo: with_other_value(zoo, "offsets", [9, 9, 9]),
    "rollouts": with_other_rollouts,
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_first_checkpoint_that_differs_is_named(language_zoo, copied, hub, what):
    CHANGES[what](copied)
    other_contents(copied)
    third = pq.read_table(language_zoo / "metadata/train.parquet")["checkpoint_id"][2].as_py()
    assert f"1 of 36 checkpoints differ: {third} ({what})" in refused(copied, language_zoo)
    hub.add_folder("org/zoo", language_zoo)
    expected = f"1 of 36 checkpoints differ: {third} ({what})"
    if what == "rollouts":
        expected = "weights and metadata of all checkpoints are the same, so rollouts differ"
    assert expected in refused(copied, "org/zoo")


def test_a_damaged_zoo_is_no_zoo_to_compare(copied):
    """A digest alone cannot be forged into a zoo: verify compares it with the files first."""
    digest = read_manifest(copied).digest
    other_contents(copied)
    *_, last = verify_zoo(copied, TorchKernel(), sample=3, against=find_reference(digest))
    assert (last.name, last.passed) == ("digest", False)


def test_an_old_zoo_compared_with_a_digest(copied):
    digest = read_manifest(copied).digest
    change_manifest(copied, digest=None, arithmetic=None)
    *_, last = verify_zoo(copied, TorchKernel(), sample=3, against=find_reference(digest))
    assert not last.passed
    assert "another arithmetic: found unrecorded, expected torch-cpu; all values are the same" in last.found


@pytest.fixture
def verify(builder):
    """A function: `zoo-builder verify` of a zoo against something; its exit code, and what it printed."""

    def run(zoo, against):
        code, out, err = builder("verify", zoo, "--kernel", "torch", "--sample", 3, "--against", against)
        return code, out, " ".join(err.split())

    return run


def test_the_command(language_zoo, verify):
    digest = read_manifest(language_zoo).digest
    code, out, _ = verify(language_zoo, digest)
    assert code == 0
    assert f"ok    against         this is the zoo of {digest}" in out
    code, out, err = verify(language_zoo, f"{digest[:-1]}{'0' if digest[-1] != '0' else '1'}")
    assert code == 2
    assert "FAIL against not the zoo of" in err
    assert "a sound zoo, but another one" in err
    assert "ok    digest" in out


def card_with(text):
    return lambda folder: (folder / "README.md").write_text(text)


HOSTILE = {
    "no digest": ("fma-1-xyz", None, "--against: found 'fma-1-xyz', expected a digest"),
    "a long text": ("x" * 5000, None, "--against: found 'xxx"),
    "a folder that is no zoo": (".", None, "not a zoo"),
    "a card without a header": (
        "README.md",
        card_with("# A card\n"),
        "found 0 entries 'zoo_digest' in its header",
    ),
    "a digest below the header": (
        "README.md",
        card_with("---\na: b\n---\nzoo_digest: fma-1-01234567-0123456789abcdef\n"),
        "found 0 entries",
    ),
    "two digests": ("README.md", card_with("---\nzoo_digest: a\nzoo_digest: b\n---\n"), "found 2 entries"),
    "a card with nonsense": (
        "README.md",
        card_with("---\nzoo_digest: abc\n---\n"),
        "digest: found 'abc', expected",
    ),
    "no text at all": ("README.md", lambda folder: (folder / "README.md").write_bytes(b"\xff\0" * 99), "found 0"),
    "a huge card": ("README.md", card_with(" " * 4_000_001), "found 4000001 bytes, expected at most 4000000"),
    "no repository": ("org/nothing", None, "org/nothing: zoo.json: the hub answered 40"),
    "no name of a repository": ("a--b/..c", None, "org/name"),
    "a repository without a zoo": ("org/other", None, "org/other: zoo.json: the hub answered 404"),
    "no such revision": ("org/old@v9", None, "org/old@v9: zoo.json: the hub answered 404"),
    "a repository without a digest": (
        "org/old",
        None,
        "this zoo has no digest to compare with; arithmetic: not rec",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_references_exit_with_2(language_zoo, copied, verify, hub, tmp_path, monkeypatch, kind):
    reference, prepare, message = HOSTILE[kind]
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if prepare:
        prepare(folder)
    if reference.startswith("org/"):
        change_manifest(copied, digest=None, arithmetic=None)
        hub.add_folder("org/old", copied)
        (folder / "notes.txt").write_text("x")
        hub.add_folder("org/other", folder)
    code, out, err = verify(language_zoo, reference)
    assert code == 2
    assert message in err.replace("│ ", "").replace(" │", "")
    assert out == ""  # said before anything is verified


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(language_zoo, verify, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    )
    code, _, err = verify(language_zoo, "org/zoo")
    assert code == 2
    assert "the hub could not be reached" in err


def test_the_committed_digests_are_of_their_configs():
    known = named.known_digests()
    assert all(
        digest.startswith("fma-") for presets in known.values() for one in presets.values() for digest in one
    )
    for zoo, presets in known.items():
        for preset, listed in presets.items():
            assert {named.name_of_zoo(digest) for digest in listed} == {f"{zoo} at preset {preset}"}


def test_digests_are_put_into_the_file_and_found_by_name(copied, tmp_path):
    path = tmp_path / "digests.json"
    config = resolve_config("formal_languages", "small").to_dict()
    digits = config_digest(config)
    for arithmetic, contents in (("fma-1", "0" * 16), ("fma-1", "1" * 16), ("fma-cuda-1", "2" * 16)):
        digest = str(ZooDigest(arithmetic, digits, contents))
        change_manifest(copied, config=config, arithmetic=arithmetic, digest=digest)
        digests.main([str(copied), "--file", str(path)])
        assert named.name_of_zoo(digest, path) == "formal_languages at preset small"
    kept = [str(ZooDigest("fma-1", digits, "1" * 16)), str(ZooDigest("fma-cuda-1", digits, "2" * 16))]
    assert json.loads(path.read_text()) == {"formal_languages": {"small": kept}}
    for arithmetic, digits_of, message in (
        ("torch-cpu", digits, "expected one that begins with fma-"),
        ("fma-1", "0" * 8, "a config that no preset has"),
    ):
        digest = str(ZooDigest(arithmetic, digits_of, "0" * 16))
        change_manifest(copied, arithmetic=arithmetic, digest=digest)
        with pytest.raises(RnnzooError, match=message):
            digests.add_digest(read_manifest(copied), path)
    path.write_text(json.dumps({"formal_languages": {"smoke": kept}}))
    with pytest.raises(RnnzooError, match=r"smoke: found fma-1-.*, expected the config's digits"):
        named.known_digests(path)


def committed(preset):
    """The committed zoos at a preset."""
    return [zoo for zoo, presets in named.known_digests().items() if preset in presets]


def fma_digest(zoo, preset):
    return next(digest for digest in named.known_digests()[zoo][preset] if digest.startswith("fma-1-"))


@pytest.mark.parametrize(("zoo", "digest"), digests.tiny_digests().items())
def test_a_tiny_zoo_built_here_has_the_committed_digest(zoo, digest):
    assert ZooDigest.parse(digest).config == config_digest(digests.tiny_config(zoo).to_dict())
    try:
        manifest = digests.build_tiny(zoo)
    except RnnzooError as error:
        pytest.skip(str(error))
    assert manifest.digest == digest


@pytest.mark.slow
@pytest.mark.parametrize("zoo", committed("smoke"))
def test_a_smoke_zoo_built_here_has_the_committed_digest(zoo, tmp_path):
    from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
    from rnnzoo.zoo_builder.training.kernels import choose_kernel

    config = resolve_config(zoo, "smoke")
    try:
        kernel = choose_kernel(config.spec, config.encoding, "cpu", "fused")
        manifest = build_zoo(config, tmp_path / "zoo", kernel, Unwatched())
    except RnnzooError as error:
        pytest.skip(str(error))
    assert manifest.digest == fma_digest(zoo, "smoke")

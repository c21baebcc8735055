"""`load_zoo` and `Zoo` from the hub: the same rows as from the folder, whatever goes wrong on the way."""

import json
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from hypothesis import given
from hypothesis import strategies as st
from loopback_hub import READ_TOKEN, LoopbackHub
from torch.utils.data import DataLoader

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.reading import read_ahead
from rnnzoo.loaders.source import retries
from rnnzoo.loaders.source.hub import HubSource
from rnnzoo.loaders.source.ranges import FREE_GAPS, WIDEST_GAP, join_ranges
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.reference import find_reference

SHARD = "weights/train-00001-of-00004.safetensors"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub that this process, and those that it starts, take for the only one; and an empty cache."""
    with LoopbackHub() as hub:
        hub.take_over(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)
        yield hub


@pytest.fixture
def zoo_hub(hub, language_zoo):
    """A hub with the zoo of languages as org/zoo."""
    hub.add_folder("org/zoo", language_zoo, tags=["v1.0.0"])
    return hub


def ids(rows):
    return [row["checkpoint_id"] for row in rows]


def assert_same(found, expected):
    found, expected = list(found), list(expected)
    assert ids(found) == ids(expected)
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys()
        for name in row:
            if torch.is_tensor(row[name]):
                assert torch.equal(row[name].nan_to_num(), other[name].nan_to_num())


# --- the same rows


@pytest.mark.parametrize("streaming", [False, True])
def test_rows(zoo_hub, language_zoo, streaming):
    found = load_zoo("org/zoo", streaming=streaming, rollouts=True)
    expected = load_zoo(language_zoo, rollouts=True)
    assert list(found) == list(expected)
    for split in expected:
        assert_same(found[split], expected[split])
    filters = [("accuracy", "<", 0.5), ("step", "in", [0, 100])]
    options = {"filters": filters, "tensors": ["head.bias", "lstm.weight_hh_l0"], "columns": ["checkpoint_id"]}
    assert_same(
        load_zoo("org/zoo", "train", streaming=streaming, **options), load_zoo(language_zoo, "train", **options)
    )


def test_no_row_matches(zoo_hub):
    for streaming in (False, True):
        assert not list(load_zoo("org/zoo", "train", streaming=streaming, filters=[("step", "==", 7)]))


def test_labels_stream(hub, digits_zoo):
    """Rollouts that several checkpoints share."""
    hub.add_folder("org/digits", digits_zoo, tags=["v1.0.0"])
    options = {"rollouts": True, "tensors": ["head.bias"], "filters": [("step", "!=", 40)]}
    assert_same(
        load_zoo("org/digits", "train", streaming=True, **options), load_zoo(digits_zoo, "train", **options)
    )


def test_zoo(zoo_hub, language_zoo):
    zoo, local = Zoo("org/zoo"), Zoo(language_zoo)
    assert "in org/zoo at v1.0.0" in repr(zoo)
    order = [30, 2, 17]
    assert torch.equal(zoo.flat(order), local.flat(order))
    assert torch.equal(zoo.rollouts(order)[1], local.rollouts(order)[1])


def test_shuffled_nodes_and_epochs(zoo_hub):
    stream = load_zoo("org/zoo", "train", streaming=True, tensors=["head.bias"])
    assert stream.n_shards == 4
    whole = {row["checkpoint_id"]: row["head.bias"] for row in stream}
    shuffled = stream.shuffle(seed=0, buffer_size=5)
    orders = []
    for epoch in (0, 1, 1):
        shuffled.set_epoch(epoch)
        rows = list(shuffled)
        assert all(torch.equal(row["head.bias"], whole[row["checkpoint_id"]]) for row in rows)
        orders.append(ids(rows))
    assert orders[0] != orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(whole)
    parts = [ids(split_dataset_by_node(stream, rank, 2)) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers(zoo_hub, start):
    stream = load_zoo("org/zoo", "train", streaming=True)
    whole = ids(stream)
    loader = DataLoader(stream, batch_size=5, num_workers=2, multiprocessing_context=start)
    assert sorted(name for batch in loader for name in batch["checkpoint_id"]) == sorted(whole)


def test_resume(zoo_hub):
    def stream():
        return load_zoo("org/zoo", "train", streaming=True, tensors=["head.bias"])

    whole = ids(stream())
    for stop in (1, 5, 6, 7, 23):
        first, second = stream(), stream()
        seen = ids(row for _, row in zip(range(stop), first, strict=False))
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert seen + ids(second) == whole


# --- only what is needed


def test_readers_of_a_shuffled_stream_share_what_is_asked_for_ahead(zoo_hub, monkeypatch):
    for constant in ("BLOCK_ROWS", "WINDOW_BYTES"):
        monkeypatch.setattr(read_ahead, constant, 1)  # windows of one row
    stream = load_zoo("org/zoo", "train", streaming=True)
    row_bytes = sum(tensor.nbytes for tensor in next(iter(stream)).values() if torch.is_tensor(tensor))
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 4 * row_bytes)
    rows = iter(stream.shuffle(seed=0, buffer_size=2))
    for _ in range(4):
        next(rows)
        windows = [len(reader._windows) for reader in read_ahead.ReadAhead._all]
        assert len(windows) <= 4
        assert sum(windows) <= 4 + len(windows)
    rows.close()
    assert not len(read_ahead.ReadAhead._all)


def test_map_style_downloads_the_shards_that_match(zoo_hub):
    step = load_zoo("org/zoo", "train", columns=["run_id"], tensors=[])
    assert not zoo_hub.requests("weights")
    load_zoo("org/zoo", "train", filters=[("run_id", "==", step[0]["run_id"])])
    assert len({request.path for request in zoo_hub.requests("GET .*weights|GET /lfs/")}) <= 3  # with zoo.json
    assert not zoo_hub.requests("resolve.*/rollouts")
    assert {request.path.rpartition("/")[2] for request in zoo_hub.requests("HEAD.*/weights")} == {
        "train-00000-of-00004.safetensors"
    }
    zoo_hub.log.clear()
    load_zoo("org/zoo", "train", filters=[("run_id", "==", step[0]["run_id"])])
    assert not zoo_hub.requests("/weights|/lfs/")


def test_stream_reads_ranges(zoo_hub, language_zoo):
    load_zoo("org/zoo", "train", columns=["step"], tensors=[])  # the metadata, into the cache
    zoo_hub.log.clear()
    list(load_zoo("org/zoo", "train", streaming=True, tensors=["lstm.weight_hh_l0"], filters=[("step", "==", 0)]))
    own = 8 * 4 * 128 * 32
    assert own <= zoo_hub.bytes_sent("GET /lfs/") <= 3 * own
    assert all(request.status == 206 for request in zoo_hub.requests("GET /lfs/"))
    whole = (language_zoo / SHARD).stat().st_size
    assert max(request.sent for request in zoo_hub.requests("GET /lfs/")) < whole / 2


def test_stream_of_a_cached_shard_reads_the_cache(zoo_hub):
    load_zoo("org/zoo", "train")
    zoo_hub.log.clear()
    assert len(list(load_zoo("org/zoo", "train", streaming=True))) == 24
    assert not zoo_hub.requests("/lfs/|/weights/")


def test_the_token_goes_to_the_hub_only(zoo_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    list(load_zoo("org/zoo", "train", streaming=True))
    load_zoo("org/zoo", "train")
    assert all(request.authorized for request in zoo_hub.requests("/api/|/resolve/"))
    assert not any(request.authorized for request in zoo_hub.requests("/lfs/"))


@given(st.lists(st.integers(1, 300_000), min_size=2, max_size=20))
def test_joined_ranges(lengths):
    edges = np.cumsum(lengths[: len(lengths) // 2 * 2])
    ranges = np.stack([edges[::2], edges[1::2]], axis=1)
    joined = join_ranges(ranges)
    wanted, read = np.diff(ranges).sum(), np.diff(joined).sum()
    assert wanted <= read <= wanted + max(wanted, FREE_GAPS)
    assert (joined[1:, 0] > joined[:-1, 1]).all()
    for start, end in ranges:
        assert ((joined[:, 0] <= start) & (end <= joined[:, 1])).sum() == 1
    far = np.array([[0, 8 * WIDEST_GAP], [10 * WIDEST_GAP, 18 * WIDEST_GAP]])
    assert len(join_ranges(far)) == 2


# --- revisions


def test_newest_fitting_tag(zoo_hub, language_zoo):
    repository = zoo_hub.repositories["datasets", "org/zoo"]
    old = repository.tags["v1.0.0"]
    new = repository.commit("main", dict(repository.commits[old]), "again")
    repository.tags |= {"v1.10.0": new, "v1.9.3": old, "v2.0.0": old, "v1.11.0-rc1": old, "latest": old}
    zoo = HubSource.open("org/zoo", None, "files")
    assert (zoo.repository.revision, zoo.repository.commit) == ("v1.10.0", new)
    for revision, commit in [("v1.0.0", old), ("main", new), (old, old)]:
        assert HubSource.open("org/zoo", revision, "files").repository.commit == commit


def test_a_stream_stays_at_its_commit(zoo_hub, tmp_path, digits_zoo):
    stream = load_zoo("org/zoo", "train", streaming=True)
    expected = ids(stream)
    repository = zoo_hub.repositories["datasets", "org/zoo"]
    repository.tags["v1.0.0"] = repository.commit("main", {}, "everything deleted")
    assert ids(stream) == expected


@pytest.mark.parametrize(
    ("tags", "listed"), [([], "no tags"), (["v2.0.0", "v0.9.0", "nightly"], "the tags nightly, v0.9.0")]
)
def test_no_fitting_tag(hub, language_zoo, tags, listed):
    hub.add_folder("org/zoo", language_zoo, tags=tags)
    with pytest.raises(RnnzooError, match=f"org/zoo: found {listed}.*expected one of format version 1"):
        load_zoo("org/zoo")
    assert len(load_zoo("org/zoo", "test", revision="main")) == 3
    assert len(load_zoo("org/zoo@main", "test")) == Zoo("org/zoo@main").splits["test"].checkpoints == 3


def test_bad_revisions(zoo_hub, language_zoo):
    with pytest.raises(RnnzooError, match="found no revision 'v7'"):
        load_zoo("org/zoo", revision="v7")
    with pytest.raises(RnnzooError, match=r"revision: found '\.\./\.\./x', expected a tag"):
        load_zoo("org/zoo", revision="../../x")
    with pytest.raises(RnnzooError, match=r"revision: found 'v1.0.0' for the folder .*, expected None"):
        Zoo(language_zoo, revision="v1.0.0")


def test_a_format_from_the_future(hub, copied):
    manifest = json.loads((copied / "zoo.json").read_text())
    (copied / "zoo.json").write_text(json.dumps(manifest | {"format_version": 2}))
    hub.add_folder("org/zoo", copied)
    with pytest.raises(RnnzooError, match=r"org/zoo at main: zoo\.json: format_version: found 2, expected 1"):
        load_zoo("org/zoo", revision="main")


# --- offline


def test_offline(zoo_hub, language_zoo, monkeypatch):
    load_zoo("org/zoo", "train")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    zoo_hub.log.clear()
    for streaming in (False, True):
        assert_same(load_zoo("org/zoo", "train", streaming=streaming), load_zoo(language_zoo, "train"))
        assert len(load_zoo("org/zoo", "train", revision="v1.0.0")) == 24
        with pytest.raises(RnnzooError, match=r"metadata/test\.parquet: not in the cache.*"):
            load_zoo("org/zoo", "test", streaming=streaming)
    with pytest.raises(RnnzooError, match=r"not in the cache, and offline mode is on.*the cache has v1.0.0"):
        load_zoo("org/zoo", revision="v3")
    with pytest.raises(RnnzooError, match=r"org/other: .*offline mode is on.*no revision of it"):
        load_zoo("org/other")
    assert not zoo_hub.log


def test_a_commit_is_read_offline(zoo_hub, language_zoo, monkeypatch):
    commit = HubSource.open("org/zoo", "v1.0.0", "files").repository.commit
    load_zoo("org/zoo", "train", revision=commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_same(load_zoo("org/zoo", "train", revision=commit), load_zoo(language_zoo, "train"))


def test_no_network(zoo_hub, language_zoo, monkeypatch):
    load_zoo("org/zoo", "train")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert_same(load_zoo("org/zoo", "train"), load_zoo(language_zoo, "train"))
    with pytest.raises(RnnzooError, match=r"org/other: .*the hub cannot be reached"):
        load_zoo("org/other")


# --- faults that pass


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "retry_after": 0},
        {"status": 503, "retry_after": 0},
        {"status": 500},
        {"cut_after": 10},
    ],
)
def test_a_stream_survives(zoo_hub, language_zoo, fault):
    stream = load_zoo("org/zoo", "train", streaming=True)
    zoo_hub.fault("GET /lfs/", times=3, **fault)
    if "status" in fault:
        zoo_hub.fault(f"GET .*/resolve/.*/{SHARD}", times=1, **fault)
    assert_same(stream, load_zoo(language_zoo, "train"))
    assert all(planned.times == 0 for planned in zoo_hub.faults)


@pytest.mark.parametrize("tensors", [None, ["head.bias"], []])
@pytest.mark.parametrize("check", ["files", "rows", "off"])
def test_a_bit_flipped_on_the_way_is_an_error_unless_nothing_is_checked(zoo_hub, check, tensors):
    """Of ranges no hash of a file can tell."""
    options = {"streaming": True, "tensors": tensors, "rollouts": not tensors, "check": check}
    stream = load_zoo("org/zoo", "train", **options)
    count = len(list(stream))
    files = r"GET .*(/lfs/|\.safetensors)"
    zoo_hub.fault(files, times=None, change=lambda piece: piece[:-1] + bytes([piece[-1] ^ 1]))
    if check == "off":
        assert len(list(stream)) == count
        return
    with pytest.raises(RnnzooError, match=r"org/zoo at v1\.0\.0: .* of row .*: found sha256"):
        list(stream)


def test_opening_survives(zoo_hub, language_zoo):
    zoo_hub.fault("GET /api/.*/refs", status=503, retry_after=0)
    zoo_hub.fault(r"GET .*zoo\.json", status=503, retry_after=0)
    zoo_hub.fault("GET /lfs/", status=503, retry_after=0)
    assert_same(load_zoo("org/zoo", "train"), load_zoo(language_zoo, "train"))
    assert all(planned.times == 0 for planned in zoo_hub.faults)


@pytest.mark.slow
def test_a_download_cut_in_the_middle(zoo_hub, language_zoo):
    zoo_hub.fault("GET /lfs/", cut_after=5000)
    assert_same(load_zoo("org/zoo", "train"), load_zoo(language_zoo, "train"))
    paths = [request.path for request in zoo_hub.requests("GET /lfs/")]
    assert len(paths) == len(set(paths)) + 1


def test_an_expired_address_is_asked_for_again(zoo_hub, language_zoo):
    file = HubSource.open("org/zoo", None, "files").remote_file(SHARD)
    content = (language_zoo / SHARD).read_bytes()
    assert file.read(0, 100) == content[:100]
    zoo_hub.fault("GET /lfs/", status=403)
    assert file.read(50, 200) == content[50:200]
    assert len(zoo_hub.requests("GET .*/resolve/.*safetensors")) == 2


def test_retry_after_is_honoured(zoo_hub, monkeypatch):
    waits = []
    monkeypatch.setattr(retries.time, "sleep", waits.append)
    zoo_hub.fault("GET /api/.*/refs", status=429, retry_after=7)
    zoo_hub.fault("GET /api/.*/refs", times=2, status=503)
    HubSource.open("org/zoo", None, "files")
    assert [wait for wait in waits if wait] == [7, 0.02, 0.04]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"RateLimit": '"api";r=0;t=55'}, 55),
        (429, {"RateLimit": '"api";r=3;t=55'}, retries.FIRST_WAIT),  # not what the answer is about
        (429, {"RateLimit": '"api";r=0;t=9000'}, retries.LONGEST_WAIT),
        (503, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, retries.FIRST_WAIT),
        (404, {"Retry-After": "7"}, None),
    ],
)
def test_how_long_the_hub_wants_one_to_wait(status, headers, expected):
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", "http://hub"))
    assert retries.wait_after(HfHubHTTPError("", response=response), attempt=1) == expected


# --- faults that stay


def test_a_hub_that_stays_away(zoo_hub):
    stream = load_zoo("org/zoo", "train", streaming=True)
    zoo_hub.fault("GET .*/resolve/", times=None, status=503, retry_after=0)
    with pytest.raises(
        RnnzooError, match=r"weights/train-\d{5}-of-00004.safetensors: the hub answered with status 503"
    ):
        list(stream)


@pytest.mark.parametrize("header", ["X-Repo-Commit", "ETag"])
def test_a_proxy_that_drops_headers(zoo_hub, header):
    zoo_hub.fault("/resolve/", times=None, without=(header, "X-Linked-ETag"))
    with pytest.raises(RnnzooError, match=r"org/zoo at v1.0.0: zoo.json: found an answer without what .*a proxy"):
        load_zoo("org/zoo", "train")
    with pytest.raises(RnnzooError, match=r"org/zoo: zoo.json: found an answer without what .*a proxy"):
        find_reference("org/zoo")


@pytest.mark.parametrize("answer", [b"<html>Please log in</html>", b"[]", b"{}", b"\xff"])
@pytest.mark.parametrize("revision", [None, "v1.0.0"])
def test_a_proxy_that_answers_itself(zoo_hub, answer, revision):
    zoo_hub.fault("GET /api/", times=None, change=lambda right: answer)
    with pytest.raises(RnnzooError, match=r"org/zoo: its revisions: found an answer that is none of the hub's"):
        load_zoo("org/zoo", "train", revision=revision)


def test_a_repository_that_disappears(zoo_hub):
    stream = load_zoo("org/zoo", "train", streaming=True)
    zoo_hub.remove("org/zoo")
    with pytest.raises(
        RnnzooError, match=r"org/zoo at v1\.0\.0: weights/train-.*found no such dataset repository"
    ):
        list(stream)


def test_wrong_bytes_do_not_stay_in_the_cache(zoo_hub, language_zoo):
    sha256 = zoo_hub.repositories["datasets", "org/zoo"].commits.popitem()[1][SHARD].sha256
    zoo_hub.remove("org/zoo")
    zoo_hub.add_folder("org/zoo", language_zoo, tags=["v1.0.0"])
    zoo_hub.fault(f"GET /lfs/{sha256}", change=lambda content: content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        RnnzooError, match=f"org/zoo at v1.0.0: {SHARD}: found sha256 .*, expected {sha256} by zoo.json"
    ):
        load_zoo("org/zoo", "train")
    assert_same(load_zoo("org/zoo", "train"), load_zoo(language_zoo, "train"))


@pytest.mark.parametrize("streaming", [False, True])
def test_what_was_damaged_in_the_cache_is_read_again(zoo_hub, language_zoo, streaming, caplog):
    expected = load_zoo(language_zoo, "train")
    load_zoo("org/zoo", "train")
    for name in (SHARD, "metadata/train.parquet"):
        (cached,) = Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{name}")
        content = cached.read_bytes()
        cached.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert_same(load_zoo("org/zoo", "train", streaming=streaming), expected)
    assert caplog.text.count("is read from the hub again") == 2


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("how", ["longer", "other", "missing"])
def test_a_hub_that_does_not_match_its_manifest(hub, copied, streaming, how):
    content = (copied / SHARD).read_bytes()
    if how == "missing":
        (copied / SHARD).unlink()
    else:
        (copied / SHARD).write_bytes(content + b"\0" if how == "longer" else content[:-1] + b"?")
    hub.add_folder("org/zoo", copied, tags=["v1.0.0"])
    message = {
        "longer": f"{SHARD}: found {len(content) + 1} bytes.*, expected {len(content)} by zoo.json",
        "other": f"{SHARD}: found sha256 .*, expected .* by zoo.json",
        "missing": f"{SHARD}: this file is missing on the hub",
    }[how]
    with pytest.raises(RnnzooError, match=message):
        list(load_zoo("org/zoo", "train", streaming=streaming))


def test_metadata_that_do_not_match(hub, copied):
    with open(copied / "metadata" / "train.parquet", "ab") as file:
        file.write(b"x")
    hub.add_folder("org/zoo", copied, tags=["v1.0.0"])
    with pytest.raises(RnnzooError, match=r"metadata/train\.parquet: found \d+ bytes, expected \d+ by zoo\.json"):
        load_zoo("org/zoo", "train", streaming=True)


# --- who may read what


def test_access(hub, language_zoo, monkeypatch):
    hub.add_folder("org/private", language_zoo, tags=["v1.0.0"], private=True)
    hub.add_folder("org/gated", language_zoo, tags=["v1.0.0"], gated=True)
    with pytest.raises(
        RnnzooError, match=r"org/private: .*found no such dataset repository.*if it is private, log in"
    ):
        load_zoo("org/private", "test")
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert len(list(load_zoo("org/private", "test", streaming=True))) == 3
    with pytest.raises(RnnzooError, match=r"org/gated: .*access is gated"):
        load_zoo("org/gated", "test")
    monkeypatch.setenv("HF_TOKEN", "hf_thisIsNoToken")
    with pytest.raises(RnnzooError, match=r"org/gated: .*status 401: the token has no right") as caught:
        load_zoo("org/gated", "test")
    assert "hf_thisIsNoToken" not in str(caught.value)


def test_no_such_repository(hub):
    hub.create("org/model", kind="models")
    with pytest.raises(RnnzooError, match="org/model: found a model repository on the hub, expected a dataset"):
        load_zoo("org/model")
    with pytest.raises(
        RnnzooError, match=r"org/nothing: .*no such dataset repository.*there is no such folder here"
    ):
        load_zoo("org/nothing")
    empty = hub.create("org/empty")
    empty.tags["v1.0.0"] = empty.branches["main"]
    with pytest.raises(RnnzooError, match=r"org/empty at v1\.0\.0: zoo\.json: this file is missing on the hub"):
        load_zoo("org/empty")


def test_bad_arguments(zoo_hub):
    for streaming in (False, True):
        with pytest.raises(RnnzooError, match=r"tensors: found 'lstm.weight'"):
            load_zoo("org/zoo", "train", tensors=["lstm.weight"], streaming=streaming)
        with pytest.raises(TypeError, match="unexpected keyword argument 'shuffle'"):
            load_zoo("org/zoo", "train", shuffle=True, streaming=streaming)


def test_a_download_that_is_stopped_is_left_at_once(zoo_hub, monkeypatch):
    """What is under way goes on by itself; nothing more is begun."""
    begun, going_on = [], threading.Event()
    names = [f"weights/{number}" for number in range(40)]

    def download(self, name):
        begun.append(name)
        if name == names[0]:
            raise KeyboardInterrupt
        going_on.wait(60)

    monkeypatch.setattr(HubSource, "_download_file", download)
    try:
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            HubSource.open("org/zoo", None, "files")._download(names)
        assert time.monotonic() - start < 30
        assert len(begun) < len(names)
    finally:
        going_on.set()

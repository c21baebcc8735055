"""Parts of a build: the last one to end finishes the zoo, or a merge does, whatever became of some files."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tiny_builds import Watcher, contents, tiny_config

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan
from rnnzoo.zoo_builder.pipeline import merge as merging
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.merge import config_of_parts, merge_parts
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.shard.record import record_path, rows_file
from rnnzoo.zoo_builder.training.kernels import TorchKernel

CONFIG = tiny_config()
PLAN = ZooPlan(CONFIG, CONFIG.make_family())


def build_part(folder, part, watcher=None):
    return build_plan(PLAN, folder, InProcess(TorchKernel(), 120), watcher or Watcher(), Part.parse(part))


def merge(folders, out):
    config_of_parts(folders)
    return merge_parts(PLAN, folders, out, placed=lambda: None)


@pytest.fixture
def plain(undisturbed):
    return undisturbed(CONFIG)


@pytest.fixture(scope="module")
def built_parts(tmp_path_factory):
    home = tmp_path_factory.mktemp("parts")
    folders = [home / "first", home / "second"]
    for number, folder in enumerate(folders, start=1):
        assert build_part(folder, f"{number}/2") is None
    return folders


@pytest.fixture
def parts(built_parts, tmp_path):
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in built_parts]


def test_every_shard_is_in_one_part():
    for count in (1, 2, 3, 100):
        chosen = [shard for number in range(count) for shard in Part(number + 1, count).choose(PLAN.shards)]
        assert sorted(shard.name for shard in chosen) == sorted(shard.name for shard in PLAN.shards)


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "-1/2", "1/2/3", "a/b", "1 / 2", "1/2\n"])
def test_what_is_no_part(text):
    with pytest.raises(RnnzooError, match=r"part: found .* expected i/n"):
        Part.parse(text)


def test_the_last_part_in_a_shared_folder_finishes_the_zoo(plain, tmp_path):
    watchers = [Watcher(), Watcher()]
    assert build_part(tmp_path / "zoo", "2/2", watchers[0]) is None
    assert build_part(tmp_path / "zoo", "1/2", watchers[1]) is not None
    assert contents(tmp_path / "zoo") == contents(plain)
    assert sum(watcher.runs for watcher in watchers) == 7
    assert sum(watcher.model_steps for watcher in watchers) == 7 * CONFIG.steps


def test_a_part_goes_on_where_it_stopped(plain, parts, tmp_path):
    shutil.rmtree(parts[0])
    with pytest.raises(Interrupted):
        build_part(parts[0], "1/2", Watcher(1))
    assert build_part(parts[0], "1/2") is None
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


@pytest.mark.parametrize("linked", [True, False])
def test_merged_parts_are_the_zoo_and_keep_their_own_files(linked, plain, parts, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("another disk")

    if not linked:
        monkeypatch.setattr(os, "link", no_links)
    before = [contents(folder) for folder in parts]
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)
    assert [contents(folder) for folder in parts] == before
    weights = next((tmp_path / "zoo/weights").iterdir())
    assert (weights.stat().st_nlink == 2) == linked
    merge(parts, tmp_path / "zoo")  # once more changes nothing
    assert contents(tmp_path / "zoo") == contents(plain)


def test_parts_may_be_merged_into_the_folder_of_one_of_them(plain, parts):
    merge(parts, parts[1])
    assert contents(parts[1]) == contents(plain)


def test_a_merge_can_be_repeated_into_the_folder_of_a_part_and_then_elsewhere(plain, parts, tmp_path):
    """The first part became the finished zoo, and counts as all of it."""
    for out in (parts[0], parts[0], tmp_path / "elsewhere", tmp_path / "elsewhere", parts[1]):
        merge(parts, out)
        assert contents(out) == contents(plain)


def test_a_finished_zoo_alone_is_a_part(plain, tmp_path):
    merge([plain], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_a_finished_zoo_of_more_shards_than_files_may_be_open_is_a_part(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "locks_at_once", lambda: 2)
    monkeypatch.setattr(merging, "_take_whole", None)
    merge([plain], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_every_file_of_a_finished_zoo_is_placed_once(plain, tmp_path, monkeypatch):
    placed = []

    def place(source, target):
        placed.append(source)
        return really_place(source, target)

    really_place = merging._place
    monkeypatch.setattr(merging, "_place", place)
    merge([plain], tmp_path / "zoo")
    assert sorted(placed) == sorted(path for path in plain.rglob("*") if path.is_file())
    assert placed[-1].name == "zoo.json"


def test_a_finished_zoo_of_another_config_is_no_part(parts, tmp_path):
    other = replace(CONFIG, seed=7)
    build_plan(ZooPlan(other, other.make_family()), tmp_path / "other", InProcess(TorchKernel(), 0), Watcher())
    for folders in ([*parts, tmp_path / "other"], [tmp_path / "other", *parts]):
        with pytest.raises(RnnzooError, match=r"seed is . there, . was asked for"):
            merge(folders, tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("file", ["weights", "rollouts", "metadata", "splits.json"])
def test_of_a_damaged_zoo_the_sound_shards_are_merged(file, plain, tmp_path):
    """What is broken is named, and is all that a build has to train; a split's metadata stand for its shards."""
    zoo = shutil.copytree(plain, tmp_path / "damaged")
    shard = PLAN.shards[0]
    victim = {"metadata": f"metadata/{shard.split}.parquet"}.get(file, f"{file}/{shard.name}.safetensors")
    damage(zoo / (file if file.endswith("json") else victim), "a flipped bit")
    broken = {"metadata": PLAN.shards_of(shard.split), "splits.json": []}.get(file, [shard])
    before = contents(zoo)
    out = tmp_path / "zoo"
    if broken:
        with pytest.raises(RnnzooError, match=f"{len(broken)} of the zoo's shards .* {zoo / victim}: found sha"):
            merge([zoo], out)
        assert sorted(path.stem for path in (out / "weights").iterdir()) == sorted(
            shard.name for shard in PLAN.shards if shard not in broken
        )
    watcher = Watcher()
    build_plan(PLAN, out, InProcess(TorchKernel(), 120), watcher) if broken else merge([zoo], out)
    assert watcher.trained == sum(len(shard.runs) for shard in broken) * CONFIG.steps
    assert contents(out) == contents(plain)
    assert contents(zoo) == before


def test_damaged_zoos_mend_each_other(plain, tmp_path):
    first, second = (shutil.copytree(plain, tmp_path / name) for name in ("first", "second"))
    damage(first / f"weights/{PLAN.shards[0].name}.safetensors", "removed")
    damage(second / f"weights/{PLAN.shards[-1].name}.safetensors", "truncated")
    merge([first, second], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_a_sound_zoo_is_taken_before_a_damaged_one(plain, tmp_path):
    zoo = shutil.copytree(plain, tmp_path / "damaged")
    damage(next((zoo / "weights").iterdir()), "removed")
    merge([zoo, plain], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "removed":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["a flipped bit", "truncated", "removed"])
@pytest.mark.parametrize("kind", ["weights", "rollouts", "rows", "record"])
def test_a_shard_damaged_before_the_merge(how, kind, plain, parts, tmp_path):
    """It is named, the others are kept; a sound copy elsewhere, or the command of its part again, mends it."""
    shard = PLAN.shards[0]
    victims = {"record": record_path(parts[0], shard), "rows": parts[0] / rows_file(shard)}
    victim = victims.get(kind, parts[0] / f"{kind}/{shard.name}.safetensors")
    copy = shutil.copytree(parts[0], tmp_path / "copy")
    damage(victim, how)

    with pytest.raises(RnnzooError) as error:
        merge(parts, tmp_path / "zoo")
    assert "1 of the zoo's shards" in str(error.value)
    missing = how == "removed" and kind == "record"
    assert ("missing" if missing else "broken") + ": " in str(error.value)
    assert (shard.name if missing else str(victim)) in str(error.value)
    assert all(record_path(tmp_path / "zoo", other).exists() for other in PLAN.shards[1:])

    mended = shutil.copytree(tmp_path / "zoo", tmp_path / "mended")
    merge([*parts, copy], mended)
    assert contents(mended) == contents(plain)

    watcher = Watcher()
    assert build_part(parts[0], "1/2", watcher) is None
    assert watcher.trained == len(shard.runs) * CONFIG.steps
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_a_merge_that_is_stopped_goes_on(plain, parts, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_parts(PLAN, parts, tmp_path / "zoo", placed=stop)
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_what_is_no_part_of_the_same_zoo_is_refused(plain, parts, tmp_path):
    (tmp_path / "empty").mkdir()
    other = replace(CONFIG, seed=7)
    build_plan(
        ZooPlan(other, other.make_family()),
        tmp_path / "other",
        InProcess(TorchKernel(), 0),
        Watcher(),
        Part(1, 9),
    )
    for folder, words in (
        (tmp_path / "empty", r"expected a part of a zoo, found no .build/plan.json in it"),
        (tmp_path / "other", "seed is 7 there, 0 was asked for"),
    ):
        with pytest.raises(RnnzooError, match=words):
            merge([*parts, folder], tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_name_that_leads_elsewhere_is_not_followed(parts, tmp_path):
    shard = PLAN.shards[0]
    secret = tmp_path / "secret"
    weights = parts[0] / f"weights/{shard.name}.safetensors"
    shutil.move(weights, secret)
    weights.symlink_to(secret)
    with pytest.raises(RnnzooError, match="leads out of its folder"):
        merge(parts, tmp_path / "zoo")


def test_of_a_linked_file_the_content_is_merged(plain, parts, tmp_path):
    file = next((parts[0] / "weights").iterdir())
    (parts[0] / "store").mkdir()
    file.rename(parts[0] / "store" / file.name)
    file.symlink_to(f"../store/{file.name}")
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(plain)


def test_merges_at_the_same_time_do_no_harm(parts, plain, tmp_path):
    """In one process, so with one host name and process id, as containers have them."""
    before = [contents(part) for part in parts]
    for number in range(3):
        out, start = tmp_path / f"out-{number}", threading.Barrier(4)

        def merge_at_once(_, out=out, start=start):
            start.wait()
            return merge(parts, out)

        with ThreadPoolExecutor(4) as pool:
            manifests = list(pool.map(merge_at_once, range(4)))
        assert len({manifest.digest for manifest in manifests}) == 1
        assert contents(out) == contents(plain)
    assert [contents(part) for part in parts] == before

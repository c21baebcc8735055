"""What readers compare with hashes: damage to any file of a zoo is an error and never another value."""

import os
import random
import re
import shutil
import stat

import pytest

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.source import checked
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.shards import read_header

FILES = {
    "weights": "weights/train-00000-of-00004.safetensors",
    "rollouts": "rollouts/train-00000-of-00004.safetensors",
    "metadata": "metadata/train.parquet",
}
FLIPS = 5


def rows_of_zoo(folder, check):
    zoo = Zoo(folder, check=check)
    everything = range(len(zoo))
    zoo.batch(everything)
    zoo.rollouts(everything)


READS = {
    "map-style": lambda folder, check: load_zoo(folder, "train", rollouts=True, check=check)[:],
    "a stream": lambda folder, check: list(load_zoo(folder, "train", rollouts=True, streaming=True, check=check)),
    "Zoo": rows_of_zoo,
}


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("check", ["files", "rows"])
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_an_error(copied, name, check, read):
    chance, path = random.Random(f"{name}{check}{read}"), copied / FILES[name]
    READS[read](copied, check)
    sound = path.read_bytes()
    begin = len(sound) // 2 if check == "rows" and name != "metadata" else 0  # headers have no rows
    for _ in range(FLIPS):
        flip(path, chance.randrange(begin, len(sound)), chance.randrange(8))
        with pytest.raises(RnnzooError, match=path.name):
            READS[read](copied, check)
        path.write_bytes(sound)
    READS[read](copied, check)


def test_off_is_off(copied):
    for name in ("weights", "rollouts"):
        flip(copied / FILES[name], -1)
    for read in READS.values():
        read(copied, "off")
    with pytest.raises(RnnzooError, match="check: found 'on', expected one of files, rows, off"):
        load_zoo(copied, check="on")


@pytest.mark.parametrize("tensor", ["inputs", "labels"])
def test_rollouts_that_no_rnn_can_read_are_told_by_their_file(digits_zoo, language_zoo, tmp_path, tensor):
    """Nothing is compared with hashes here; the second of the files that are read is the damaged one."""
    zoo = shutil.copytree(digits_zoo if tensor == "labels" else language_zoo, tmp_path / "zoo")
    name = "rollouts/train-00001-of-00004.safetensors"
    extent = read_header(zoo / name).extents[tensor]
    flip(zoo / name, extent.offset + extent.row_bytes - 1, bit=7)
    with pytest.raises(RnnzooError, match=f"^{re.escape(str(zoo / name))}: {tensor}: found "):
        Zoo(zoo, check="off").rollout_tensor(tensor, range(24))


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_not_wanted_is_not_looked_at_by_rows(copied, streaming):
    path = copied / FILES["weights"]
    extent = read_header(path).extents["head.bias"]
    flip(path, extent.offset + 3 * extent.row_bytes)
    damaged = Zoo(copied).metadata["checkpoint_id"][3].as_py()

    def read(**options):
        return len(list(load_zoo(copied, "train", streaming=streaming, check="rows", **options)))

    others = read(filters=[("checkpoint_id", "!=", damaged)])
    assert read(tensors=["lstm.weight_hh_l0", "lstm.bias_ih_l1"]) == others + 1
    for options in ({}, {"tensors": ["head.bias"]}, {"filters": [("checkpoint_id", "==", damaged)]}):
        with pytest.raises(RnnzooError, match=f"{FILES['weights']}: head.bias of row 3: found sha256"):
            read(**options)


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The files that are hashed from now on; what is known of them is kept in an empty folder."""
    hashed = []

    def file_sha256(path):
        hashed.append(path.name)
        return checked_sha256(path)

    checked_sha256 = checked.file_sha256
    monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(checked, "file_sha256", file_sha256)
    monkeypatch.setattr(checked, "WORTH_KEEPING", 0)
    checked.checked_files.cache_clear()
    yield hashed
    checked.checked_files.cache_clear()


def forget_process():
    """As in a new process."""
    checked.checked_files.cache_clear()


def test_a_file_is_hashed_once(copied, memory, tmp_path):
    load_zoo(copied, "train", rollouts=True)
    assert sorted(set(memory)) == sorted({path.name for path in copied.glob("*/train*")})
    assert len(memory) == len(list(copied.glob("*/train*")))
    memory.clear()
    load_zoo(copied, "train", rollouts=True)
    forget_process()
    load_zoo(copied, "train", rollouts=True)
    assert not memory
    (kept,) = (tmp_path / "cache" / "checked").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_changed_file_is_hashed_again(copied, memory):
    path = copied / FILES["weights"]
    load_zoo(copied, "train")
    times = path.stat()
    memory.clear()
    flip(path, -1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if it had never been touched
    for _ in range(2):  # what was damaged once is not remembered
        with pytest.raises(RnnzooError, match=path.name):
            load_zoo(copied, "train")
    assert memory == [path.name] * 2
    flip(path, -1)
    load_zoo(copied, "train")


@pytest.mark.parametrize("trouble", ["no home", "a pipe", "nonsense", "a link"])
def test_where_nothing_can_be_kept_files_are_hashed_again(copied, memory, trouble, tmp_path, monkeypatch):
    load_zoo(copied, "train")
    (kept,) = (tmp_path / "cache" / "checked").iterdir()
    (tmp_path / "precious").write_text("precious")
    if trouble == "nonsense":
        kept.write_bytes(os.urandom(1000))
    else:
        kept.unlink()
    if trouble == "no home":
        (tmp_path / "file").touch()
        monkeypatch.setenv("RNNZOO_CACHE_DIR", str(tmp_path / "file"))
    elif trouble == "a pipe":
        os.mkfifo(kept)
    elif trouble == "a link":
        kept.symlink_to(tmp_path / "precious")
    memory.clear()
    forget_process()
    load_zoo(copied, "train")
    load_zoo(copied, "train")
    assert len(memory) == len(set(memory)) > 0
    assert (tmp_path / "precious").read_text() == "precious"

"""Files from elsewhere: whatever is in them, readers return a value or a RnnzooError, soon, in little memory.

Explicit attacks come first; at the end hypothesis spoils sound files of every kind (see `fuzz`; `python -m
tests.fuzz` does so for longer).
"""

import ast
import json
import os
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fuzz.targets import make_targets, seal
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.source.revisions import Repository, newest_release
from rnnzoo.loaders.training import train
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.storage.files import file_in, parse_json
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, parse_manifest, read_splits
from rnnzoo.zoo_builder.storage.shards import header_from_afar, read_shard
from rnnzoo.zoo_builder.tasks.encodings import encoding_of
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo

ROOT = Path(__file__).parent.parent


@pytest.fixture
def zoo(copied):
    return copied


def use(zoo):
    """Everything that reads a zoo; returns what it says."""
    said = []
    reads = [
        lambda: [list(rows) for rows in load_zoo(zoo, rollouts=True, streaming=True).values()],
        lambda: load_zoo(zoo, rollouts=True),
        lambda: Zoo(zoo).rollouts(range(36)),
        lambda: read_splits(zoo),
    ]
    for read in reads:
        try:
            read()
        except RnnzooError as error:
            said.append(str(error))
    try:
        said += [check.found for check in verify_zoo(zoo, TorchKernel(), sample=2) if not check.passed]
    except RnnzooError as error:
        said.append(str(error))
    return said


# --- links, pipes and names

FILES = [
    "zoo.json",
    "splits.json",
    "metadata/train.parquet",
    "weights/train-00000-of-00004.safetensors",
    "rollouts/train-00000-of-00004.safetensors",
]


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_zoo_is_not_followed(zoo, tmp_path, name):
    secret = tmp_path / "secret"
    shutil.move(zoo / name, secret)
    (zoo / name).symlink_to(secret)
    said = use(zoo)
    assert said
    assert all(f"{zoo / name}: leads out of its folder, to {secret}" in line for line in said)


@pytest.mark.parametrize("room", ["metadata", "weights", "rollouts"])
def test_nor_is_a_folder_that_is_a_link(zoo, tmp_path, room):
    shutil.move(zoo / room, tmp_path / "elsewhere")
    (zoo / room).symlink_to(tmp_path / "elsewhere")
    said = use(zoo)
    assert said
    assert all("leads out of its folder" in line for line in said)


def test_links_inside_a_zoo_and_to_a_zoo_are_fine(zoo, tmp_path):
    for name in FILES:
        hidden = zoo / f".{name.replace('/', '.')}"
        shutil.move(zoo / name, hidden)
        (zoo / name).symlink_to(os.path.relpath(hidden, (zoo / name).parent))
    (tmp_path / "link").symlink_to(zoo)
    assert use(tmp_path / "link") == []


@pytest.mark.parametrize("store", ["blobs", "../blobs/ab"])
def test_a_snapshot_in_the_cache_of_the_hub_is_fine(zoo, tmp_path, store):
    """There every file is a link to one beside the snapshots, or to a store that repositories share."""
    repository = tmp_path / "hub" / "datasets--org--zoo"
    snapshot = repository / "snapshots" / ("0" * 40)
    blobs = (repository / store).absolute()
    blobs.mkdir(parents=True)
    snapshot.parent.mkdir(parents=True)
    shutil.move(zoo, snapshot)
    for number, path in enumerate(sorted(snapshot.rglob("*.*"))):
        shutil.move(path, blobs / str(number))
        path.symlink_to(os.path.relpath(os.path.realpath(blobs / str(number)), os.path.realpath(path.parent)))
    assert use(snapshot) == []
    (snapshot / "zoo.json").unlink()
    (tmp_path / "stolen").write_text("{}")
    (snapshot / "zoo.json").symlink_to(tmp_path / "stolen")
    with pytest.raises(RnnzooError, match="leads out of its folder"):
        load_zoo(snapshot)


@pytest.mark.parametrize("name", FILES)
def test_pipes_folders_and_loops_are_no_files(zoo, name):
    makers = {
        "found a pipe": os.mkfifo,
        "found a folder": os.mkdir,
        "Too many levels": lambda path: os.symlink(path, path),
        "missing": lambda path: os.symlink(path.with_name("gone"), path),
    }
    for words, make in makers.items():
        (zoo / name).unlink()
        make(zoo / name)
        with pytest.raises(RnnzooError, match=words):
            file_in(zoo, name)
        shutil.rmtree(zoo / name) if words == "found a folder" else (zoo / name).unlink()
        (zoo / name).touch()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "weights/../../secret", ""])
def test_names_that_lead_out_of_a_folder(tmp_path, name):
    (tmp_path / "secret").touch()
    (tmp_path / "zoo").mkdir()
    with pytest.raises(RnnzooError, match=r"leads out of its folder|found a folder"):
        file_in(tmp_path / "zoo", name)
    null = "null byte" if sys.version_info < (3, 13) else "null character"  # as Python calls it
    with pytest.raises(RnnzooError, match=f"cannot be opened: .*{null}"):
        file_in(tmp_path / "zoo", "a\0b")


def changed_manifest(zoo, *keys, value):
    values = json.loads((zoo / "zoo.json").read_bytes())
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return encode_manifest(values)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("zoo",), "../../results", "zoo: found '../../results'"),
        (("splits", "../x"), {"tasks": 1, "runs": 1, "checkpoints": 1, "shards": []}, "splits"),
        (("splits", "train", "shards"), ["../../secret"], "the shards of 'train'"),
        (("splits", "train", "shards"), ["train-00000-of-00001"] * 2, "the shards of 'train'"),
        (("splits", "train", "checkpoints"), -1, "greater than or equal to 0"),
        (("splits", "train", "checkpoints"), True, "valid integer"),
        (("splits", "train", "runs"), 10**30, "splits.train.runs"),
        (("files", "splits.json", "bytes"), 2**60, "less than"),
        (("files", "splits.json", "sha256"), "0" * 1000, "at most 64 characters"),
        (("spec", "num_layers"), 10**9, "num_layers: found 1000000000"),
        (("spec", "hidden_size"), True, "hidden_size: found True"),
        (("spec", "cell"), [], "cell: found"),
        (("spec", "surprise"), 1, "surprise"),
        (("layout", 0, "shape"), [2**40, 2**40], "layout: not that of the parameters"),
        (("layout", 0, "shape"), 7, "layout"),
        (("encoding", "vocabulary"), 10**12, "encoding: found"),
        (("encoding", "vocabulary"), 7, "gives 7 inputs, the spec has 6"),
        (("encoding", "kind"), "pickle", "expected one of"),
    ],
)
def test_a_manifest_that_lies(language_zoo, keys, value, message):
    with pytest.raises(RnnzooError, match=message):
        parse_manifest(changed_manifest(language_zoo, *keys, value=value), "zoo.json")


def test_an_encoding_of_odd_numbers():
    for scale in (float("inf"), float("nan"), "1", None):
        with pytest.raises(RnnzooError, match="encoding: found"):
            encoding_of({"kind": "tiles", "tile": 16, "scale": scale, "shift": 0.0})


def test_commits_and_tags_of_a_hub_become_names_of_folders():
    with pytest.raises(RnnzooError, match="expected 40 hexadecimal digits"):
        Repository("org/zoo", "v1.0.0", "../../../home")
    tags = {"v1.2.0": "a", f"v1.{'9' * 5000}.0": "b", "v1.1٣.0": "c"}
    assert newest_release("org/zoo", tags) == "v1.2.0"


def test_metadata_that_lie_of_their_shards(zoo):
    """Columns of the wrong type, with gaps, or that name rows and files which are not there."""
    path = zoo / "metadata/train.parquet"
    table = pq.read_table(path)
    count = len(table)
    changes = {
        "shard": [
            (pa.array(["../../secret"] * count), "column 'shard' and the manifest differ"),
            (pa.array([1] * count), "column 'shard': found int64"),
        ],
        "row": [
            (pa.array([-1] * count, pa.int32()), "not in the order"),
            (pa.array([None] * count, pa.int32()), "rows without a value"),
            (pa.array([str(n) for n in range(count)]), "column 'row': found string"),
        ],
        "rollout_row": [(pa.array([2**30] * count, pa.int32()), "expected row 1073741824")],
        "step": [(pa.array([[1]] * count), "neither|nested|expected texts")],
    }
    for name, columns in changes.items():
        for column, message in columns:
            pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
            seal(zoo, "metadata/train.parquet")
            with pytest.raises(RnnzooError, match=message):
                list(load_zoo(zoo, "train", rollouts=True, streaming=True))
            assert use(zoo)


def test_rollouts_of_another_alphabet_are_named(zoo):
    path = zoo / FILES[-1]
    shard = read_shard(path)
    tensors = {name: np.full_like(tensor, 200) for name, tensor in shard.tensors.items()}
    path.write_bytes(save(tensors))
    seal(zoo, FILES[-1])
    with pytest.raises(RnnzooError, match="inputs: found token 200, expected 0 to 5"):
        Zoo(zoo).rollouts([0])
    check = verify_zoo(zoo, TorchKernel(), sample=2)[-1]
    assert (check.passed, "found token 200" in check.found) == (False, True)


# --- what formats leave open


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "'a' stands there twice"),
        (b'{"a": NaN}', "found NaN"),
        (b"[-Infinity]", "found -Infinity"),
        (b"[" * 200_000, "not JSON"),
        (b"[" * 900 + b"]" * 900, "nested|recursion"),
        (b"[" * 40 + b"]" * 40, "nested more than 32 levels"),
        (b'"\\ud800"', "surrogates"),
        (b'"\xff"', "not JSON"),
        ('"ü"'.encode("utf-16"), "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_json_that_the_standard_does_not_settle(text, message):
    with pytest.raises(RnnzooError, match=f"here: not JSON: .*({message})|({message})"):
        parse_json(text, "here")


def test_json_as_others_write_it():
    assert parse_json(b'\xef\xbb\xbf{"a": [1e400, "\\ud83d\\ude00"]}', "here") == {"a": [float("inf"), "😀"]}


def entry(shape, first, last, dtype="U8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry([8], 0, 8), "b": entry([8], 0, 8)}, "invalid offset for tensor `[ab]`"),  # the same bytes
        ({"a": entry([8], 0, 8), "b": entry([8], 4, 12)}, "invalid offset for tensor `[ab]`"),
        ({"a": entry([4], 0, 4), "b": entry([8], 8, 16)}, "invalid offset for tensor `[ab]`"),
        ({"a": entry([8], 0, 8)}, "file not fully covered"),
        ({"a": entry([24], 0, 24)}, "file not fully covered"),
        ({"a": entry([-16], 0, -16)}, "expected usize"),
        ({"a": entry([-4, -4], 0, 16)}, "expected usize"),
        ({"a": entry([True, 16], 0, 16)}, "expected usize"),
        ({"a": entry([16], False, 16)}, "expected usize"),
        ({"a": entry([16.0], 0, 16)}, "expected usize"),
        ({"a": entry([2**40, 2**40, 0], 0, 0)}, "overflow"),
        ({"a": entry([2**62, 2**62], 0, 16)}, "overflow"),
        ({"a": entry([10**4000] * 50, 0, 16)}, "number out of range"),
        ({"a": entry([], 0, 1), "b": entry([15], 1, 16, [])}, "expected string or map"),
        ({"a": entry([16], 0, 16, "F8_E4M3")}, "found F8_E4M3, expected one of F32, U8"),
        ({"a": entry([16], 0, 16) | {"data_offsets": [0]}}, "expected a tuple of size 2"),
        ({"__metadata__": {"rnnzoo": {}}, "a": entry([16], 0, 16)}, "expected a string"),
        ({"__metadata__": {"rnnzoo": "[]"}, "a": entry([16], 0, 16)}, "expected a JSON object"),
        ({"__metadata__": {"rnnzoo": "[" * 50_000}, "a": entry([16], 0, 16)}, "not JSON"),
    ],
)
def test_a_shard_whose_header_lies(tmp_path, header, message):
    text = json.dumps(header).encode()
    path = tmp_path / "shard"
    content = struct.pack("<Q", len(text)) + text
    path.write_bytes(content + bytes(16))
    with pytest.raises(RnnzooError, match=message):
        read_shard(path)
    with pytest.raises(RnnzooError, match=f"^on the hub: .*{message}"):
        header_from_afar(content, len(content) + 16, "on the hub")


@pytest.mark.parametrize("shape", [[1] * 70 + [0], [0, 2**62, 2**62]])
def test_a_shard_of_shapes_beyond_numpy(tmp_path, shape):
    text = json.dumps({"a": entry(shape, 0, 0)}).encode()
    (tmp_path / "shard").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(RnnzooError, match=r"shard: not a whole safetensors file: (maximum|array is too)"):
        read_shard(tmp_path / "shard")


def test_empty_tensors_are_tensors(tmp_path):
    (tmp_path / "shard").write_bytes(save({"a": np.zeros((0, 5), np.float32), "b": np.ones(3, np.uint8)}))
    assert read_shard(tmp_path / "shard").tensors["a"].shape == (0, 5)


def test_many_mistakes_are_counted_not_told(language_zoo):
    files = {f"{number:x}": 0 for number in range(20_000)}
    with pytest.raises(RnnzooError, match="found 20000 values that do not fit a Manifest"):
        parse_manifest(changed_manifest(language_zoo, "files", value=files), "zoo.json")


# --- pickles


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def resume(path):
    module = torch.nn.Linear(1, 1)
    config = TrainingConfig(steps=1, learning_rate=0.1)
    train(module, lambda step: module(torch.ones(1, 1)).sum(), lambda: 0.0, config, 0, path, None)


def test_training_states_are_never_unpickled_nor_unpacked(tmp_path):
    path, marker = tmp_path / "state.pt", tmp_path / "executed"
    torch.save({"config": Attack(marker)}, path)
    with pytest.raises(RnnzooError, match="not the state of this training"):
        resume(path)
    torch.save({"config": Attack(marker)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RnnzooError, match="not the state of this training"):
        resume(path)
    assert not marker.exists()
    torch.save({"x": torch.zeros(10_000_000)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    with pytest.raises(RnnzooError, match="found compressed entries"):
        resume(tmp_path / "bomb")


SENDS_OBJECTS = ROOT / "loaders" / "encoders" / "recipe.py"
"""The one module that pickles: objects of the user's own program, for the processes that it starts itself."""
NEVER = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}


def test_what_sends_objects_reads_no_file():
    """It unpickles in one function, which `__reduce__` alone names: what comes from the other process."""
    text = SENDS_OBJECTS.read_text()
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert [call for call in calls if call.endswith("loads")] == ["pickle.loads"]
    assert text.count("_unpickled") == 2
    assert not {"open", "Path", "pickle.load", "torch.load"} & set(calls)


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("zoo_builder/**/*.py"), *ROOT.glob("loaders/**/*.py")]), ids=str
)
def test_no_module_unpickles(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found = NEVER & {name.split(".")[0] for name in names}
            assert found <= ({"pickle", "cloudpickle"} if path == SENDS_OBJECTS else set()), f"{path}: {names}"
        if isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called != "torch.load" or options.get("weights_only") == "True", f"{path}:{node.lineno}"
            assert options.get("allow_pickle", "False") == "False", f"{path}:{node.lineno}"


# --- anything at all

KINDS = ("languages", "digits")
EXAMPLES = {
    "training state": 100,
    "idx": 50,
    "idx gz": 15,
    "results": 150,
    "saved state": 80,
    "shard record": 80,
    "shard rows": 20,
    "plan": 100,
    **{f"shard {kind}": 150 for kind in KINDS},
    **{f"metadata {kind}": 120 for kind in KINDS},
    **{f"manifest {kind}": 80 for kind in KINDS},
    **{f"splits {kind}": 15 for kind in KINDS},
    **{f"zoo {kind} metadata": 20 for kind in KINDS},
    **{f"zoo {kind} shards": 20 for kind in KINDS},
    **{f"arrays {kind}": 50 for kind in KINDS},
    **{f"arguments {kind}": 10 for kind in KINDS},
}


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    found = {target.name: target for target in make_targets(tmp_path_factory.mktemp("sound"))}
    assert found.keys() == EXAMPLES.keys()
    return found


@pytest.mark.parametrize("share", [0.5, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_a_spoilt_file_is_refused_or_harmless(targets, tmp_path, name, share):
    target = targets[name]
    for read in target.reads:
        read(target.folder) if not name.startswith("idx") else None
    with target.workspace(tmp_path) as copy:

        @settings(
            max_examples=int(share * EXAMPLES[name]),
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.randoms(use_true_random=False))
        def spoil(random):
            target.run(copy, random)

        spoil()

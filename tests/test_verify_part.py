"""`verify` of a build that is not finished: its shards are sound, and with --against those of a known zoo."""

import json
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_builds import Watcher, contents, tiny_config

from rnnzoo import load_zoo
from rnnzoo.zoo_builder.identity.reference import find_reference
from rnnzoo.zoo_builder.pipeline import ZooPlan
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.shard.record import record_path, rows_file, write_record
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.digest import ZooDigest
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, read_manifest
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_part

CONFIG = tiny_config()
PLAN = ZooPlan(CONFIG, CONFIG.make_family())


def build_part(folder, config=CONFIG):
    plan = ZooPlan(config, config.make_family())
    assert build_plan(plan, folder, InProcess(TorchKernel(), 120), Watcher(), Part.parse("1/2")) is None
    return folder


@pytest.fixture
def known(undisturbed, tmp_path):
    """The finished zoo."""
    return shutil.copytree(undisturbed(CONFIG), tmp_path / "known")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_part(tmp_path_factory.mktemp("built") / "part")


@pytest.fixture
def part(built, tmp_path):
    """A copy of a part that was built."""
    return shutil.copytree(built, tmp_path / "part")


@pytest.fixture
def verify(builder):
    def run(folder, *against):
        code, out, err = builder("verify", "--unfinished", folder, *(["--against", against[0]] if against else []))
        return code, " ".join((out + err).replace("│ ", "").replace(" │", "").split())

    return run


def test_a_part_is_of_the_zoo_that_was_built_elsewhere(part, known, verify):
    before = contents(part)
    shards = len(Part.parse("1/2").choose(PLAN.shards))
    code, said = verify(part)
    assert code == 0
    assert f"ok shards {shards} of {len(PLAN.shards)} are finished, each file as when it was stored" in said
    assert "against" not in said
    for folder in ("weights", "rollouts"):  # the record of a zoo is enough
        shutil.rmtree(known / folder)
    code, said = verify(part, known)
    assert code == 0
    digest = read_manifest(known).digest
    rows = sum(len(shard.runs) for shard in Part.parse("1/2").choose(PLAN.shards)) * len(CONFIG.checkpoints)
    assert f"{shards} of {len(PLAN.shards)} shards, {rows} of {7 * len(CONFIG.checkpoints)} checkpoints" in said
    assert f"the bytes of the zoo of {known}, {digest}" in said
    assert contents(part) == before


def test_a_part_that_is_cut_into_other_shards_has_the_same_checkpoints(undisturbed, known, verify, tmp_path):
    other = build_part(tmp_path / "other", replace(CONFIG, runs_per_shard=CONFIG.runs_per_shard + 1))
    code, out = verify(other, known)
    assert code == 0, out
    assert re.search(r"ok against \d of \d shards, \d+ of \d+ checkpoints: those of the zoo of", out)
    assert "which is cut into other shards" in out


def test_a_zoo_from_before_a_column_was_stored_has_the_same_checkpoints(part, known, verify):
    for split in ("train", "validation", "test", "ood"):
        path = known / schema.metadata_file(split)
        pq.write_table(pq.read_table(path).drop_columns(list(schema.LATER)), path)
    code, said = verify(part, known)
    assert code == 0, said
    assert "the bytes of the zoo of" in said
    another_accuracy(part, known)
    assert "(accuracy)" in verify(part, known)[1]


def test_the_record_of_a_zoo_is_a_zoo_without_weights(known, verify):
    for folder in ("weights", "rollouts"):
        shutil.rmtree(known / folder)
    assert not find_reference(str(known)).has_shards
    rows = load_zoo(str(known), tensors=[])
    assert sum(len(split) for split in rows.values()) == 7 * len(CONFIG.checkpoints)
    code, said = verify(known)
    assert code == 2
    assert f"--unfinished: found a finished zoo in {known}, expected a build or a part of one" in said


@pytest.mark.parametrize(
    ("option", "value"), [("sample", 48), ("device", "cpu"), ("kernel", "torch"), ("threads", 2)]
)
def test_an_option_that_would_change_nothing_is_refused(part, builder, option, value):
    code, _, err = builder("verify", "--unfinished", part, f"--{option}", value)
    assert code == 2
    assert f"--{option}: found {value!r}, expected none: --unfinished computes nothing again" in err


def first_shard():
    return Part.parse("1/2").choose(PLAN.shards)[0]


def other_bytes(part, known):
    """Files that hold the same, in other bytes."""
    name = schema.rollouts_file(first_shard().name)
    path = known / "zoo.json"
    values = json.loads(path.read_bytes())
    values["files"][name]["sha256"] = "0" * 64
    path.write_bytes(encode_manifest(values))


def another_accuracy(part, known):
    shard = first_shard()
    path = part / rows_file(shard)
    rows = pq.read_table(path)
    where, field = rows.schema.get_field_index("accuracy"), rows.schema.field("accuracy")
    values = [0.123, *rows["accuracy"].to_pylist()[1:]]
    pq.write_table(rows.set_column(where, field, pa.array(values, field.type)), path)
    write_record(part, shard, "torch-cpu", TorchKernel().arithmetic, "0" * 64)


def another_arithmetic(part, known):
    path = known / "zoo.json"
    values = json.loads(path.read_bytes())
    digest = ZooDigest.parse(values["digest"])
    values |= {"arithmetic": "fma-1", "digest": str(ZooDigest("fma-1", digest.config, digest.contents))}
    path.write_bytes(encode_manifest(values))


def another_config(part, known):
    shutil.rmtree(part)
    build_part(part, tiny_config(seed=3))


def fewer_checkpoints(part, known):
    path = known / schema.metadata_file(first_shard().split)
    rows = pq.read_table(path)
    pq.write_table(rows.slice(1), path)


DIFFERENCES = {
    other_bytes: "weights of all checkpoints are the same, but these files have other bytes: rollouts/",
    another_accuracy: "checkpoints differ: run-",
    another_arithmetic: "another arithmetic: found torch-cpu, expected fma-1",
    another_config: "another config: seed: found 3, expected 0",
    fewer_checkpoints: "(there in one of them alone)",
}


@pytest.mark.parametrize("change", DIFFERENCES, ids=lambda change: change.__name__)
def test_a_part_of_another_zoo(change, part, known, verify):
    change(part, known)
    code, said = verify(part, known)
    assert code == 2
    assert "ok shards" in said
    assert f"FAIL against not of the zoo of {known}: " in said
    assert DIFFERENCES[change] in said
    assert said.endswith("a sound part, but of another zoo")


def test_of_a_zoo_of_which_only_the_digest_is_known_a_part_says_nothing(part, known, verify):
    digest = read_manifest(known).digest
    code, said = verify(part, digest)
    assert code == 2
    problem = f"--against: found {digest!r}, of which only the digest is known; expected the folder or repository"
    assert said.startswith(f"zoo-builder: {problem}")  # and no word of another zoo


def nothing_built(part):
    for shard in PLAN.shards:
        record_path(part, shard).unlink(missing_ok=True)


def a_file_is_missing(part):
    (part / schema.weights_file(first_shard().name)).unlink()


def a_file_is_damaged(part):
    path = part / schema.rollouts_file(first_shard().name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def a_record_is_damaged(part):
    record_path(part, first_shard()).write_text("{}")


DAMAGES = {
    nothing_built: "0 of 5 are finished: there is nothing to check yet",
    a_file_is_missing: "this file is missing",
    a_file_is_damaged: "found sha256",
    a_record_is_damaged: "found nothing",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_part_that_is_not_sound(damage, part, known, verify):
    damage(part)
    code, said = verify(part, known)
    assert code == 2
    assert "FAIL shards" in said
    assert DAMAGES[damage].lower() in said.lower()
    assert "against" not in said
    assert said.endswith("not a sound part")


def test_the_checks_of_a_part(part, known):
    (shards, against) = verify_part(PLAN, part, find_reference(str(known)))
    assert shards.passed
    assert against.passed

"""Every reader of files from elsewhere, as something to give hostile files to.

A target changes one file of a sound folder and reads the folder: what comes out is a value or a RnnzooError.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from synthetic_results import write_results
from tiny_builds import Watcher, tiny_config

from fuzz.mutations import (
    Mutation,
    mutate_bytes,
    mutate_gzip,
    mutate_json,
    mutate_npy,
    mutate_parquet,
    mutate_safetensors,
    mutate_zip,
)
from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.benchmark.report.page import LeaderboardTables
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.source.ranges import read_extents
from rnnzoo.loaders.training import train
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.overview import summarize
from rnnzoo.zoo_builder.pipeline import Interrupted, ZooPlan, build_zoo
from rnnzoo.zoo_builder.pipeline.build import build_plan
from rnnzoo.zoo_builder.pipeline.folder.opening import read_config
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.plan.part import Part
from rnnzoo.zoo_builder.pipeline.shard.record import is_complete
from rnnzoo.zoo_builder.pipeline.shard.saved_state import load_state
from rnnzoo.zoo_builder.published import export_zoo, import_published
from rnnzoo.zoo_builder.storage.manifest import encode_manifest, read_manifest, read_metadata, read_splits
from rnnzoo.zoo_builder.storage.parquet import read_table
from rnnzoo.zoo_builder.storage.shards import file_sha256, read_shard
from rnnzoo.zoo_builder.tasks.sequential_images.images import mnist_from_folder
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo

SLOW_SECONDS = 20.0
"""Of processor time for one file, which sound readers spend a hundredth of: more counts as a hang."""

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Target:
    """files: patterns of the files to change. reads: each is given the folder. reseal: zoo.json then says what
    the changed file's size and hash are, as an attacker would have it."""

    name: str
    folder: Path
    files: Sequence[str]
    mutation: Mutation
    reads: Sequence[Read]
    reseal: bool = False

    def victims(self) -> list[Path]:
        found = [path for pattern in self.files for path in self.folder.glob(pattern)]
        return sorted(path.relative_to(self.folder) for path in found)

    @contextlib.contextmanager
    def workspace(self, place: Path) -> Iterator[Path]:
        """A copy of the sound folder, to be spoilt."""
        copy = shutil.copytree(self.folder, place / self.name.replace(" ", "-"))
        try:
            yield copy
        finally:
            shutil.rmtree(copy)

    def run(self, copy: Path, random: Random) -> bool:
        """Spoil a file of the copy, read, and mend it. Returns whether any reader refused it.

        Raises what a reader raises that is no RnnzooError, and AssertionError for one that takes too long.
        """
        name = random.choice(self.victims())
        sound = (self.folder / name).read_bytes()
        (copy / name).write_bytes(self.mutation(random, sound))
        if self.reseal:
            seal(copy, str(name))
        refused = False
        try:
            for read in self.reads:
                began, length = time.process_time(), 0
                try:
                    read(copy)
                except RnnzooError as error:
                    refused, length = True, len(str(error))
                assert length < 5000, "the error says too much"
                assert time.process_time() - began < SLOW_SECONDS, f"{name}: too slow"
        finally:
            (copy / name).write_bytes(sound)
            if self.reseal:
                shutil.copyfile(self.folder / "zoo.json", copy / "zoo.json")
        return refused


def seal(folder: Path, name: str) -> None:
    """Make zoo.json agree with a changed file."""
    values = json.loads((folder / "zoo.json").read_bytes())
    values["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
    (folder / "zoo.json").write_bytes(encode_manifest(values))


def _mutate_manifest(random: Random, content: bytes) -> bytes:
    """As an accident would change it, and as an attacker, who mends its hash."""
    changed = mutate_json(random, content)
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(changed)
        if isinstance(values, dict) and random.random() < 0.8:
            return encode_manifest(values)
    return changed


# --- sound folders


def make_targets(place: Path) -> list[Target]:
    """Build sound files of all kinds in a folder, and the targets that spoil them."""
    zoos = [place / "languages", place / "digits"]
    for zoo, folder in zip(("formal_languages", "sequential_digits"), zoos, strict=True):
        build_zoo(tiny_config(zoo), folder, TorchKernel(), Watcher())
    begun = _begin_build(place / "begun")
    export_zoo(zoos[0], place / "arrays-languages")
    export_zoo(zoos[1], place / "arrays-digits")
    write_results(
        place / "results", "formal_languages", seeds=1, runs=4, encoders=("flat_mlp", "layer_statistics")
    )
    _write_idx(place / "idx")
    _train(place / "training", stop=3)
    targets = [
        Target("training state", place / "training", ["*.pt"], mutate_zip, [_train]),
        Target("idx", place / "idx", ["*"], mutate_bytes, [mnist_from_folder]),
        Target("idx gz", place / "idx-gz", ["*.gz"], mutate_gzip, [mnist_from_folder]),
        Target("results", place / "results", ["*/*/*.json", "*/*/*/*/*.json"], mutate_json, [_tabulate]),
        Target("saved state", begun, [".build/*.state.safetensors"], mutate_safetensors, [_load_states]),
        Target("shard record", begun, [".build/*.record.json"], mutate_json, [_look_for_shards]),
        Target("shard rows", begun, [".build/*.parquet"], mutate_parquet, [_look_for_shards]),
        Target("plan", begun, [".build/plan.json"], mutate_json, [read_config]),
    ]
    for kind, zoo in zip(("languages", "digits"), zoos, strict=True):
        shards = ["weights/*", "rollouts/*"]
        arrays = place / f"arrays-{kind}"
        targets += [
            Target(f"shard {kind}", zoo, shards, mutate_safetensors, [_read_shards, _read_layouts]),
            Target(f"metadata {kind}", zoo, ["metadata/*"], mutate_parquet, [_read_tables]),
            Target(f"manifest {kind}", zoo, ["zoo.json"], _mutate_manifest, [read_manifest, summarize, _use]),
            Target(f"splits {kind}", zoo, ["splits.json"], mutate_json, [read_splits, _verify], reseal=True),
            Target(f"zoo {kind} metadata", zoo, ["metadata/*"], mutate_parquet, [_use, summarize], reseal=True),
            Target(f"zoo {kind} shards", zoo, shards, mutate_safetensors, [_use, _verify], reseal=True),
            Target(f"arrays {kind}", arrays, ["*.npy"], mutate_npy, [_import]),
            Target(f"arguments {kind}", arrays, ["args.json"], mutate_json, [_import]),
        ]
    return targets


def _tabulate(folder: Path) -> None:
    """Everything of a report but its pictures."""
    for board in read_results(folder):
        LeaderboardTables.of(board, None)


def _begin_build(folder: Path) -> Path:
    """A build that was stopped: the shards of its first part are built, the others have a saved state."""
    plan, executor = ZooPlan(tiny_config(), tiny_config().make_family()), InProcess(TorchKernel(), save_every=60)
    build_plan(plan, folder, executor, Watcher(), Part(1, 2))
    with contextlib.suppress(Interrupted):
        build_plan(plan, folder, executor, Watcher(stop_after=2), Part(2, 2))
    assert list(folder.glob(".build/*.record.json"))
    assert list(folder.glob(".build/*.state.safetensors"))
    return folder


def _write_idx(folder: Path) -> None:
    images = struct.pack(">HBB3I", 0, 8, 3, 5, 28, 28) + bytes(range(256)) * 15 + bytes(80)
    labels = struct.pack(">HBBI", 0, 8, 1, 5) + bytes(range(5))
    for name, content in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        compressed = folder.with_name("idx-gz")
        compressed.mkdir(exist_ok=True)
        (compressed / f"{name}.gz").write_bytes(gzip.compress(content))


# --- readers


def _read_shards(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.safetensors")):
        for tensor in read_shard(path).tensors.values():
            tensor.sum(dtype=float)


class LocalFile:
    """A file on the hub, but here."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self.where, self.size = str(path), len(self._content)

    def read(self, start: int, end: int) -> bytes:
        assert 0 <= start <= end <= self.size
        return self._content[start:end]


def _read_layouts(folder: Path) -> None:
    for path in sorted(folder.glob("*/*.safetensors")):
        read_extents(LocalFile(path))  # type: ignore[arg-type]


def _read_tables(folder: Path) -> None:
    for path in sorted(folder.glob("metadata/*.parquet")):
        read_table(path).to_pylist()


def _use(folder: Path) -> None:
    """All that a user of a zoo does."""
    for streaming in (False, True):
        for rows in load_zoo(folder, rollouts=True, streaming=streaming).values():
            list(rows)
    zoo = Zoo(folder)
    zoo.flat(range(len(zoo)))
    zoo.rollouts([0, len(zoo) - 1])
    read_metadata(folder, zoo.manifest)


def _verify(folder: Path) -> None:
    failed = [check for check in verify_zoo(folder, TorchKernel(), sample=2) if not check.passed]
    if failed:
        raise RnnzooError(failed[0].found)


def _import(folder: Path) -> None:
    out = folder.with_name(f"{folder.name}-zoo")
    try:
        import_published(folder, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _load_states(folder: Path) -> None:
    """A state that is not usable is none: the shard begins anew."""
    plan = ZooPlan(tiny_config(), tiny_config().make_family())
    for shard in plan.shards:
        training = load_state(plan, folder, shard, "torch-cpu")
        assert training.state is None or training.state.weights.shape[0] == len(shard.runs)


def _look_for_shards(folder: Path) -> None:
    plan = ZooPlan(tiny_config(), tiny_config().make_family())
    for shard in plan.shards:
        is_complete(folder, shard)


class _Stopped(Exception):
    pass


@dataclass
class _Stop:
    step: int | None

    def step_done(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        if step == self.step:
            raise _Stopped


def _train(folder: Path, stop: int | None = None) -> None:
    """A training of a few steps, from the state in the folder, whose state is saved at its second step."""
    from rnnzoo.loaders import training

    folder.mkdir(exist_ok=True)
    path, kept = folder / "state.pt", training.SAVE_SECONDS
    training.SAVE_SECONDS = 0.0 if stop else kept
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    config = TrainingConfig(steps=4, learning_rate=0.01, validate_every=2)
    try:
        inputs = torch.ones(2, 3)
        train(module, lambda step: module(inputs).square().mean(), lambda: 1.0, config, 0, path, _Stop(stop))
    except _Stopped:
        assert path.exists()
    finally:
        training.SAVE_SECONDS = kept

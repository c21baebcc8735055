"""Turns the arrays of the original release into a zoo.

What the arrays do not say stays unknown: `seed` is null; learning rate, its scale and (languages) weight decay
are NaN unless args.json has them; images have no labels, so their `rollout_loss` is NaN and their accuracy is
the published one. The accuracies of languages are computed from the stored strings, the losses from all words.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

import rnnzoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.published.arrays import STRINGS_SCORED, PublishedArrays, open_published
from rnnzoo.zoo_builder.rnn import rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.rollouts import rollout_losses
from rnnzoo.zoo_builder.splits import RULE, SPLITS, Splits, assign_splits, count_tasks
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, SplitEntry, write_json, write_manifest
from rnnzoo.zoo_builder.storage.shards import file_sha256, row_sha256, write_file, write_shard
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.family import Task, TaskFamily
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.formal_languages.language import OFFSETS, FormalLanguage
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE, Images
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import Rotation
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.zoos import IMPORTED, metadata_columns

RUNS_PER_SHARD = 64
MOST_RUNS, MOST_STEPS, MOST_CHECKPOINTS = 10**9, 2**31, 2**7
"""What the metadata's columns hold, and more than anybody has."""
OUTPUT_MODELS = 16
SPLIT_SEED = 0
TOLERANCE, RELATIVE_TOLERANCE = 0.05, 0.01
"""How far stored outputs, float16 from another machine, may lie from ours. Other weights lie far beyond."""
PIXEL_TOLERANCE = 0.002
"""In normalised units, in which float16 is exact to 0.001 and two grey levels lie 0.0127 apart."""
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Imported:
    """largest_difference: between a stored output and the one computed from the weights."""

    manifest: Manifest
    largest_difference: float


def import_published(
    published: Path, out: Path, kernel: Kernel | None = None, progress: Progress = lambda rows: None
) -> Imported:
    """Write the zoo of the arrays in `published` to the new folder `out`.

    kernel: scores the models; None for plain torch. progress is called with the number of rows done.
    Raises RnnzooError for arrays that do not fit together, or whose outputs are not those of the weights.
    """
    from rnnzoo.zoo_builder.training.kernels import TorchKernel

    if out.exists():
        raise RnnzooError(f"{out}: exists; expected the name of a new folder")
    arrays = open_published(published)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as workspace:
            folder = Path(workspace) / "zoo"
            imported = _Import(arrays, folder, kernel or TorchKernel(), progress).write()
            shutil.move(folder, out)
    except OSError as error:
        raise RnnzooError(f"{out}: the zoo could not be written: {error.strerror or error}") from error
    return imported


class _Import:
    """The work on one folder of arrays."""

    def __init__(self, arrays: PublishedArrays, folder: Path, kernel: Kernel, progress: Progress) -> None:
        self.arrays, self.folder, self.kernel, self.progress = arrays, folder, kernel, progress
        self.family = _family(arrays.family)
        self.rows, self.steps = _runs(arrays)
        self.tasks = {run: _task(arrays, rows) for run, rows in self.rows.items()}
        self.splits: Splits = assign_splits(self.family, list(self.tasks.values()), SPLIT_SEED)
        self.largest_difference = 0.0
        self.config = self._config()

    def write(self) -> Imported:
        files: dict[str, FileEntry] = {}
        entries = {}
        members: dict[str, list[int]] = defaultdict(list)
        for run, task in self.tasks.items():
            members[self.splits.split[task.task_id]].append(run)
        for split in SPLITS:
            runs = members[split]
            groups = [runs[first : first + RUNS_PER_SHARD] for first in range(0, len(runs), RUNS_PER_SHARD)]
            names = [schema.shard_name(split, number, len(groups)) for number in range(len(groups))]
            tables = [self._write_shard(name, split, group) for name, group in zip(names, groups, strict=True)]
            columns = metadata_columns(self.config)
            table = pa.concat_tables(tables) if tables else columns.empty_table()
            _write_parquet(self.folder / schema.metadata_file(split), table, {"split": split, "zoo": self.zoo})
            rooms = [room(name) for name in names for room in (schema.weights_file, schema.rollouts_file)]
            for file in (*rooms, schema.metadata_file(split)):
                files[file] = _entry(self.folder / file)
            tasks = count_tasks(self.splits)[split]
            entries[split] = SplitEntry(tasks=tasks, runs=len(runs), checkpoints=len(table), shards=names)
        splits = {"seed": SPLIT_SEED, "rule": RULE}
        splits |= {"split": self.splits.split, "paper_split": self.splits.paper_split}
        write_json(self.folder / schema.SPLITS_FILE, splits)
        files[schema.SPLITS_FILE] = _entry(self.folder / schema.SPLITS_FILE)
        manifest = self._manifest(entries, files)
        write_manifest(self.folder, manifest)
        return Imported(manifest, self.largest_difference)

    @property
    def zoo(self) -> str:
        return "formal_languages" if self.family.generates else "sequential_mnist"

    def _config(self) -> dict[str, Any]:
        """What is known of how the zoo was made; it is no config that a build could repeat."""
        return {
            "zoo": self.zoo,
            "preset": IMPORTED,
            "family": self.family.name,
            "source": None if self.family.generates else "mnist",
            "runs": len(self.rows),
            "steps": self.steps[-1],
            "checkpoints": self.steps,
            "seed": None,
            "rollouts": self.arrays.sequences.shape[1],
            "published_args": self.arrays.args,
        }

    def _manifest(self, entries: dict[str, SplitEntry], files: dict[str, FileEntry]) -> Manifest:
        spec = self.arrays.spec
        libraries = {library: version(library) for library in ("torch", "numpy", "pyarrow", "safetensors")}
        return Manifest(
            format="rnnzoo",
            format_version=schema.FORMAT_VERSION,
            zoo=self.zoo,
            config=self.config,
            spec=spec.to_dict(),
            layout=[{"name": p.name, "shape": p.shape, "offset": p.offset} for p in spec.parameters],
            encoding=self.family.encoding.to_dict(),
            built_with={"imported by rnnzoo": rnnzoo.__version__, **libraries},
            splits=entries,
            files={name: files[name] for name in sorted(files)},
        )

    def _write_shard(self, name: str, split: str, runs: list[int]) -> pa.Table:
        """Write the weights and rollouts of some runs, sorted by (step, run); returns their metadata."""
        arrays, spec = self.arrays, self.arrays.spec
        where = np.stack([self.rows[run] for run in runs], axis=1).reshape(-1)
        flat = np.array(arrays.parameters[where], dtype=np.float32)
        inputs = self._inputs(where)
        self._check_outputs(where, flat, inputs)
        header = {"format_version": schema.FORMAT_VERSION, "zoo": self.zoo, "shard": name, "spec": spec.to_dict()}
        named = {key: tensor.numpy() for key, tensor in unflatten_weights(spec, torch.from_numpy(flat)).items()}
        write_shard(self.folder / schema.weights_file(name), named, header)
        write_shard(self.folder / schema.rollouts_file(name), {"inputs": inputs}, header)
        known = [self._known(row) for row in where.tolist()]
        scores = self._language_scores(runs, flat, inputs) if self.family.generates else [{}] * len(where)
        rows = []
        for number, (step, run) in enumerate((step, run) for step in self.steps for run in runs):
            task = self.tasks[run]
            rows.append(
                {
                    "checkpoint_id": f"run-{run:06d}-step-{step:06d}",
                    "run_id": f"run-{run:06d}",
                    "task_id": task.task_id,
                    "split": split,
                    "paper_split": self.splits.paper_split[task.task_id],
                    "step": step,
                    "step_index": self.steps.index(step),
                    "diverged": not np.isfinite(flat[number]).all(),
                    **spec.to_dict(),
                    "num_parameters": spec.num_parameters,
                    **self.family.source_value(),
                    "shard": schema.weights_file(name),
                    "row": number,
                    "rollout_row": number,
                    "sha256": row_sha256(flat[number]),
                    **task.columns(),
                    **known[number],
                    **scores[number],
                }
            )
        self.progress(len(rows))
        return pa.Table.from_pylist(rows, schema=metadata_columns(self.config))

    def _known(self, row: int) -> dict[str, Any]:
        """What the arrays say of a row besides weights and rollouts."""
        decay = self.arrays.args.get("weight_decay")
        unknown = {"seed": None, "learning_rate": np.nan, "learning_rate_scale": np.nan, "rollout_loss": np.nan}
        if self.arrays.losses is None:
            assert self.arrays.correct is not None
            known = {"published_accuracy": self.arrays.correct[row] / STRINGS_SCORED}
            return unknown | known | {"weight_decay": decay if isinstance(decay, float) else np.nan}
        accuracy, train_loss, eval_loss, weight_decay = self.arrays.losses[row]
        return unknown | {
            "accuracy": accuracy,
            "train_loss": train_loss,
            "eval_loss": eval_loss,
            "weight_decay": weight_decay,
            "generalization_gap": eval_loss - train_loss,
        }

    def _language_scores(
        self, runs: list[int], flat: NDArray[np.float32], inputs: NDArray[np.uint8]
    ) -> list[dict[str, float]]:
        """Accuracies of the stored strings, and losses; a row each, in the shard's order."""
        spec, encoding = self.arrays.spec, self.family.encoding
        weights = torch.from_numpy(flat)
        losses = rollout_losses(self.kernel, spec, encoding, weights, inputs)
        scores: list[dict[str, float]] = [{} for _ in flat]
        for place, run in enumerate(runs):
            task, mine = self.tasks[run], slice(place, None, len(runs))
            words = self.family.items[self.family.evaluation_items(task)]
            words = np.broadcast_to(words, (len(self.steps), *words.shape))
            eval_losses = rollout_losses(self.kernel, spec, encoding, weights[mine].contiguous(), words)
            for row, loss in zip(range(len(flat))[mine], eval_losses, strict=True):
                scores[row] = {"eval_loss": loss, "train_loss": loss, "rollout_loss": losses[row]}
                scores[row] |= self.family.score_strings(task, inputs[row])
        return scores

    def _inputs(self, where: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The stored sequences as bytes [N, R, F]."""
        path = self.arrays.folder / "sequences.npy"
        stored, encoding = np.array(self.arrays.sequences[where]), self.family.encoding
        if isinstance(encoding, TokenEncoding):
            if stored.min() < 0 or stored.max() >= encoding.vocabulary or (stored[..., 0] != encoding.begin).any():
                raise RnnzooError(
                    f"{path}: found tokens {stored.min()} to {stored.max()}, expected 0 to "
                    f"{encoding.vocabulary - 1}, and {encoding.begin} first"
                )
            return stored.astype(np.uint8)
        assert isinstance(encoding, TileEncoding)
        pixels = np.rint((stored[..., 1:, :].astype(np.float32) - encoding.shift) / encoding.scale)
        far = np.abs(pixels * encoding.scale + encoding.shift - stored[..., 1:, :]).max()
        if not far <= PIXEL_TOLERANCE or pixels.min() < 0 or pixels.max() > 255 or stored[..., 0, :].any():
            raise RnnzooError(
                f"{path}: expected a step of zeros, then pixels normalised with MNIST's mean and std"
            )
        return pixels.astype(np.uint8).reshape(*stored.shape[:2], SIDE * SIDE)

    def _check_outputs(
        self, where: NDArray[np.int64], flat: NDArray[np.float32], inputs: NDArray[np.uint8]
    ) -> None:
        """Compare the outputs of finite models along their sequences with the stored ones."""
        for first in range(0, len(where), OUTPUT_MODELS):
            rows = slice(first, first + OUTPUT_MODELS)
            weights = unflatten_weights(self.arrays.spec, torch.from_numpy(flat[rows]))
            with torch.no_grad():
                found, _ = rnn_forward(weights, self.family.encoding.inputs(torch.from_numpy(inputs[rows])))
            outputs = (found.log_softmax(dim=-1) if self.family.generates else found).numpy()
            stored = np.array(self.arrays.logits[where[rows]], np.float32)
            difference = np.abs(outputs - stored)
            difference[~np.isfinite(flat[rows]).all(axis=1)] = 0
            allowed = TOLERANCE + RELATIVE_TOLERANCE * np.abs(stored)
            wrong = ~(difference <= allowed).reshape(len(difference), -1).all(axis=1)
            if wrong.any():
                row = where[rows][wrong][0]
                raise RnnzooError(
                    f"{self.arrays.folder / 'logits.npy'}: row {row}: found outputs up to {difference.max():.3g} "
                    f"away from those of the weights in parameters.npy, expected at most {TOLERANCE}"
                )
            self.largest_difference = max(self.largest_difference, float(difference.max()))


def _family(name: str) -> TaskFamily[Any]:
    if name == FormalLanguages.name:
        return FormalLanguages.load(None)
    # Only the angles matter here: the images that a run was trained on are not needed.
    return SequentialImages(Images(np.zeros((0, SIDE, SIDE), np.uint8), np.zeros(0, np.uint8), "mnist"))


def _runs(arrays: PublishedArrays) -> tuple[dict[int, NDArray[np.int64]], list[int]]:
    """Run -> its rows by step, and the steps, which must be the same for all runs."""
    order = np.lexsort((arrays.step, arrays.run))
    numbers, starts = np.unique(arrays.run[order], return_index=True)
    rows = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
    steps = arrays.step[next(iter(rows.values()))]
    for run, where in rows.items():
        found = arrays.step[where]
        fits = 0 <= run < MOST_RUNS and found[0] >= 0 and found[-1] < MOST_STEPS and len(found) <= MOST_CHECKPOINTS
        if not fits or not np.array_equal(found, steps) or (np.diff(found) <= 0).any():
            raise RnnzooError(
                f"{arrays.folder}: run {run} has steps {found.tolist()}, expected {steps.tolist()}, each once, as "
                f"run {numbers[0]}"
            )
    return rows, steps.tolist()


def _task(arrays: PublishedArrays, rows: NDArray[np.int64]) -> Task:
    """The task of a run, the same in all its rows."""
    path, found = arrays.folder / "tasks.npy", np.array(arrays.tasks[rows])
    if (found != found[0]).any():
        raise RnnzooError(f"{path}: rows {rows.tolist()} are of one run, found several tasks")
    if arrays.family == SequentialImages.name:
        if not 0 <= found[0][0] <= 360:
            raise RnnzooError(f"{path}: row {rows[0]}: found {found[0][0]}, expected degrees from 0 to 360")
        return Rotation(round(float(found[0][0]), 6) % 360)
    zero, *offsets = found[0].tolist()
    if zero != 0 or any(offset not in OFFSETS for offset in offsets):
        raise RnnzooError(
            f"{path}: row {rows[0]}: found {found[0].tolist()}, expected 0 and three offsets from -3 to 2"
        )
    return FormalLanguage((offsets[0], offsets[1], offsets[2]))


def _write_parquet(path: Path, table: pa.Table, note: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    table = table.replace_schema_metadata({"rnnzoo": json.dumps(note, sort_keys=True)})
    pq.write_table(table, buffer, compression="zstd")
    write_file(path, buffer.getbuffer())


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=path.stat().st_size, sha256=file_sha256(path))

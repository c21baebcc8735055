"""Reading a zoo: `load_zoo` for training loops, `Zoo` for looking at single models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, NamedSplit
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.reading.blocks import runs_of_names
from rnnzoo.loaders.reading.formats import format_name
from rnnzoo.loaders.reading.map_style import map_style
from rnnzoo.loaders.reading.selection import Filters, choose_columns, choose_splits
from rnnzoo.loaders.reading.stream import streamed
from rnnzoo.loaders.source.opening import open_source
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNModule, RNNSpec, flatten_weights, rnn_forward
from rnnzoo.zoo_builder.storage.contents import (
    check_rollout_hashes,
    check_rollouts,
    check_weight_hashes,
    check_weights,
)
from rnnzoo.zoo_builder.storage.manifest import Manifest, SplitEntry
from rnnzoo.zoo_builder.storage.schema import rollouts_of
from rnnzoo.zoo_builder.tasks.encodings import Encoding, check_items, encoding_of

MODELS_AT_ONCE = 64
"""Models whose outputs are computed together: more would only take more memory."""


def load_zoo(
    path_or_repo: str | Path,
    split: str | NamedSplit | None = None,
    *,
    streaming: bool = False,
    filters: Filters | None = None,
    columns: Sequence[str] | None = None,
    tensors: Sequence[str] | None = None,
    rollouts: bool = False,
    format: str = "torch",
    revision: str | None = None,
    check: str = "files",
) -> Dataset | DatasetDict | IterableDataset | IterableDatasetDict:
    """A zoo as a dataset of checkpoints: metadata, and a tensor for every parameter by its PyTorch name.

    Of a repository on the hub the metadata come first, and then what they leave to load: whole files for a
    `Dataset`, kept in the cache of huggingface_hub and read without a network from then on; byte ranges for an
    `IterableDataset`. Filters are decided on the metadata, before any weights are read.

    Args:
        path_or_repo: A zoo's folder, or "org/name" for a dataset repository on the hub.
        split: "train", "validation", "test" or "ood", also as `datasets.Split`; None gives a dict of those that
            hold checkpoints.
        streaming: Whether to give an `IterableDataset` instead of a `Dataset` on memory-mapped files.
        filters: Which checkpoints, by their metadata: see `Filters`. None stands for all of them.
        columns: Metadata columns. None stands for all of them, [] for none.
        tensors: Parameters. None stands for all of them, [] for none.
        rollouts: Whether to add "rollout_inputs" uint8 [R, F] and, where inputs have labels, "rollout_labels"
            uint8 [R], for R rollouts of F bytes each.
        format: "torch" or "numpy".
        revision: Tag, branch or commit of a repository. None stands for the newest tag of this format version.
        check: What is compared with the zoo's hashes. "files": each file when it is first opened, remembered from
            then on by its size and times. "rows": each row, when an `IterableDataset` reads it, or when the
            `Dataset` is made. "off": nothing but what is downloaded whole. Byte ranges from the hub are compared
            by row with "files" too.

    Returns:
        A dataset, or a dict of datasets where `split` is None. A row has the parameters as float32 of their own
        shapes; a batch of N rows stacks them, such as [N, 4 * H, H] for "lstm.weight_hh_l0".

    Raises:
        RnnzooError: An argument does not fit the zoo, or a file does not fit its manifest.

    >>> train = load_zoo("zoo", "train", filters=[("step", ">", 0)])
    >>> batch = next(train.shuffle(seed=0).iter(batch_size=4))
    >>> batch["lstm.weight_hh_l0"].shape
    torch.Size([4, 128, 32])

    A `DataLoader` reads blocks too when its sampler hands out whole batches:
    `DataLoader(train, sampler=BatchSampler(RandomSampler(train), 64, False), batch_size=None)`.
    """
    type_name = format_name(format)
    source = open_source(path_or_repo, revision, check)
    names = choose_splits(source.manifest, split)
    make = streamed if streaming else map_style
    datasets = {}
    for name, metadata in zip(names, source.read_metadata(names), strict=True):
        selection = choose_columns(source.manifest.rnn_spec(), metadata.column_names, columns, tensors, rollouts)
        datasets[name] = make(source, name, metadata, selection, filters).with_format(type_name)
    if split is not None:
        return datasets[names[0]]
    return IterableDatasetDict(datasets) if streaming else DatasetDict(datasets)


CheckpointId = str | int
"""A checkpoint: its checkpoint_id, or its row in `Zoo.metadata`."""


class Zoo:
    """A zoo, to pick single models and small groups from.

    Of a repository on the hub, files are downloaded whole when a model in them is asked for.

    Args:
        path_or_repo: A zoo's folder, or "org/name" for a dataset repository on the hub.
        revision: Tag, branch or commit of a repository. None stands for the newest tag of this format version.
        check: What is compared with the zoo's hashes: see `load_zoo`. "rows": each row when it is asked for.

    Attributes:
        path_or_repo: As it was given.
        revision: Likewise.

    Raises:
        RnnzooError: The zoo cannot be opened, or has another format version.

    >>> zoo = Zoo("zoo")
    >>> best = zoo.metadata.to_pandas().nlargest(3, "accuracy")["checkpoint_id"]
    >>> model = zoo.model(best.iloc[0])  # a live torch module
    >>> zoo.batch(best)["lstm.weight_hh_l0"].shape
    torch.Size([3, 128, 32])
    """

    def __init__(self, path_or_repo: str | Path, revision: str | None = None, check: str = "files") -> None:
        self.path_or_repo, self.revision = path_or_repo, revision
        self._source = open_source(path_or_repo, revision, check)
        self._weights: dict[str, dict[str, NDArray[np.float32]]] = {}
        self._rollouts: dict[str, dict[str, NDArray[np.uint8]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled says where the zoo lies; the files are opened again where they are read."""
        place = {"path_or_repo": self.path_or_repo, "revision": self.revision}
        return {**place, "_source": self._source, "_weights": {}, "_rollouts": {}}

    def __len__(self) -> int:
        return sum(entry.checkpoints for entry in self.splits.values())

    def __repr__(self) -> str:
        spec, entries = self.spec, self.splits.values()
        splits = ", ".join(f"{entry.checkpoints} {name}" for name, entry in self.splits.items())
        return (
            f"Zoo {self.manifest.zoo} in {self._source.where}\n"
            f"  {len(self)} checkpoints ({splits})\n"
            f"  of {sum(entry.runs for entry in entries)} runs on {sum(entry.tasks for entry in entries)} tasks\n"
            f"  {spec.cell}, {spec.num_layers} layers of {spec.hidden_size} units, {spec.input_size} inputs, "
            f"{spec.output_size} outputs, {spec.num_parameters} parameters"
        )

    @property
    def manifest(self) -> Manifest:
        """What the zoo says of itself: its name, format, configuration, splits and shards."""
        return self._source.manifest

    @property
    def splits(self) -> dict[str, SplitEntry]:
        """Counts and shards of every split."""
        return self.manifest.splits

    @cached_property
    def spec(self) -> RNNSpec:
        """Cell, sizes and parameters that all RNNs of the zoo share."""
        return self.manifest.rnn_spec()

    @cached_property
    def encoding(self) -> Encoding:
        """What turns stored bytes into inputs and targets."""
        return encoding_of(self.manifest.encoding)

    @cached_property
    def metadata(self) -> pa.Table:
        """One row a checkpoint, of all splits: train, validation, test, ood."""
        return pa.concat_tables(self._source.read_metadata(list(self.splits))).combine_chunks()

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.metadata["checkpoint_id"].to_pylist())}

    def model(self, checkpoint: CheckpointId | Mapping[str, Any]) -> RNNModule:
        """One checkpoint as a live module.

        Args:
            checkpoint: A checkpoint_id, a row number of `metadata`, or a row of the metadata or of a dataset,
                which has a "checkpoint_id".

        Returns:
            A torch module with the checkpoint's weights.

        Raises:
            RnnzooError: The checkpoint is not in the zoo, the row has no "checkpoint_id", or a file does not fit
                its manifest.
        """
        if isinstance(checkpoint, Mapping):
            if "checkpoint_id" not in checkpoint:
                raise RnnzooError(f"row: found no 'checkpoint_id' among its columns {list(checkpoint)}")
            return self.model(checkpoint["checkpoint_id"])
        weights = self.batch([checkpoint])
        return RNNModule.of_weights({name: tensor[0] for name, tensor in weights.items()})

    def batch(self, ids: Sequence[CheckpointId]) -> dict[str, Tensor]:
        """Stacked weights of some checkpoints: what `torch.func` takes.

        Args:
            ids: The N checkpoints, each a checkpoint_id or a row number of `metadata`; one may occur several
                times.

        Returns:
            Parameter name -> float32 [N, *shape], in the order of `ids`.

        Raises:
            RnnzooError: There are no ids, one is not in the zoo, or a file does not fit its manifest.
        """
        rows = self._rows(ids)
        groups = self._by_shard(rows, "row")
        opened = self._open_weights([name for name, _, _ in groups])
        batch = {p.name: np.empty((len(rows), *p.shape), np.float32) for p in self.spec.parameters}
        for weights, (name, places, rows_there) in zip(opened, groups, strict=True):
            if self._source.check == "rows":
                metadata = self.metadata.take(pa.array(rows[places]))
                check_weight_hashes(metadata, self.spec, weights, rows_there, name)
            for parameter, block in batch.items():
                block[places] = weights[parameter][rows_there]
        return {name: torch.from_numpy(block) for name, block in batch.items()}

    def flat(self, ids: Sequence[CheckpointId]) -> Tensor:
        """Weights of some checkpoints, each as one flat vector.

        Args:
            ids: The N checkpoints, as for `batch`.

        Returns:
            float32 [N, P], where P counts all weights of a model, in the order of the spec's parameters.

        Raises:
            RnnzooError: As for `batch`.
        """
        return flatten_weights(self.spec, self.batch(ids))

    def rollouts(self, ids: Sequence[CheckpointId]) -> tuple[Tensor, Tensor]:
        """Stored rollouts of some checkpoints, and the models' log-probabilities on them.

        Args:
            ids: The N checkpoints, as for `batch`.

        Returns:
            The rollouts as stored, uint8 [N, R, F], for R rollouts of F bytes each; and the log-probabilities in
            nats, float32 [N, R, T, O], computed anew from the weights.

        Raises:
            RnnzooError: As for `batch`, or the encoding cannot read a rollout.
        """
        rows = self._rows(ids)
        inputs = torch.from_numpy(self.rollout_tensor("inputs", rows.tolist()))
        outputs = []
        for first in range(0, len(rows), MODELS_AT_ONCE):
            models = slice(first, first + MODELS_AT_ONCE)
            weights = self.batch(rows[models].tolist())
            with torch.no_grad():
                logits, _ = rnn_forward(weights, self.encoding.inputs(inputs[models]))
            outputs.append(logits.log_softmax(dim=-1))
        return inputs, torch.cat(outputs)

    def rollout_tensor(self, tensor: str, ids: Sequence[CheckpointId]) -> NDArray[np.uint8]:
        """Stored rollouts of some checkpoints as they are.

        Args:
            tensor: "inputs", or "labels" where inputs have labels.
            ids: The N checkpoints, as for `batch`.

        Returns:
            uint8 [N, R, F] for "inputs", with R rollouts of F bytes each; uint8 [N, R] for "labels".

        Raises:
            RnnzooError: As for `batch`, or the rollouts have no such tensor, or the encoding cannot read them.
        """
        rows = self._rows(ids)
        groups = self._by_shard(rows, "rollout_row")
        opened = self._open_rollouts([name for name, _, _ in groups], tensor)
        if self._source.check == "rows":
            for name, places, rows_there in groups:
                metadata = self.metadata.take(pa.array(rows[places]))
                check_rollout_hashes(metadata, self._rollouts[name], rows_there, rollouts_of(name))
        parts = [
            (places, rollouts[rows_there])
            for rollouts, (_, places, rows_there) in zip(opened, groups, strict=True)
        ]
        values = np.empty((len(rows), *parts[0][1].shape[1:]), np.uint8)
        for places, part in parts:
            values[places] = part
        check_items(self.encoding, self.spec.output_size, **{tensor: values})
        return values

    def has_labels(self, ids: Sequence[CheckpointId]) -> bool:
        """Whether the stored rollouts of all these checkpoints have labels.

        Args:
            ids: The N checkpoints, as for `batch`.

        Returns:
            Whether `rollout_tensor("labels", ids)` can be had. That of an imported zoo cannot.

        Raises:
            RnnzooError: As for `batch`.
        """
        names = [name for name, _, _ in self._by_shard(self._rows(ids), "rollout_row")]
        self._open_rollouts(names, "inputs")
        return all("labels" in self._rollouts[name] for name in names)

    def _rows(self, ids: Sequence[CheckpointId]) -> NDArray[np.int64]:
        """Rows of the metadata. Raises RnnzooError for an id that is not in the zoo."""
        if isinstance(ids, str):
            raise RnnzooError(f"ids: found the text {ids!r}, expected a list of checkpoints")
        rows = [self._row(checkpoint) for checkpoint in ids]
        if not rows:
            raise RnnzooError("ids: found none, expected at least one checkpoint")
        return np.array(rows, np.int64)

    def _row(self, checkpoint: Any) -> int:
        if isinstance(checkpoint, Integral) and not isinstance(checkpoint, bool):
            if 0 <= int(checkpoint) < len(self):
                return int(checkpoint)
            raise RnnzooError(f"checkpoint: found row {checkpoint}, expected 0 to {len(self) - 1}")
        if checkpoint not in self._row_of:
            raise RnnzooError(
                f"checkpoint: found {checkpoint!r}, expected a row number or a checkpoint_id such as "
                f"{next(iter(self._row_of))!r}"
            )
        return self._row_of[checkpoint]

    def _by_shard(
        self, rows: NDArray[np.int64], row_column: str
    ) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
        """For each shard: its weights file, which of `rows` are in it, and their rows there by `row_column`."""
        chosen = self.metadata.select(["shard", row_column]).take(pa.array(rows)).combine_chunks()
        shards, rows_there = chosen["shard"].chunk(0).dictionary_encode(), chosen[row_column].to_numpy()
        numbers = shards.indices.to_numpy()
        order = np.argsort(numbers, kind="stable")
        ends = np.cumsum(np.bincount(numbers))
        groups = zip(shards.dictionary.to_pylist(), np.split(order, ends[:-1]), strict=True)
        return [(name, places, rows_there[places]) for name, places in groups]

    @cached_property
    def _rows_of_shard(self) -> dict[str, slice]:
        """A shard's weights file -> its rows in the metadata, which stand together."""
        names, edges = runs_of_names(self.metadata["shard"])
        return {name: slice(*ends) for name, ends in zip(names, pairwise(edges.tolist()), strict=True)}

    def _open_weights(self, names: Sequence[str]) -> list[dict[str, NDArray[np.float32]]]:
        """The weights of some shards, mapped: they stay open."""
        new = [name for name in names if name not in self._weights]
        for name, file in zip(new, self._source.map_files(new), strict=True):
            rows = self._rows_of_shard[name]
            check_weights(file.specs, self.spec, rows.stop - rows.start, file.where)
            self._weights[name] = dict(file.tensors)
        return [self._weights[name] for name in names]

    def _open_rollouts(self, names: Sequence[str], tensor: str) -> list[NDArray[np.uint8]]:
        """A tensor of the rollouts of some shards, by the names of their weights files; likewise."""
        new = [name for name in names if name not in self._rollouts]
        for name, file in zip(new, self._source.map_files([rollouts_of(name) for name in new]), strict=True):
            rows = self.metadata["rollout_row"].to_numpy()[self._rows_of_shard[name]]
            check_rollouts(file.specs, rows, file.where)
            self._rollouts[name] = dict(file.tensors)
        for name in names:
            if tensor not in self._rollouts[name]:
                raise RnnzooError(f"{name}: its rollouts have no {tensor!r}")
        return [self._rollouts[name][tensor] for name in names]

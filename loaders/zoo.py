"""`Zoo`: single models and small groups of a zoo, to look at and to work with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.checkpoints import ID, Checkpoint, Checkpoints, Index
from rnnzoo.loaders.reading.shard_files import ShardFiles
from rnnzoo.loaders.running import (
    Device,
    answers,
    encoded_sequences,
    given_sequences,
    given_weights,
    known_device,
    log_probabilities,
    written_strings,
)
from rnnzoo.loaders.source.opening import open_source
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError, check_whole_number
from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rescoring import rescore_stored
from rnnzoo.zoo_builder.rnn import RNNModule, RNNSpec, Weights, flatten_weights
from rnnzoo.zoo_builder.storage.manifest import Manifest, SplitEntry, join_metadata
from rnnzoo.zoo_builder.tasks import family_names, find_family
from rnnzoo.zoo_builder.tasks.encodings import Encoding, check_items, encoding_of
from rnnzoo.zoo_builder.tasks.family import TaskFamily


class Zoo:
    """A zoo, to pick single models and small groups from.

    Of a repository on the hub, files are downloaded whole when a model in them is asked for.

    Args:
        path_or_repo: A zoo's folder, or "org/name" or "org/name@revision" for a dataset repository on the hub.
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

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled says where the zoo lies; the files are opened again where they are read."""
        return {"path_or_repo": self.path_or_repo, "revision": self.revision, "_source": self._source}

    def __len__(self) -> int:
        return sum(entry.checkpoints for entry in self.splits.values())

    def __getitem__(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """One checkpoint: its metadata, and its weights by parameter name. Errors as in `batch`."""
        row = self._index.row(checkpoint)
        weights = {name: tensor[0] for name, tensor in self.batch([row]).items()}
        return self.metadata.slice(row, 1).to_pylist()[0] | weights

    def __contains__(self, checkpoint: Checkpoint) -> bool:
        """Whether there is such a checkpoint, by its metadata alone. Raises RnnzooError as `Index.row` does."""
        return checkpoint in self._index

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(len(self)))

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
        tables = self._source.read_metadata(list(self.splits))
        return join_metadata(self._source.where, tables).combine_chunks()

    @cached_property
    def family(self) -> type[TaskFamily[Any]]:
        """The family of the zoo's tasks: it knows what sequences mean, see its `encode` and `decode`.

        Raises:
            RnnzooError: The family is not installed.
        """
        name = self.manifest.config["family"]
        if name not in family_names():
            raise RnnzooError(
                f"zoo {self.manifest.zoo}: found the family {name!r}, which is not installed; expected one of "
                f"{', '.join(family_names())} (`load_zoo` and weights need none)"
            )
        return find_family(name)

    def tasks(self, ids: Checkpoints) -> list[Any]:
        """The tasks of some checkpoints.

        Args:
            ids: The N checkpoints, as for `batch`.

        Returns:
            N tasks of `family`.

        Raises:
            RnnzooError: As for `batch`, or the metadata lack a column that says the task, or the family is not
                installed.
        """
        for name in self.family.task_columns.names:
            if name not in self.metadata.column_names:
                raise RnnzooError(f"zoo {self.manifest.zoo}: found no column {name!r}, which says the task")
        rows = self.metadata.take(pa.array(self._index.rows(ids)))
        return [self.family.task_of(row) for row in rows.to_pylist()]

    def model(self, checkpoint: Checkpoint, device: Device = None) -> RNNModule:
        """One checkpoint as a live module.

        Args:
            checkpoint: A checkpoint_id, a row number of `metadata`, or a row that has a "checkpoint_id": of
                pandas (or that is labelled by it), of the metadata, of a dataset.
            device: Where the module stands; None for the CPU.

        Returns:
            A torch module with the checkpoint's weights.

        Raises:
            RnnzooError: The checkpoint is not in the zoo, the row has no "checkpoint_id" or hashes of another zoo,
                there is no such device, or a file does not fit its manifest.
        """
        weights = self.batch([self._index.row(checkpoint)])
        model = RNNModule.of_weights({name: tensor[0] for name, tensor in weights.items()})
        return model.to(known_device(device))

    def batch(self, ids: Checkpoints, device: Device = None) -> dict[str, Tensor]:
        """Stacked weights of some checkpoints: what `torch.func` takes.

        Args:
            ids: The N checkpoints, each as for `model`, as often as it is needed; or a table of them (of pandas,
                pyarrow or datasets); or truth values, one for each row of `metadata`. A Series of those is taken
                by its labels: row numbers or ids, in any order.
            device: Where the tensors stand; None for the CPU.

        Returns:
            Parameter name -> float32 [N, *shape], in the order of `ids`.

        Raises:
            RnnzooError: There are no ids, one is not in the zoo, a row or table has hashes of another zoo, there
                is no such device, or a file does not fit its manifest.
        """
        where = known_device(device)
        weights = self._files.weights(self._index.rows(ids))
        return {name: torch.from_numpy(values).to(where) for name, values in weights.items()}

    def flat(self, ids: Checkpoints, device: Device = None) -> Tensor:
        """Weights of some checkpoints, each as one flat vector.

        Args:
            ids: The N checkpoints, as for `batch`.
            device: Where the tensor stands; None for the CPU.

        Returns:
            float32 [N, P], where P counts all weights of a model, in the order of the spec's parameters.

        Raises:
            RnnzooError: As for `batch`.
        """
        return flatten_weights(self.spec, self.batch(ids, device))

    def rollouts(self, ids: Checkpoints, device: Device = None) -> tuple[Tensor, Tensor]:
        """Stored rollouts of some checkpoints, and the models' log-probabilities on them.

        Args:
            ids: The N checkpoints, as for `batch`.
            device: Where the RNNs run, and the tensors stand; None for the CPU.

        Returns:
            The rollouts as stored, uint8 [N, R, F], for R rollouts of F bytes each; and the log-probabilities in
            nats, float32 [N, R, T, O], computed anew from the weights.

        Raises:
            RnnzooError: As for `batch`, or the encoding cannot read a rollout.
        """
        rows = self._index.rows(ids)
        weights = self.batch(rows, device)
        inputs = torch.from_numpy(self.rollout_tensor("inputs", rows)).to(weights["head.bias"].device)
        return inputs, log_probabilities(self.encoding, weights, inputs)

    def rollout_tensor(self, tensor: str, ids: Checkpoints) -> NDArray[np.uint8]:
        """Stored rollouts of some checkpoints as they are.

        Args:
            tensor: "inputs", or "labels" where inputs have labels.
            ids: The N checkpoints, as for `batch`.

        Returns:
            uint8 [N, R, F] for "inputs", with R rollouts of F bytes each; uint8 [N, R] for "labels".

        Raises:
            ParameterError: The rollouts have no such tensor.
            RnnzooError: As for `batch`, or the encoding cannot read them.
        """
        rows = self._index.rows(ids)
        return self._files.rollouts(
            tensor, rows, lambda found: check_items(self.encoding, self.spec.output_size, **{tensor: found})
        )

    def has_labels(self, ids: Checkpoints) -> bool:
        """Whether the stored rollouts of all these checkpoints have labels.

        Args:
            ids: The N checkpoints, as for `batch`.

        Returns:
            Whether `rollout_tensor("labels", ids)` can be had. That of an imported zoo cannot.

        Raises:
            RnnzooError: As for `batch`.
        """
        return self._files.have_rollouts("labels", self._index.rows(ids))

    def generate(
        self, ids: Checkpoints, strings: int = 10, beginning: str = "", seed: int = 0, device: Device = None
    ) -> Tensor:
        """What RNNs write at temperature 1, in a zoo whose RNNs write.

        Args:
            ids: The N checkpoints, as for `batch`.
            strings: How many strings each writes, M.
            beginning: What all strings begin with, as `family.encode` takes it, such as "aab", without an end.
            seed: For the draws of tokens, below 2^64; those of a checkpoint do not depend on the others.
            device: Where the RNNs run, and the tensor stands; None for the CPU.

        Returns:
            uint8 [N, M, F], as rollouts are stored; `family.decode` makes texts of them.

        Raises:
            ParameterError: `strings`, `seed` or `beginning` is none of these.
            RnnzooError: As for `batch`, the RNNs of the zoo write nothing, or they cannot read the beginning.
        """
        if self.encoding.opening is None or not self.family.generates:
            raise RnnzooError(f"zoo {self.manifest.zoo}: its RNNs answer and write nothing; expected `classify`")
        for name, value, least, most in (("strings", strings, 1, 2**31 - 1), ("seed", seed, 0, 2**64 - 1)):
            check_whole_number(name, value, least, most)
        given = self._tokens(beginning)
        rows = self._index.rows(ids)
        weights = self.batch(rows, device)
        steps = self.encoding.steps(self.rollout_tensor("inputs", rows[:1]).shape[-1])
        draws = [uniform(seed, Stream.STRINGS, int(row), strings * steps).reshape(strings, steps) for row in rows]
        uniforms = torch.from_numpy(np.stack(draws)).to(weights["head.bias"].device)
        return written_strings(weights, self.encoding.opening, uniforms, given)

    def classify(
        self, ids: Checkpoints, sequences: Any = None, device: Device = None, stored: Any = None
    ) -> Tensor:
        """The likeliest answers of RNNs, in a zoo whose RNNs answer.

        Args:
            ids: The N checkpoints, as for `batch`.
            sequences: B of them, as `family.encode` takes them, such as upright images. Every RNN sees them as its
                task shows them: turned by its angle.
            device: Where the RNNs run, and the tensor stands; None for the CPU.
            stored: In the place of `sequences`, what the RNNs see, as it is: uint8 [N, B, F] as `rollout_tensor`
                gives it, or [B, F] for all of them. Stored images are turned already.

        Returns:
            int64 [N, B], of the last step; [N, B, T] where RNNs answer at every step.

        Raises:
            ParameterError: There are both or neither of `sequences` and `stored`, they are none (B is 0), or
                `stored` has another shape.
            RnnzooError: As for `batch`, the RNNs of the zoo write, or the family cannot read the sequences.
        """
        if self.family.generates:
            raise RnnzooError(f"zoo {self.manifest.zoo}: its RNNs write strings; expected `generate`")
        if (sequences is None) == (stored is None):
            raise ParameterError("sequences", "expected either these or `stored`")
        rows = self._index.rows(ids)
        if stored is not None:
            seen = given_sequences(stored, len(rows))
            check_items(self.encoding, self.spec.output_size, inputs=seen)
        else:
            encoded = encoded_sequences(self.family, sequences)
            check_items(self.encoding, self.spec.output_size, inputs=encoded)
            seen = np.stack([self.family.seen(task, encoded) for task in self.tasks(rows)])
        weights = self.batch(rows, device)
        inputs = torch.from_numpy(seen).to(weights["head.bias"].device)
        return answers(self.encoding, weights, inputs)

    def evaluate(
        self,
        ids: Checkpoints,
        weights: Weights | None = None,
        items_folder: str | Path | None = None,
        device: str = "auto",
        kernel: str = "auto",
    ) -> pd.DataFrame:
        """Scores of checkpoints, made anew from their weights by the rules of the build; or of other weights.

        Args:
            ids: The N checkpoints, as for `batch`.
            weights: Name -> [N, *shape], tensors or arrays: scored in the place of the checkpoints' own, on their
                tasks.
            items_folder: Where MNIST is, or what else a family reads from files.
            device: "auto", "cpu" or "cuda".
            kernel: "auto", "fused" or "torch".

        Returns:
            One row a checkpoint, in the order of `ids`, with the checkpoint_id as its index: accuracy, losses and
            further columns of the metadata, not rounded.

        Raises:
            RnnzooError: As for `batch`, or the zoo was imported, its items cannot be had, or weights do not fit.
        """
        rows = self._index.rows(ids)
        flat = self.flat(rows) if weights is None else given_weights(self.spec, weights, len(rows))
        chosen = self.metadata.take(pa.array(rows)).to_pylist()
        folder = None if items_folder is None else Path(items_folder)
        scores = rescore_stored(self.manifest, chosen, flat, folder, device, kernel)
        return pd.DataFrame(scores, index=pd.Index([row[ID] for row in chosen], name=ID))

    def _tokens(self, beginning: str) -> list[int]:
        """The bytes of a beginning after the opening one: those by which it differs from an empty text.

        Raises ParameterError for what is no text, or has an end.
        """
        if isinstance(beginning, str) and not beginning:
            return []
        empty = self.family.encode("")
        end = self.family.decode(empty)
        if not isinstance(beginning, str) or (end and end in beginning):
            problem = f"found {beginning!r:.200}, expected a text without {end!r}, the end of a string"
            raise ParameterError("beginning", problem)
        begun = self.family.encode(beginning)
        return begun[1 : 1 + np.flatnonzero(begun != empty).max(initial=0)].tolist()

    @cached_property
    def _index(self) -> Index:
        return Index(self.metadata)

    @cached_property
    def _files(self) -> ShardFiles:
        return ShardFiles(self._source, self.metadata, self.spec)

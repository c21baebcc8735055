"""`load_zoo`: a zoo as a dataset, for training loops."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, NamedSplit

from rnnzoo.loaders.reading.formats import format_name
from rnnzoo.loaders.reading.map_style import map_style
from rnnzoo.loaders.reading.selection import Filters, choose_columns, choose_splits, in_order
from rnnzoo.loaders.reading.stream import streamed
from rnnzoo.loaders.source.opening import open_source
from rnnzoo.zoo_builder.errors import ParameterError


def load_zoo(
    path_or_repo: str | Path,
    split: str | NamedSplit | None = None,
    *,
    streaming: bool = False,
    filters: Filters | None = None,
    columns: Iterable[str] | None = None,
    tensors: Iterable[str] | None = None,
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
        path_or_repo: A zoo's folder, or "org/name" or "org/name@revision" for a dataset repository on the hub.
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
    for option, value in (("rollouts", rollouts), ("streaming", streaming)):
        if not isinstance(value, bool | np.bool_):
            raise ParameterError(option, f"found {value!r}, expected True or False")
    rollouts, streaming = bool(rollouts), bool(streaming)
    source = open_source(path_or_repo, revision, check)
    names = choose_splits(source.manifest, split)
    columns, tensors = in_order("columns", columns), in_order("tensors", tensors)
    make = streamed if streaming else map_style
    datasets = {}
    for name, metadata in zip(names, source.read_metadata(names), strict=True):
        selection = choose_columns(source.manifest.rnn_spec(), metadata.column_names, columns, tensors, rollouts)
        datasets[name] = make(source, name, metadata, selection, filters).with_format(type_name)
    if split is not None:
        return datasets[names[0]]
    return IterableDatasetDict(datasets) if streaming else DatasetDict(datasets)

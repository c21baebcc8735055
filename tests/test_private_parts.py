"""What is used of `datasets` and torch beyond their documentation is still there, each in one place."""

import ast
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from datasets import Dataset, IterableDataset
from datasets.info import DatasetInfosDict
from lowest_versions import lowest_versions

from rnnzoo.loaders.reading import private_parts
from rnnzoo.zoo_builder.rnn.private_parts import is_inside_transform

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("zoo_builder/**/*.py"), *ROOT.glob("loaders/**/*.py")])
HOMES = {"loaders/reading/private_parts.py", "zoo_builder/rnn/private_parts.py"}
EXAMPLES = private_parts.ArrowExamplesIterable
SIGNATURES = [
    (EXAMPLES.__init__, "self generate_tables_fn kwargs generate_more_kwargs_fn sleep_on_threads_shutdown"),
    (EXAMPLES._iter_arrow, "self"),
    (EXAMPLES.shuffle_data_sources, "self generator"),
    (EXAMPLES.shard_data_sources, "self num_shards index contiguous"),
    (EXAMPLES.reshard_data_sources, "self"),
    (private_parts.TableBlock.__init__, "self table"),
    (private_parts.table_cast, "table schema"),
    (private_parts.table_flatten, "table"),
    (private_parts.get_formatter, "format_type format_kwargs"),
    (private_parts.register_formatter, "formatter_cls format_type aliases"),
    (private_parts.TensorFormatter.format_row, "self pa_table"),
    (private_parts.TensorFormatter.format_column, "self pa_table"),
    (private_parts.TensorFormatter.format_batch, "self pa_table"),
    (private_parts.TorchFormatter.recursive_tensorize, "self data_struct"),
    (private_parts.TorchFormatter._tensorize, "self value"),
    (private_parts.NumpyFormatter.recursive_tensorize, "self data_struct"),
    (private_parts.NumpyFormatter._tensorize, "self value"),
    (private_parts.NumpyFormatter._consolidate, "self column"),
    (private_parts.TorchFormatter.__init__, "self features token_per_repo_id torch_tensor_kwargs"),
    (private_parts.NumpyFormatter.__init__, "self features token_per_repo_id np_array_kwargs"),
    (DatasetInfosDict.to_dataset_card_data, "self dataset_card_data"),
]


@pytest.mark.parametrize(
    ("function", "parameters"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_signatures(function, parameters):
    assert list(inspect.signature(function).parameters) == parameters.split()


def test_signatures_that_are_longer():
    for function, first in [
        (Dataset.__init__, "self arrow_table info split indices_table fingerprint"),
        (IterableDataset.__init__, "self ex_iterable info split"),
    ]:
        assert list(inspect.signature(function).parameters)[: len(first.split())] == first.split()


def test_attributes():
    rows = Dataset.from_dict({"a": [1, 2, 3]})
    assert private_parts.chosen_rows(rows) is None
    assert private_parts.chosen_rows(rows.select([2, 0])).tolist() == [2, 0]
    examples = EXAMPLES(lambda **_: iter(()), {"shards": [1, 2]})
    assert examples._state_dict is None
    assert {"shard_idx": 0, "shard_example_idx": 0}.items() <= examples._init_state_dict().items()
    assert (examples.num_shards, examples.iter_arrow) == (2, examples._iter_arrow)


def test_every_dependency_has_a_lowest_version():
    found = lowest_versions()
    assert {"torch", "datasets", "typer", "pytest", "hypothesis"} <= found.keys()
    for name, lowest in found.items():
        numbers, installed = ([int(n) for n in re.findall(r"\d+", v)] for v in (lowest, version(name)))
        assert numbers <= installed, f"{name}: found {version(name)}, expected {lowest} or later"


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_transforms_of_torch(transform):
    seen = []
    transform(lambda x: seen.append(is_inside_transform()) or x.sum())(torch.ones(2))
    assert seen == [True]
    assert not is_inside_transform()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_parts_have_their_own_modules(path):
    if str(path.relative_to(ROOT)) in HOMES:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            if names[0] == "rnnzoo":
                continue
            assert not [name for name in names if name.startswith("_")], f"{path}:{node.lineno}"
            assert names[0] != "datasets" or node.module in ("datasets", "datasets.info"), f"{path}:{node.lineno}"

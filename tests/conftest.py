"""Two tiny zoos, built once a session by the real builder, and one thread for all that computes.

Tiny tensors gain nothing from threads, and on a busy machine threads that wait for each other cost many times the
work. The variable reaches torch here, if it is set before torch is imported, and every process that tests start.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
from pathlib import Path

import pytest

from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import resolve_config

TINY = {
    "runs": 12,
    "steps": 100,
    "checkpoints": (0, 40, 100),
    "batch_size": 8,
    "evaluation_items": 40,
    "sampled_strings": 40,
    "rollouts": 10,
    "runs_per_shard": 2,
}


def build(zoo: str, folder: Path) -> Path:
    build_zoo(resolve_config(zoo, "smoke", TINY), folder, TorchKernel(), Unwatched())
    return folder


@pytest.fixture(scope="session")
def language_zoo(tmp_path_factory) -> Path:
    """A finished zoo of formal languages: 12 runs, 3 checkpoints each, several shards. Not to be changed."""
    return build("formal_languages", tmp_path_factory.mktemp("zoos") / "languages")


@pytest.fixture(scope="session")
def digits_zoo(tmp_path_factory) -> Path:
    """Likewise of rotated digits."""
    return build("sequential_digits", tmp_path_factory.mktemp("zoos") / "digits")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A function: the folder of a config's zoo, built by one process without a break, once in a session."""
    folders = {}

    def find(config) -> Path:
        if config not in folders:
            folders[config] = tmp_path_factory.mktemp("undisturbed") / "zoo"
            build_zoo(config, folders[config], TorchKernel(), Unwatched())
        return folders[config]

    return find


@pytest.fixture
def copied(language_zoo, tmp_path) -> Path:
    """The zoo of languages, to be broken."""
    return shutil.copytree(language_zoo, tmp_path / "zoo")


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster on this machine, which whatever asks for one in this process then uses."""
    pytest.importorskip("ray")
    from rnnzoo.zoo_builder.cluster import connect

    with connect("local") as cluster:
        yield cluster

"""Two tiny zoos, built once a session by the real builder, and one thread for all that computes.

Under pytest-xdist what is slow to make is made by one worker and used by all, and a file's tests stay together.
Tiny tensors gain nothing from threads, and on a busy machine threads that wait for each other cost many times the
work. The variable reaches torch here, if it is set before torch is imported, and every process that tests start.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from browser import PROGRAM, Page, browse
from commands import exit_code
from filelock import FileLock
from synthetic_results import write_results

from rnnzoo import evaluate
from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.zoo_builder.pipeline import Unwatched, build_zoo
from rnnzoo.zoo_builder.release import release_zoo
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

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


def pytest_configure():
    """Helpers' asserts count under `python -O` too, as those of tests do."""
    pytest.register_assert_rewrite("encoder_checks", "loopback_hub", "tiny_builds")


def pytest_collection_modifyitems(items):
    """Which tests pytest-xdist leaves on one worker: those of a file, and all that need a Ray cluster."""
    for item in items:
        group = "ray" if "ray_cluster" in item.fixturenames else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def build(config: ZooConfig, folder: Path) -> None:
    build_zoo(config, folder, TorchKernel(), Unwatched())


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function: the folder or file of a name, made by whichever worker of the session needs it first."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    home = home / "shared"
    home.mkdir(exist_ok=True)

    def find(name: str, make: Callable[[Path], object]) -> Path:
        made = home / f"{name}.made"
        with FileLock(home / f"{name}.lock"):
            if not made.exists():
                make(home / name)
                made.touch()
        return home / name

    return find


@pytest.fixture(scope="session")
def language_zoo(shared) -> Path:
    """A finished zoo of formal languages: 12 runs, 3 checkpoints each, several shards. Not to be changed."""
    return shared("languages", lambda folder: build(resolve_config("formal_languages", "smoke", TINY), folder))


@pytest.fixture(scope="session")
def digits_zoo(shared) -> Path:
    """Likewise of rotated digits."""
    return shared("digits", lambda folder: build(resolve_config("sequential_digits", "smoke", TINY), folder))


@pytest.fixture(scope="session")
def undisturbed(shared):
    """A function: the folder of a config's zoo, built by one process without a break, once in a session."""

    def find(config) -> Path:
        name = sha256(repr(config).encode()).hexdigest()[:16]
        return shared(f"undisturbed-{name}", lambda folder: build(config, folder))

    return find


@pytest.fixture(scope="session")
def language_release(language_zoo, shared) -> Path:
    """A release of the zoo of languages, with outputs. Not to be changed."""
    return shared(
        "language-release", lambda folder: release_zoo(language_zoo, folder, TorchKernel(), outputs=True)
    )


@pytest.fixture(scope="session")
def digits_release(digits_zoo, shared) -> Path:
    """Likewise of the zoo of rotated digits."""
    return shared("digits-release", partial(release_zoo, digits_zoo, kernel=TorchKernel(), outputs=True))


@pytest.fixture(scope="session")
def report(shared) -> Path:
    """The report of made-up results on two zoos: report.html, report.md, and the text as report.txt."""

    def make(folder: Path) -> None:
        for zoo in ("formal_languages", "sequential_mnist"):
            write_results(folder / "results", zoo)
        text = make_report(folder / "results", folder, baselines=False)
        (folder / "report.txt").write_text(text)

    return shared("report", make)


@pytest.fixture
def without_page(monkeypatch) -> None:
    """Reports are text alone: to draw the page takes seconds, and it has tests of its own."""
    monkeypatch.setattr("rnnzoo.loaders.benchmark.report.render_page", lambda tables: "")


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Iterator[Page]:
    """A page of a real browser. `page.size` and `page.open` begin anew."""
    if PROGRAM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    with browse(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def builder(capsys):
    """Run `zoo-builder` in this process: -> exit code, output, errors."""
    return lambda *arguments: (exit_code("zoo-builder", *arguments), *capsys.readouterr())


@pytest.fixture
def bench(capsys):
    """Likewise `zoo-bench`."""
    return lambda *arguments: (exit_code("zoo-bench", *arguments), *capsys.readouterr())


@pytest.fixture
def short_readouts(monkeypatch):
    """Readouts are fitted in a few steps, in this process: for tests of what is done with them."""
    for name, few in {"MLP_STEPS": 50, "TREES_OF_NUMBERS": 10, "TREES_OF_CLASSES": 5}.items():
        monkeypatch.setattr(f"rnnzoo.loaders.benchmark.prediction.readout.{name}", few)


@pytest.fixture
def copied(language_zoo, tmp_path) -> Path:
    """The zoo of languages, to be broken."""
    return shutil.copytree(language_zoo, tmp_path / "zoo")


@pytest.fixture(scope="session")
def trained_as_in_paper(tmp_path_factory) -> Callable[[Path, str], Path]:
    """Zoo and target -> a folder of results: two steps of `flat_mlp` by emulation, under the paper's protocol."""

    def train(zoo: Path, target: str) -> Path:
        out = tmp_path_factory.mktemp("results")
        few = {"steps": 2, "emulator_hidden": 8, "validation_rollouts": 3}
        evaluate("flat_mlp", zoo, "frozen", target, 1, few, out, protocol="paper", quiet=True)
        return out

    return train


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster on this machine, which whatever asks for one in this process then uses."""
    pytest.importorskip("ray")
    from rnnzoo.zoo_builder.cluster import connect

    with connect("local") as cluster:
        yield cluster

"""What is installed: one package, complete, that works beside folders of the same names as its rooms."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from rnnzoo import load_zoo
from tests.tiny_builds import build_command

pytest.importorskip("setuptools", minversion="77")  # which builds the wheels

ROOT = Path(__file__).parent.parent
ROOMS = ("zoo_builder", "loaders", "dataset_cards")
FEW = ("--target", "step", "--seeds", 1, "--out", "results")
PLANTED = Path("zoo_builder/planted/module.py")
LEFTOVERS = (
    "zoo_builder/__pycache__/zoos.cpython-311.pyc",
    "dataset_cards/formal_languages/small/results/strict/flat_mlp/weights.safetensors",
    "dataset_cards/formal_languages/small/results/report.html",
    "build/lib/rnnzoo/zoo_builder/gone.py",
)
"""Files that are no part of the project, as they lie around after some work."""

OPEN = """
import sys
from pathlib import Path
import rnnzoo
from rnnzoo import Zoo, load_zoo
from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.zoo_builder.release import render_card
zoo = Path(sys.argv[1])
rows = load_zoo(zoo, split="train")
print(len(rows), rnnzoo.__file__)
Zoo(zoo).model(rows[0]["checkpoint_id"])
assert "formal_languages" in render_card(zoo)
assert "step_only" in make_report(Path("results"), Path("report"))
"""


def run(*command, **more) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of the repository with leftovers in it, and with a new folder that has no `__init__.py`."""
    folder = tmp_path_factory.mktemp("sources")
    for entry in ("rnnzoo", *ROOMS, "tests", "benchmarks", "docs"):
        copytree(ROOT / entry, folder / entry, ignore=ignore_patterns("__pycache__", "*.safetensors", "report.*"))
    for file in ROOT.glob("[!.]*.*"):
        if file.is_file():
            copy(file, folder)
    copy(ROOT / "Makefile", folder)
    copy(ROOT / "LICENSE", folder)
    for name in (PLANTED, *LEFTOVERS):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def sdist(sources, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", program, cwd=sources)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel, built from the source distribution alone."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-index",
        "--no-deps",
        sdist,
        "-w",
        folder,
    )
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an environment that has the wheel, and finds its dependencies in this one.

    A line in a .pth file adds a folder without reading the .pth files in it: not those of editable installs.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    programs = folder / "bin"
    packages = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    elsewhere = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(packages) / "dependencies.pth").write_text("\n".join(elsewhere))
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-index", "--no-deps", wheel)
    return programs


def files_in(folder: Path, start: Path) -> set[str]:
    return {path.relative_to(start).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_has_every_file_of_the_rooms_and_nothing_else(sources, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"rnnzoo"}
    rooms = {f"rnnzoo/{name}" for room in ROOMS for name in files_in(sources / room, sources) - set(LEFTOVERS)}
    assert names == rooms | files_in(sources / "rnnzoo", sources)
    assert f"rnnzoo/{PLANTED}" in names
    assert {".cpp", ".h", ".jinja", ".js", ".css", ".md", ".json"} <= {Path(name).suffix for name in names}
    assert "rnnzoo/py.typed" in names


def test_the_source_distribution_has_the_tests_and_the_programs_beside_them(sources, sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not names & set(LEFTOVERS)
    assert {"Makefile", "LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names
    for folder in ("tests", "benchmarks", "docs"):
        assert files_in(sources / folder, sources) <= names


@pytest.mark.slow
def test_an_installed_package_works_beside_folders_of_its_rooms_names(installed, tmp_path):
    for name in (*ROOMS, "benchmarks", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('this is the {name} of somebody else')")
    zoo = tmp_path / "zoo"
    arguments = build_command(zoo, kernel="auto")[3:]
    run(installed / "zoo-builder", *arguments, cwd=tmp_path)
    run(installed / "zoo-bench", "run", "--zoo", zoo, "--encoder", "step_only", *FEW, cwd=tmp_path)
    rows, place = run(installed / "python", "-c", OPEN, zoo, cwd=tmp_path).split()
    assert int(rows) == len(load_zoo(zoo, split="train"))
    assert Path(place).is_relative_to(installed.parent)

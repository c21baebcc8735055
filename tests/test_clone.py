"""Python started in the folder that holds a clone called rnnzoo: what it imports is the installed package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnzoo

ROOT = Path(__file__).parent.parent

SCRIPT = """
import sys
from multiprocessing import get_context
from rnnzoo import Zoo, evaluate, load_zoo
import rnnzoo, rnnzoo.command_line, rnnzoo.dataset_cards

def place():
    from rnnzoo import load_zoo
    return load_zoo.__module__, sys.modules["rnnzoo"].__file__

if __name__ == "__main__":
    context = get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(place) == place(), (pool.apply(place), place())
    files = [module.__file__ for name, module in list(sys.modules.items()) if name.startswith("rnnzoo")]
    files = [file for file in files if file]
    assert len(files) == len(set(files))
    print(rnnzoo.__file__)
"""


@pytest.fixture
def holder(tmp_path) -> Path:
    """A folder that holds the clone, and a script."""
    (tmp_path / "rnnzoo").symlink_to(ROOT)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def run(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["script.py"],
        ["-c", "from rnnzoo import load_zoo, Zoo, evaluate; import rnnzoo; print(rnnzoo.__file__)"],
        ["-c", "import rnnzoo.loaders.zoo; import rnnzoo; print(rnnzoo.__file__)"],
    ],
)
def test_what_is_imported_is_the_installed_package(words, holder):
    found = run(holder, *words).strip()
    assert os.path.samefile(found, rnnzoo.__file__)


def test_the_package_runs_as_a_program(holder):
    assert "formal_languages" in run(holder, "-m", "rnnzoo.zoo_builder", "available")


def test_a_clone_alone_says_what_to_do(holder):
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import rnnzoo"], cwd=holder, capture_output=True, text=True, check=False
    )
    assert "ModuleNotFoundError: found the clone" in done.stderr
    assert "expected `pip install -e " in done.stderr


def test_a_clone_by_another_name_is_nothing_of_its_own(tmp_path):
    (tmp_path / "other").symlink_to(ROOT)
    program = "import other, rnnzoo; print([name for name in vars(other) if not name.startswith('__')])"
    assert run(tmp_path, "-c", program).strip() == "[]"

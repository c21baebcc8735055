"""Families and encoders of other packages whose names are taken, or which are broken: said once."""

import subprocess
import sys

import pytest
from commands import exit_code

from rnnzoo.loaders.encoders.names import encoder_location
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.tasks.combination_locks.family import CombinationLocks

PACKAGES = {
    "one": "[rnnzoo.encoders]\ntwin = one:Twin\nflat_mlp = one:Flat\n"
    "[rnnzoo.families]\nformal_languages = one:Mine\n",
    "two": "[rnnzoo.encoders]\ntwin = two:Twin\nmissing = two.nothing:Gone\n"
    "absent = no_such_package.encoder:Gone\n",
    "three": "[rnnzoo.encoders]\nbroken = three:Broken\n[rnnzoo.families]\nlost = no_such_package:Lost\n",
}
SOURCES = {"one": "", "two": "", "three": "class Broken(:\n"}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Three installed packages."""
    for package, points in PACKAGES.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(SOURCES[package])
        described = tmp_path / f"{package}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        (
            "rnnzoo.loaders.cli",
            ["list"],
            [
                "encoder: 'flat_mlp' of one:Flat is left out, the product has this name; expected another",
                "encoder: two.nothing:Gone cannot be read: ModuleNotFoundError: No module named 'two.nothing'",
                "encoder: no_such_package.encoder:Gone cannot be read: ModuleNotFoundError",
                "encoder: three:Broken cannot be read: SyntaxError",
                "family: 'formal_languages' of one:Mine is left out, the product has this name; expected another",
                "family: 'lost' could not be imported from no_such_package:Lost",
            ],
        ),
        (
            "rnnzoo.zoo_builder.cli",
            ["available"],
            [
                "family: 'formal_languages' of one:Mine is left out, the product has this name; expected another",
                "family: 'lost' could not be imported from no_such_package:Lost",
            ],
        ),
    ],
    ids=["zoo-bench list", "zoo-builder available"],
)
@pytest.mark.usefixtures("site")
def test_what_is_left_out_is_said_once(module, words, said):
    program = f"from {module} import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {text: done.stderr.count(text) for text in said} == dict.fromkeys(said, 1)


@pytest.mark.usefixtures("site")
def test_an_encoder_that_two_packages_have_is_told_with_both():
    with pytest.raises(ParameterError, match=r"found 'twin' in \w+:Twin and in \w+:Twin, expected one"):
        encoder_location("twin")
    assert encoder_location("flat_mlp").startswith("rnnzoo.")


def test_the_folder_of_mnist_is_for_images_alone(tmp_path, monkeypatch):
    given = []

    def load(cls, source, folder=None):
        given.append(folder)
        return cls(6)

    monkeypatch.setattr(CombinationLocks, "load", classmethod(load))
    monkeypatch.setenv("RNNZOO_MNIST_DIR", str(tmp_path))
    words = ["build", "combination_locks_6", "--out", tmp_path / "zoo", "--runs", 4, "--steps", 2, "--dry-run"]
    assert exit_code("zoo-builder", *words, "--kernel", "torch") == 0
    (tmp_path / "mine").mkdir()
    assert exit_code("zoo-builder", *words, "--kernel", "torch", "--items", tmp_path / "mine") == 0
    assert given == [None, tmp_path / "mine"]

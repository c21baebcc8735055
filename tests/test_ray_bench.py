"""`zoo-bench run --ray`: the same results as in one process, and clear words where it cannot run."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.files import read_result
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.ray_options import fill_in_address
from rnnzoo.zoo_builder.errors import RnnzooError

SHORT = (("steps", 6), ("validate_every", 3), ("models", 8), ("emulator_hidden", 8))


def request(zoo, out, **fields):
    given = {"tracks": ("supervised",), "targets": ("accuracy",), "seeds": 2, "overrides": SHORT, "threads": 1}
    return Request(str(zoo), "flat_mlp", out, **given | fields)


@pytest.mark.slow
def test_a_cluster_gives_the_same_results(language_zoo, tmp_path, monkeypatch, ray_cluster):
    """Relative paths too, and an encoder of the user's own in the folder they stand in."""
    (tmp_path / "own.py").write_text(
        "from rnnzoo.loaders.encoders.flat_mlp import FlatMLP\nclass Own(FlatMLP):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    asked = dataclasses.replace(request(language_zoo, Path("alone")), encoder="own:Own")
    alone = [read_result(path) for path in run_benchmark(asked)]
    spread = run_benchmark(dataclasses.replace(asked, out=Path("spread"), ray="local"))
    for ours, theirs in zip(alone, map(read_result, spread), strict=True):
        assert ours.predictions == theirs.predictions
        assert ours.scores == theirs.scores


def test_an_error_in_a_task_is_the_error_of_the_command(language_zoo, tmp_path, monkeypatch, ray_cluster):
    (tmp_path / "odd.py").write_text(
        "import os\n"
        "from rnnzoo.loaders.encoders.flat_mlp import FlatMLP\n"
        "from rnnzoo.zoo_builder.errors import RnnzooError\n"
        "class Odd(FlatMLP):\n"
        "    def __init__(self, population):\n"
        f"        if os.getpid() != {__import__('os').getpid()}:\n"
        "            raise RnnzooError('odd: not here')\n"
        "        super().__init__(population)\n"
    )
    monkeypatch.chdir(tmp_path)
    asked = dataclasses.replace(request(language_zoo, tmp_path / "results", ray="local"), encoder="odd:Odd")
    with pytest.raises(RnnzooError, match=r"^odd: not here$"):
        run_benchmark(asked)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ray": "local", "workers": 2}, "workers: found 2 together with ray"),
        ({"ray": "local", "device": "tpu"}, "device: found 'tpu', expected one of auto, cpu, cuda"),
        ({"ray": "local", "device": "cpu", "gpus_per_task": 0.5}, "found 0.5 with device cpu, expected none"),
        ({"ray": "local", "device": "cuda", "gpus_per_task": 0}, "found 0 with device cuda, expected a share"),
        ({"ray": "local", "gpus_per_task": 2}, "found 2 with device auto"),
        ({"gpus_per_task": 0.5}, "gpus_per_task: found 0.5 without ray"),
    ],
)
def test_requests_that_cannot_be_met(language_zoo, tmp_path, fields, message):
    with pytest.raises(RnnzooError, match=message):
        run_benchmark(request(language_zoo, tmp_path / "results", **fields))


def test_without_ray_it_says_what_to_install(language_zoo, tmp_path):
    program = "import sys; sys.modules['ray'] = None; from rnnzoo.loaders.cli import main; main()"
    arguments = ["run", "--zoo", language_zoo, "--encoder", "weight_norm", "--out", tmp_path, "--ray"]
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "zoo-bench: --ray: Ray is not installed" in done.stderr
    assert "pip install rnnzoo[ray]" in done.stderr


@pytest.mark.parametrize(
    ("words", "filled"),
    [
        ("--ray", "--ray local"),
        ("--ray --out x", "--ray local --out x"),
        ("--ray formal_languages --out x", "--ray local formal_languages --out x"),
        ("--ray auto zoo", "--ray auto zoo"),
        ("--ray head:6379 zoo", "--ray head:6379 zoo"),
        ("--ray ray://head:10001", "--ray ray://head:10001"),
        ("--ray=head zoo", "--ray=head zoo"),
        ("zoo --out ray", "zoo --out ray"),
    ],
)
def test_the_address_may_be_left_out(words, filled, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert fill_in_address(words.split()) == filled.split()
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    assert fill_in_address(words.split()) == filled.replace("local", "elsewhere:6379").split()

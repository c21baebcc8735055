"""The Python of the README, of the page that goes on with it, and of the tutorial runs as it stands there."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks.encoder_table import overview
from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.files import read_result
from rnnzoo.loaders.benchmark.run import run_benchmark

pytestmark = pytest.mark.usefixtures("short_readouts")

ROOT = Path(__file__).parent.parent


def blocks(*names: str) -> list[str]:
    """The Python of some pages, in its order."""
    text = "".join((ROOT / name).read_text() for name in names)
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


README = blocks("README.md", "docs/how_to/open.md")


def test_the_snippets_run_one_after_the_other(language_zoo, capsys):
    shard = sorted((language_zoo / "weights").glob("train-*"))[0].name
    names: dict = {}
    snippets = [block for block in README if "demo/" in block or "zoo." in block]
    assert len(snippets) == 5
    for block in snippets:
        block = block.replace("train-00000-of-00001.safetensors", shard).replace(
            "demo/formal_languages", str(language_zoo)
        )
        exec(block.replace('("accuracy", ">", 0.9)', '("accuracy", ">=", 0.0)'), names)
    assert "torch.Size([128, 32])" in capsys.readouterr().out
    assert names["inputs"].shape[0] == names["log_probabilities"].shape[0] == 8
    assert names["logits"].shape[1:] == (1, 6, 6)
    assert len(names["path"]["head.bias"]) == 11


def test_the_tutorial_runs_to_its_end(language_zoo, capsys):
    names: dict = {}
    for block in blocks("docs/tutorial.md"):
        exec(block.replace("demo/formal_languages", str(language_zoo)), names)
    assert len(names["best"]) == 1
    assert "RNNModule" in capsys.readouterr().out
    assert set(names["found"].table["target"]) == {"step"}


def test_the_encoder_of_the_readme_can_be_benchmarked(language_zoo, tmp_path, monkeypatch):
    block = next(block for block in README if "class MyEncoder" in block)
    (tmp_path / "my_encoder.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_encoder", raising=False)  # another test's
    assert len(block.splitlines()) <= 21
    request = Request(
        str(language_zoo),
        "my_encoder:MyEncoder",
        tmp_path / "results",
        tracks=("supervised",),
        targets=("accuracy",),
        seeds=1,
        overrides=(("steps", 5), ("validate_every", 5)),
    )
    (path,) = run_benchmark(request)
    assert read_result(path).embedding_size == 16
    assert "my_encoder:MyEncoder" in make_report(tmp_path / "results", tmp_path)


def test_the_table_of_encoders_is_that_of_the_registry():
    text = (ROOT / "docs/encoders.md").read_text()
    assert overview() in text, "put what python -m benchmarks.encoder_table prints into docs/encoders.md"

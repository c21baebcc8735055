"""Cards: complete, from the zoo's own numbers, and their Python runs as it stands there."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import DatasetCard
from synthetic_results import write_results

from rnnzoo import Zoo, __version__
from rnnzoo.loaders.benchmark.report.baselines import baselines_markdown, tables_of
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.release import card, facts, render_card
from rnnzoo.zoo_builder.release.card import TEMPLATES
from rnnzoo.zoo_builder.release.edition import Edition, default_repo
from rnnzoo.zoo_builder.release.facts import _batch_sizes, build_command, cell_import, torch_call
from rnnzoo.zoo_builder.rnn import CELLS
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.zoos import resolve_config

EDITION = Edition("somebody/some-zoo", "v1.2.0", "2031-01-05")


@pytest.fixture(params=["language_zoo", "digits_zoo"])
def zoo(request):
    return request.getfixturevalue(request.param)


def python_of(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize("released", ["language_release", "digits_release"])
def test_the_cards_python_runs(released, request, monkeypatch):
    release = request.getfixturevalue(released)
    name = default_repo(Zoo(release).manifest.zoo)
    stock, filtered, ours, safetensors, rollouts = (
        code.replace(name, str(release)) for code in python_of((release / "README.md").read_text())
    )
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, file, repo_type: f"{repo}/{file}")
    scope: dict = {}
    exec(stock, scope)
    assert len(stock[stock.index("row = ") :].splitlines()) <= 10
    expected = Zoo(release).model(scope["rows"][-1]["checkpoint_id"])
    inputs = torch.randn(3, 7, expected.spec.input_size)
    hidden, _ = scope["rnn"](inputs)
    torch.testing.assert_close(scope["head"](hidden), expected(inputs)[0], rtol=0, atol=0)
    assert scope["logits"].shape == (1, 5, expected.spec.output_size)
    exec(filtered, scope)
    assert len(set(scope["trained"]["step"])) == 1
    exec(ours, scope)
    exec(safetensors, scope)
    exec(rollouts, scope)
    if "digits" in released:
        assert scope["images"].shape == (10, 28, 28)
        assert len(scope["digits"]) == 10
    else:
        assert "\n".join(scope["strings"]).replace("$$", "").startswith(scope["row"]["text"].split("$")[0])
    assert scope["weights"]["head.bias"].shape[1:] == (expected.spec.output_size,)


def test_the_header_is_complete(zoo):
    data = DatasetCard(render_card(zoo)).data.to_dict()
    assert data["size_categories"] == ["n<1K"]
    assert data["license"] == "cc-by-4.0"
    assert data["tags"]
    assert data["pretty_name"]
    configs = {entry["config_name"]: entry for entry in data["configs"]}
    infos = {entry["config_name"]: entry for entry in data["dataset_info"]}
    assert configs.keys() == infos.keys() == {"default", "metadata", "rollouts"}
    assert configs["default"]["default"]
    assert "splits" not in infos["default"], "datasets would refuse what a filter leaves"
    assert infos["default"]["features"][-1] == {
        "name": "weights",
        "list": "float32",
        "length": Zoo(zoo).spec.num_parameters,
    }


def test_the_text_is_about_this_zoo(zoo):
    text = render_card(zoo, EDITION)
    assert 'load_dataset("somebody/some-zoo"' in text
    assert "12 LSTMs" in text
    assert "36 checkpoints of 12 runs" in text
    assert "{{" not in text
    assert "{%" not in text
    for heading in (
        "How to load it",
        "Columns",
        "How it was built",
        "Splits",
        "Numbers",
        "Rollouts",
        "Known limits",
        "Uses",
        "Biases",
        "Personal data",
        "Citation",
    ):
        assert f"## {heading}" in text
    assert ("MNIST's (LeCun" in text) is False  # neither tiny zoo has MNIST's pixels


@pytest.mark.parametrize("zoo_name", ZOOS)
def test_every_zoo_has_a_card(zoo_name):
    family, named = ZOOS[zoo_name]
    assert named.title
    assert "## Known limits" in family.card()


def test_the_card_says_where_the_code_is(language_zoo, monkeypatch):
    entry = ["Homepage, https://a.example", "Source, https://b.example/rnnzoo"]
    monkeypatch.setattr("rnnzoo.zoo_builder.hub.metadata", lambda name: Message(entry))
    assert 'pip install "rnnzoo @ git+https://b.example/rnnzoo"' in render_card(language_zoo)
    monkeypatch.setattr("rnnzoo.zoo_builder.hub.metadata", lambda name: Message(None))
    assert f"the Python package rnnzoo {__version__}" in render_card(language_zoo)


class Message:
    """The metadata of a package with some entries `Project-URL`."""

    def __init__(self, addresses):
        self.addresses = addresses

    def get_all(self, name):
        return self.addresses if name == "Project-URL" else None


def test_the_data_set_can_be_cited(language_zoo):
    text = render_card(language_zoo, EDITION)
    assert "  year   = 2031," in text
    assert "https://huggingface.co/datasets/somebody/some-zoo}" in text
    assert f"digest {Zoo(language_zoo).manifest.digest}" in text
    assert "arxiv:2403.11998" in DatasetCard(text).data.to_dict()["tags"]


def test_the_card_says_what_values_columns_have(language_zoo):
    accuracy = Zoo(language_zoo).metadata["accuracy"].to_numpy()
    (line,) = (line for line in render_card(language_zoo).splitlines() if line.startswith("| `accuracy` |"))
    assert line.endswith(f"{accuracy.min():.6g} to {accuracy.max():.6g}, mean {accuracy.mean():.4g} |")


@pytest.mark.parametrize("table", sorted(TEMPLATES.glob("*/*/baselines.md")), ids=lambda path: path.parent)
def test_the_committed_baselines_are_those_of_the_results(table):
    assert table.read_text() == baselines_markdown(tables_of(table.parent / "results")), "run `zoo-bench commit`"


def test_baselines_stand_on_the_card_of_their_zoo_alone(language_zoo, digits_zoo):
    languages, digits = render_card(language_zoo), render_card(digits_zoo)
    assert (TEMPLATES / "formal_languages/small/baselines.md").read_text().strip() in languages
    assert f"zoo-bench run --zoo {default_repo('formal_languages')}" in languages
    assert "## Baselines" not in digits


def test_a_card_shows_the_baselines_of_its_zoo_else_of_the_smallest_preset(language_zoo, tmp_path, monkeypatch):
    shutil.copytree(TEMPLATES, tmp_path / "cards")
    monkeypatch.setattr(card, "TEMPLATES", tmp_path / "cards")
    folder = tmp_path / "cards/formal_languages"
    shutil.copytree(folder / "small", folder / "smoke", dirs_exist_ok=True)
    for preset in ("smoke", "small"):
        (folder / preset / "baselines.md").write_text(f"of {preset}\n")
    shown = render_card(language_zoo)
    assert "of smoke" in shown
    assert "These are scores on another zoo of this name." in shown
    rows = folder / "small/results/strict/rows.json"
    rows.write_text(json.dumps(json.loads(rows.read_text()) | {"zoo_digest": read_manifest(language_zoo).digest}))
    shown = render_card(language_zoo)
    assert "of small" in shown
    assert "These are scores on this zoo:" in shown


class Leaky(torch.nn.RNN):
    """Layers that torch does not have."""


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_card_imports_what_torch_does_not_have(cell, language_zoo, monkeypatch):
    assert (cell_import(cell) == "") == hasattr(torch.nn, cell.torch_module.__name__)
    other = replace(cell, torch_module=Leaky)
    scope: dict = {}
    exec(cell_import(other), scope)
    layers = eval(torch_call(other), scope | {"sizes": (3, 4, 1)})
    assert isinstance(layers, Leaky)
    monkeypatch.setitem(CELLS, "lstm", replace(CELLS["lstm"], torch_module=Leaky))
    card_text = render_card(language_zoo)
    assert "import load_dataset\nfrom test_cards import Leaky\n" in card_text
    assert "rnn = Leaky(*sizes, batch_first=True)" in card_text


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"batch_size": 8}, "8"),
        ({"batch_size": 8, "batch_size_scales": [1]}, "8"),
        ({"batch_size": 8, "batch_size_scales": [4, 1, 2]}, "8 to 32"),
        ({}, ""),
    ],
)
def test_batch_sizes_of_a_card_are_those_of_the_runs(config, text):
    assert _batch_sizes(config) == text


def test_the_card_of_a_family_of_another_package_promises_what_it_can(language_zoo, monkeypatch):
    promise = "on every machine with a C++ compiler"
    monkeypatch.setattr(facts.ZooDigest, "is_same_everywhere", True)
    assert f"{promise};" in render_card(language_zoo)
    monkeypatch.setattr(facts, "FAMILIES", {})
    assert f"{promise} where its family, which is of another package, gives" in render_card(language_zoo)


@pytest.mark.parametrize(("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M")])
def test_a_size_category_is_one_of_the_hub(rows, name):
    assert card._size_category(rows) == name


@pytest.mark.parametrize("config", [{}, {"runs": "<img src=x>[a](javascript:b)", "steps": None}])
def test_a_table_of_baselines_says_safely_what_a_config_does(config, tmp_path):
    write_results(tmp_path, "sequential_mnist", encoders=("noninteractive_probing",))
    for path in tmp_path.rglob("rows.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"zoo_config": config}))
    sentence = baselines_markdown(tables_of(tmp_path)).splitlines()[0]
    assert "<img" not in sentence
    assert "](javascript" not in sentence.replace("\\]", "").replace("\\[", "")


def test_a_table_of_baselines_says_what_the_results_do(tmp_path):
    write_results(tmp_path, "sequential_mnist", encoders=("noninteractive_probing", "behaviour_statistics"))
    protocols = tables_of(tmp_path)
    board = protocols[0].board
    sentence, _, header, _, *lines = baselines_markdown(protocols).splitlines()
    assert "256 runs of 2000 steps" in sentence
    assert "| rotation: mean error (deg) ↓ |" in header
    assert lines[-1].startswith("†")
    (probing,) = (line.split(" | ") for line in lines if "noninteractive_probing" in line)
    of_rotation = [
        result for result in board.results if result.encoder in probing[0] and result.target == "rotation"
    ]
    assert len(of_rotation) == 3
    means = [np.mean([r.scores[split]["mean error (deg)"] for r in of_rotation]) for split in ("test", "ood")]
    twins = [np.mean([r.twin.scores[split]["mean error (deg)"] for r in of_rotation]) for split in ("test", "ood")]
    assert probing[2:5] == ["3", *(f"{test:.1f} / {ood:.1f}" for test, ood in (means, twins))]
    losses = [np.mean([e.losses[split] for e in board.emulations]) for split in ("test", "ood")]
    assert probing[-1] == f"{losses[0]:.3f} / {losses[1]:.3f} |"


def test_the_build_command_is_the_one_that_was_given():
    config = resolve_config("formal_languages", "smoke", {"runs": 5, "checkpoints": (0, 10), "steps": 10})
    assert build_command(config.to_dict()) == (
        "zoo-builder build formal_languages --preset smoke --out FOLDER --runs 5 --steps 10 --set checkpoints=0,10"
    )
    knots = {"learning_rate": ((0, 0.1), (1, 0.01)), "learning_rate_scales": (0.5, 1.0)}
    command = build_command(resolve_config("sequential_digits", "smoke", knots).to_dict())
    assert "--set learning_rate=0:0.1,1:0.01" in command
    assert "--set learning_rate_scales=0.5,1.0" in command


def test_the_command_lines(language_zoo, tmp_path, builder):
    code, out, _ = builder("card", language_zoo)
    assert (code, out) == (0, render_card(language_zoo))
    assert builder("card", language_zoo, "--out", tmp_path / "card.md")[0] == 0
    assert (tmp_path / "card.md").read_text() == out
    code, out, err = builder("release", language_zoo, "--out", tmp_path / "release", "--kernel", "torch")
    assert (code, "push" in out, "row" in err) == (0, True, True), err
    code, _, err = builder("release", language_zoo, "--out", tmp_path / "release", "--kernel", "torch")
    assert (code, "exists; expected the name of a new folder" in err) == (2, True)
    code, _, err = builder("push", language_zoo, "org/zoo")
    assert (code, "no release of one" in err) == (2, True)
    code, out, _ = builder("export", language_zoo, "--format", "npy", "--out", tmp_path / "arrays")
    assert (code, "36 rows" in out) == (0, True)
    code, _, err = builder("export", language_zoo, "--format", "csv", "--out", tmp_path / "csv")
    assert (code, "--format: found 'csv', expected npy" in err) == (2, True)
    code, out, _ = builder("import", tmp_path / "arrays", "--out", tmp_path / "zoo")
    assert (code, "36 checkpoints of 12 runs" in out, "differ" in out) == (0, True, True)


def test_no_zoo_no_card(tmp_path):
    with pytest.raises(RnnzooError, match="not a zoo"):
        render_card(tmp_path)

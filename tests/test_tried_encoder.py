"""What a user's encoder does wrong is an error before any work, with the file and line of the mistake."""

import subprocess
import sys

import pytest
from users_modules import asked_for, in_a_new_process, place_of

from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.benchmark.tried_encoder import try_encoder
from rnnzoo.loaders.encoders.recipe import recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError

place = pytest.fixture(place_of)
START = """
import torch
from torch import nn

class Mine(nn.Module):
    {declared}
    def __init__(self, population):
        super().__init__()
        self.head = nn.Linear(6, 16)
        {made}

    def forward(self, weights):
        {called}
        return self.head(weights["head.bias"])
"""
LATE = (
    "self.more = getattr(self, 'more', None) or nn.Linear(6, 16); "
    "weights = {'head.bias': self.more(weights['head.bias'])[:, :6]}"
)
USUAL = {"declared": "pass", "made": "pass", "called": "pass"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"declared": "group = 'weird'"}, "whose group is 'weird'; expected one of mechanistic, .*, user"),
        ({"declared": "published = 'yes'"}, "whose published is 'yes'; expected a bool"),
        ({"declared": "uses_data = 1"}, "whose uses_data is 1; expected a bool"),
        ({"declared": "columns = 'step'"}, "whose columns is 'step'; expected a tuple of names"),
        ({"declared": "columns = ('nope',)"}, "which reads the metadata nope, which only controls of rnnzoo may"),
        ({"declared": "targets = 'step'"}, "whose targets is 'step'; expected a tuple of names, or None"),
        ({"made": "self.more = nn.LazyLinear(3)"}, "whose parameter 'more.weight' has no numbers yet"),
        ({"made": "self.more = nn.Linear(3, 3, device='meta')"}, "whose parameter 'more.weight' has no numbers"),
        ({"called": LATE}, "which makes parameters when it is called: more.bias"),
        (
            {"made": "raise ValueError('no luck')"},
            r"could not be made: ValueError: no luck \(.*my_encoder.py:10",
        ),
        ({"made": "{}['width']"}, r"could not be made: KeyError: 'width' \(.*my_encoder.py:10\)"),
        (
            {"called": "weights['lstm.weight']"},
            r"failed .* KeyError: .*my_encoder.py:13\); names of weights are lstm.weight_ih",
        ),
        ({"called": "self.nothing"}, r"failed on fresh models: AttributeError: .* \(.*my_encoder.py:13\)"),
        (
            {"called": "self.head(torch.ones(1))"},
            r"failed on fresh models: RuntimeError: mat1 and mat2 .*my_encoder.py:13\)",
        ),
        ({"called": "return weights['head.bias'].to_sparse()"}, "failed on fresh models: NotImplementedError"),
    ],
)
def test_mistakes_are_told_with_their_place(lines, message, language_zoo, place):
    (place / "my_encoder.py").write_text(START.format(**USUAL | lines))
    with pytest.raises(RnnzooError, match=f"^encoder: found my_encoder:Mine, .*{message}"):
        run_benchmark(asked_for(language_zoo, place, tracks=("supervised",)))
    assert not (place / "results").exists()


CHANGES = "it changes head.bias of the weights that it is given"
DIFFERS = "found another embedding of the same weights at its second call"


@pytest.mark.parametrize(
    ("called", "message"),
    [
        ("weights['head.bias'].add_(1)", CHANGES),
        ("weights['head.bias'] = nn.functional.relu(weights['head.bias'], inplace=True)", CHANGES),
        ("weights['head.bias'] = weights['head.bias'] + torch.randn(6)", DIFFERS),
        ("weights['head.bias'] = nn.functional.dropout(weights['head.bias'])", DIFFERS),
        (
            "self.calls = getattr(self, 'calls', 0) + 1; weights['head.bias'] = weights['head.bias'] + self.calls",
            "",
        ),
    ],
)
def test_the_same_weights_have_the_same_embedding(called, message, language_zoo, place):
    (place / "my_encoder.py").write_text(START.format(**USUAL | {"called": "weights = dict(weights); " + called}))
    with pytest.raises(RnnzooError, match=f"^encoder: {message or DIFFERS}"):
        run_benchmark(asked_for(language_zoo, place, tracks=("supervised",)))
    assert not (place / "results").exists()


def test_dropout_is_off_while_an_encoder_is_tried(language_zoo, place):
    made, called = "self.dropout = nn.Dropout(0.5)", "weights = {'head.bias': self.dropout(weights['head.bias'])}"
    (place / "my_encoder.py").write_text(START.format(**USUAL | {"made": made, "called": called}))
    recipe = recipe_of("my_encoder:Mine")
    encoder, width = try_encoder(recipe, LoadedZoo(language_zoo))
    assert width == 16
    assert encoder.training


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\nclass Mine(:", "SyntaxError: .*line 2"),
        ("import sys\nsys.exit(5)", r"SystemExit: 5 \(.*my_encoder.py:2\)"),
        ("x = 1 / 0", r"ZeroDivisionError: division by zero \(.*my_encoder.py:1\)"),
    ],
)
def test_a_file_that_cannot_be_imported(text, message, language_zoo, place, monkeypatch):
    (place / "my_encoder.py").write_text(text)
    in_a_new_process(monkeypatch)
    with pytest.raises(RnnzooError, match=f"^encoder: found my_encoder:Mine, which could not be made: {message}"):
        run_benchmark(asked_for(language_zoo, place))


def test_the_command_ends_with_a_sentence(language_zoo, place):
    (place / "my_encoder.py").write_text(START.format(**USUAL | {"called": "weights['lstm.weight']"}))
    words = [
        "-c",
        "from rnnzoo.loaders.cli import main; main()",
        "run",
        "--zoo",
        str(language_zoo),
        "--encoder",
        "my_encoder:Mine",
    ]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=place)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "my_encoder.py:13" in done.stderr

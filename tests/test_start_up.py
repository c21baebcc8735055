"""What answers at once: help, lists, versions and mistyped words come without the heavy libraries."""

import resource
import subprocess
import sys

import pytest

import rnnzoo
from rnnzoo.command_line import build_command
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import RegisteredEncoder, find_encoder
from rnnzoo.loaders.encoders.names import describe_encoder, encoder_location
from rnnzoo.settings import read_settings, setting_text
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.zoos import PRESETS, ZooConfig, resolve_config

HEAVY = ("torch", "datasets", "sklearn", "matplotlib", "huggingface_hub", "scipy", "ray")
SECONDS = 2.0
"""Of CPU, at most: twice what a quiet machine is promised."""
BUILDER, BENCH = "rnnzoo.zoo_builder.cli", "rnnzoo.loaders.cli"
RUN = ["run", "--zoo", "nowhere", "--encoder"]


@pytest.mark.parametrize(
    ("module", "words", "code", "said"),
    [
        (BUILDER, ["--help"], 0, "verify"),
        (BUILDER, ["--version"], 0, rnnzoo.__version__),
        (BUILDER, ["build", "--help"], 0, "learning_rate_scales"),
        (BUILDER, ["build", "no_zoo", "--out", "x"], 2, "found 'no_zoo', expected one of formal_languages"),
        (BUILDER, ["build", "formal_languages", "--out", "x", "--preset", "big"], 2, "--preset: found 'big'"),
        (BUILDER, ["build", "formal_languages", "--out", "x", "--set", "speed=1"], 2, "--set: found 'speed=1'"),
        (BUILDER, ["build", "formal_languages", "--colour"], 2, "No such option"),
        (BENCH, ["--help"], 0, "report"),
        (BENCH, ["list"], 0, "flat_mlp"),
        (BENCH, ["run", "--help"], 0, "validation_rollouts"),
        (BENCH, ["--version"], 0, rnnzoo.__version__),
        (BENCH, [*RUN, "flat_ml"], 2, "--encoder: found 'flat_ml', expected one of layer_statistics"),
        (BENCH, [*RUN, "flat_mlp", "--set", "speed=1"], 2, "--set: found 'speed=1'"),
        (BENCH, [*RUN, "flat_mlp", "--colour"], 2, "No such option"),
    ],
)
def test_simple_answers_need_no_heavy_library(module, words, code, said, tmp_path):
    program = (
        f"import sys; sys.argv[0] = 'it'; from {module} import main\n"
        f"try: main()\nfinally: print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = done.stdout + done.stderr
    assert done.returncode == code, answer
    assert said in answer
    assert "HEAVY []" in answer
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


def test_the_package_costs_nothing_until_it_is_used():
    program = "import sys, rnnzoo; print([m for m in sys.modules if m.startswith(('rnnzoo.', 'numpy', 'torch'))])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_described_as_its_class_says(name):
    made = find_encoder(name)
    assert issubclass(made, RegisteredEncoder)
    said = describe_encoder(encoder_location(name))
    assert (said.group, said.published) == (made.group, made.published)
    assert said.summary == made.__doc__.strip().splitlines()[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("runs=12", 12),
        ("cell=gru", "gru"),
        ("checkpoints=0,7,12", (0, 7, 12)),
        ("weight_decays=0,1e-2", (0.0, 0.01)),
        ("learning_rate=0:0.1,1:0.01", ((0.0, 0.1), (1.0, 0.01))),
        ("learning_rate=0.02", ((0, 0.02), (1, 0.02))),
        ("source=none", None),
    ],
)
def test_a_setting_is_read_by_the_type_of_its_field(text, value):
    name = text.partition("=")[0]
    assert read_settings([text], ZooConfig) == {name: value}
    assert read_settings([f"{name}={setting_text(value)}"], ZooConfig) == {name: value}


@pytest.mark.parametrize(
    "text", ["runs", "speed=1", "runs=0", "runs=1.5", "checkpoints=", "checkpoints=a", "runs=none"]
)
def test_a_bad_setting_is_an_error_of_its_parameter(text):
    if text == "checkpoints=":  # an empty list is read; the config refuses it
        with pytest.raises(ParameterError, match=r"^checkpoints: found"):
            resolve_config("formal_languages", "smoke", read_settings([text], ZooConfig))
        return
    with pytest.raises(ParameterError, match=f"^settings: (found '{text}'|runs: found|checkpoints: found)"):
        read_settings([text], ZooConfig)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_of_a_config_gives_the_config(preset):
    changes = {"seed": 3, "cell": "gru", "learning_rate": ((0, 0.1), (1, 0.01)), "rollouts": 7}
    words = build_command("formal_languages", preset, changes).split()
    given = [
        word if option == "--set" else f"{option.removeprefix('--')}={word}"
        for option, word in zip(words[7::2], words[8::2], strict=True)
    ]
    assert {"seed=3", "cell=gru", "rollouts=7"} < set(given)
    again = read_settings(given, ZooConfig)
    assert resolve_config("formal_languages", preset, again) == resolve_config("formal_languages", preset, changes)

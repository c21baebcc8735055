"""Every field of a config has bounds, which are looked at before anything is trained."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rnnzoo.loaders.training_config import BOUNDS, PRESETS, WORDS, TrainingConfig
from rnnzoo.zoo_builder.cli import app
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.pipeline import ZooPlan
from rnnzoo.zoo_builder.zoos import MOST, ZooConfig, config_of, resolve_config

NO_COUNT = [-1, 0, 0.5, float("nan"), float("inf"), 10**30, 2**63, "x", "", None, [], {}]
NO_RATE = [-1, -1e-9, float("nan"), float("inf"), -float("inf"), 1e300, 10**400, "x", "", None, [], {}]
NO_FACTOR = [0, 1e-300, *NO_RATE]
NO_FRACTION = [-1, 0, 1, 1.5, float("nan"), float("inf"), "x", None, []]
NO_NAME = ["", "../x", "Zoo", "a b", "a" * 81, "\x1b[1m", None, 1, []]


def lists_with(values, fine):
    """None at all, too many, and each of the values beside one that is fine."""
    return [[], [fine] * 1001, *([fine, value] for value in values), *values[-3:]]


BAD = {
    "zoo": NO_NAME,
    "preset": [*NO_NAME, "imported"],
    "family": [*NO_NAME, "formal_language"],
    "source": ["", "../x", 1, []],
    "runs": [*NO_COUNT, 10**7 + 1],
    "steps": [*NO_COUNT, 2**31],
    "checkpoints": [[], [0], [10, 0, 300], [0, 0, 300], [-1, 300], [0, 2**31], list(range(173, 301)), ["x"], None],
    "weight_decays": lists_with(NO_RATE, 0.1),
    "learning_rate": [
        *NO_RATE,
        *([[0, rate], [1, 0.1]] for rate in NO_RATE),
        *([[0, 0.1], [fraction, 0.1], [1, 0.1]] for fraction in NO_FRACTION),
        [[0, 0.1]],
        [[number / 1000, 0.1] for number in range(1001)],
    ],
    "learning_rate_scales": lists_with(NO_FACTOR, 1.0),
    "batch_size": [*NO_COUNT, MOST + 1],
    "batch_size_scales": [*lists_with(NO_COUNT, 1), [MOST]],
    "initial_scales": lists_with(NO_FACTOR, 1.0),
    "data_fractions": [*lists_with(NO_FACTOR, 1.0), [1.1]],
    "seed": [-1, 2**63, 0.5, float("nan"), "x", None],
    "cell": ["", "LSTM", "../x", None, 1],
    "num_layers": [*NO_COUNT, 2**15],
    "hidden_size": [*NO_COUNT, 2**15, 30_000],
    "evaluation_items": [*NO_COUNT, MOST + 1],
    "sampled_strings": [*NO_COUNT, MOST + 1],
    "rollouts": [*NO_COUNT, 10_001, 301],
    "runs_per_shard": [*NO_COUNT, MOST + 1],
}


def planned(config):
    plan = ZooPlan(config, config.make_family())
    return plan.spec, plan.shards


def plan(**fields):
    return planned(resolve_config("formal_languages", "smoke", {"steps": 300, **fields}))


def test_every_field_is_in_the_table():
    assert list(BAD) == [field.name for field in dataclasses.fields(ZooConfig)]


@pytest.mark.parametrize("field", BAD)
def test_a_field_of_a_zoo_out_of_its_bounds(field):
    sound = json.loads(json.dumps(resolve_config("formal_languages", "smoke", {"steps": 300}).to_dict()))
    assert config_of(sound, "here")
    for value in BAD[field]:
        with pytest.raises(RnnzooError, match=r"found|expected") as error:
            plan(**{field: value})
        assert len(str(error.value)) < 600
        with pytest.raises(RnnzooError):
            planned(config_of(sound | {field: value}, "here"))


def test_a_field_that_a_config_lacks():
    sound = resolve_config("formal_languages", "smoke").to_dict()
    for field in dataclasses.fields(ZooConfig):
        if field.default is dataclasses.MISSING:
            rest = {name: value for name, value in sound.items() if name != field.name}
            with pytest.raises(RnnzooError, match=f"^here: {field.name}: found nothing: Field required$"):
                config_of(rest, "here")


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"runs": 10**7}, "runs_per_shard"),
        ({"runs_per_shard": 10**6, "runs": 10**6, "hidden_size": 512}, "runs_per_shard"),
        ({"batch_size": 1000, "batch_size_scales": (1, 1001)}, "batch_size"),
    ],
)
def test_fields_that_are_too_much_together(fields, parameter):
    with pytest.raises(ParameterError) as error:
        plan(**fields)
    assert error.value.parameter == parameter


def test_the_columns_hold_what_is_within_the_bounds():
    extremes = {"weight_decays": (0, MOST), "learning_rate": MOST, "learning_rate_scales": (1e-6, MOST)}
    extremes |= {"initial_scales": (1e-6, MOST), "data_fractions": (1e-6, 1)}
    config = resolve_config("formal_languages", "smoke", extremes | {"seed": 2**63 - 1, "checkpoints": [1000]})
    assert config_of(json.loads(json.dumps(config.to_dict())), "here") == config
    numbers = [*config.learning_rate_scales, *config.initial_scales, *config.data_fractions, MOST * MOST]
    assert np.isfinite(np.float32(numbers)).all()
    assert (np.float32(numbers) > 0).all()


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["--set", f"{field}={value}"]
            for field in ("weight_decays", "learning_rate")
            for value in ("inf", "nan")
        ),
        *(["--set", f"{field}=-1"] for field in ("weight_decays", "initial_scales", "rollouts", "learning_rate")),
        ["--set", "checkpoints=" + ",".join(map(str, range(128))), "--steps", "127"],
        *([option, "1" + "0" * 30] for option in ("--runs", "--steps", "--seed", "--hidden-size", "--num-layers")),
        *(
            [option, "0"]
            for option in ("--runs", "--steps", "--hidden-size", "--num-layers", "--threads", "--workers")
        ),
        *(["--threads", "10000"], ["--workers", "10000"], ["--save-every", "nan"], ["--save-every", "-1"]),
        *(["--cell", "x"], ["--part", "0/1"], ["--part", "2/1"], ["--device", "x"], ["--kernel", "x"]),
    ],
    ids=" ".join,
)
def test_options_out_of_their_bounds(words, tmp_path):
    result = CliRunner().invoke(app, ["build", "formal_languages", "--out", str(tmp_path / "zoo"), *words])
    assert isinstance(result.exception, RnnzooError | SystemExit), result.exception
    assert result.exit_code != 0
    assert not (tmp_path / "zoo").exists()


NUMBERS = {**dict.fromkeys(BOUNDS, NO_COUNT), **dict.fromkeys(("learning_rate", "clip"), NO_FACTOR)}
NUMBERS |= {"weight_decay": NO_RATE, **dict.fromkeys(("warmup", "patience"), NO_COUNT[:1] + NO_COUNT[2:])}


@pytest.mark.parametrize("field", NUMBERS)
def test_a_field_of_a_training_out_of_its_bounds(field):
    for value in NUMBERS[field]:
        with pytest.raises(ParameterError, match=f"^{field}: found"):
            dataclasses.replace(PRESETS["frozen"]["quick"], **{field: value})


def test_every_field_of_a_training_has_bounds():
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert fields == BOUNDS.keys() | WORDS.keys() | {"loss"}


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16, np.int64, str])
def test_a_rate_of_any_kind_of_number_is_kept_throughout(kind):
    config = resolve_config("formal_languages", "smoke", {"learning_rate": kind(1)})
    assert config.learning_rate == ((0.0, 1.0), (1.0, 1.0))

"""The benchmark: scores with known answers, readouts that recover what is there, encoders that keep their word."""

import numpy as np
import pytest
import torch

from loaders.benchmark import TARGETS, run_benchmark
from loaders.benchmark.readout import fit_readout
from loaders.benchmark.targets import score_angle, score_class, score_number, score_offsets
from loaders.encoders import ENCODERS, check_encoder
from zoo_builder.errors import RnnzooError
from zoo_builder.rnn import RNNSpec, init_parameters, unflatten_weights
from zoo_builder.rnn.symmetry import permute_units

SPEC = RNNSpec(6, 8, 6)
RANDOM = np.random.default_rng(0)


def test_scores_with_known_answers():
    steps = np.array([0, 0, 0, 1, 1, 1])
    truth = np.array([1.0, 2, 3, 11, 12, 13])
    assert score_number(truth, truth, steps) == pytest.approx({"tau within a step": 1, "tau": 1, "R2": 1})
    by_step_alone = score_number(truth, np.array([2.3, 2.2, 2.1, 12.3, 12.2, 12.1]), steps)
    assert by_step_alone["tau within a step"] == pytest.approx(-1)  # knowing the step alone is worth nothing here
    assert by_step_alone["tau"] > 0
    offsets = np.array([[0.0, 1, 2], [1, 1, 1]])
    guess = np.array([[0.0, 1, 2], [1, 1, 0]])
    assert score_offsets(offsets, guess, steps)["exact task"] == 0.5
    assert score_offsets(offsets, guess, steps)["offset accuracy"] == pytest.approx(5 / 6)
    angles = score_angle(np.array([350.0, 10, 180]), np.array([10.0, 350, 0]), steps)
    assert angles["mean error (deg)"] == pytest.approx((20 + 20 + 180) / 3)
    assert angles["beyond 90 deg"] == pytest.approx(1 / 3)
    assert score_class(np.array([1.0, 2]), np.array([1.0, 3]), steps)["accuracy"] == 0.5


@pytest.mark.parametrize("kind", ["number", "class", "angle"])
def test_readouts_find_what_is_linear(kind):
    features = RANDOM.normal(size=(400, 5))
    truth = {
        "number": features @ np.array([1.0, -2, 0, 0, 3]),
        "class": (features[:, 0] > 0) * 0.01,
        "angle": np.degrees(np.arctan2(features[:, 1], features[:, 2])) % 360,
    }[kind]
    target = next(target for target in TARGETS.values() if target.kind == kind)
    readout = fit_readout(target, (features[:300], truth[:300]), (features[300:350], truth[300:350]))
    prediction = readout.predict(features[350:])
    if kind == "class":
        assert (prediction == truth[350:]).mean() > 0.9
    elif kind == "angle":
        assert score_angle(truth[350:], prediction, np.zeros(50))["mean error (deg)"] < 15
    else:
        np.testing.assert_allclose(prediction, truth[350:], atol=0.05)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_keep_their_word(name):
    encoder = ENCODERS[name](SPEC)
    width = check_encoder(encoder, SPEC)
    flat = init_parameters(SPEC, range(8))
    together = encoder(unflatten_weights(SPEC, flat))
    assert together.shape == (8, width)
    alone = torch.cat([encoder(unflatten_weights(SPEC, flat[n : n + 1])) for n in range(8)])
    torch.testing.assert_close(together, alone)


def test_layer_statistics_are_those_of_numpy_and_stand_still_under_permutation():
    weights = unflatten_weights(SPEC, init_parameters(SPEC, range(3)))
    encoder = ENCODERS["layer_statistics"](SPEC)
    embedded = encoder(weights)
    values = weights["lstm.weight_hh_l0"][1].numpy()
    expected = [values.mean(), values.var(ddof=1), *np.quantile(values, [0, 0.25, 0.5, 0.75, 1])]
    np.testing.assert_allclose(embedded[1, 7:14], expected, rtol=1e-4, atol=1e-6)
    order = torch.stack([torch.randperm(8) for _ in range(3)])
    torch.testing.assert_close(encoder(permute_units(SPEC, weights, 0, order)), embedded)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda w: w["head.bias"][0], "found an output of shape"),
        (lambda w: w["head.bias"] * float("nan"), "not finite"),
        (lambda w: w["head.bias"].cumsum(dim=0), "depends on the other models"),
    ],
)
def test_encoders_that_break_their_word(forward, message):
    with pytest.raises(RnnzooError, match=message):
        check_encoder(forward, SPEC)


def test_an_encoder_that_knows_the_answer_is_seen_to_know_it(digits_zoo, tmp_path, monkeypatch):
    """A user's encoder by module:Class, here one that looks the accuracy up: the table must show it."""
    (tmp_path / "oracle.py").write_text(
        "import hashlib, torch\n"
        "from loaders import Zoo\n"
        "from zoo_builder.rnn import flatten_weights\n"
        "class Oracle:\n"
        f"    rows = Zoo({str(digits_zoo)!r}).metadata.to_pylist()\n"
        "    known = {row['sha256']: row['accuracy'] for row in rows}\n"
        "    def __init__(self, spec):\n"
        "        self.spec = spec\n"
        "    def __call__(self, weights):\n"
        "        flat = flatten_weights(self.spec, weights).numpy()\n"
        "        keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in flat]\n"
        "        return torch.tensor([[self.known.get(key, 0.0)] for key in keys])\n"
    )
    monkeypatch.chdir(tmp_path)
    knowing = run_benchmark(digits_zoo, "oracle:Oracle", ["accuracy"])
    looking = run_benchmark(digits_zoo, "layer_statistics", ["accuracy"])
    known, guessed = (result["scores"]["accuracy"]["ood"]["R2"] for result in (knowing, looking))
    assert known > 0.99 > guessed


def test_scores_are_the_same_when_run_again(digits_zoo):
    first, second = (run_benchmark(digits_zoo, "layer_statistics") for _ in range(2))
    assert first["scores"] == second["scores"]
    assert set(first["scores"]) == {"rotation", "accuracy", "generalization_gap", "step", "weight_decay"}

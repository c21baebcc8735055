"""Function-preserving transforms, in float64; and near misses, which must not preserve anything."""

import pytest
import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, init_parameters, rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.rnn.symmetry import (
    flip_state,
    flip_units,
    permute_state,
    permute_units,
    split_biases,
)

SPEC = RNNSpec(6, 16, 6, 2)
MODELS = 3
LAYERS = range(SPEC.num_layers)


@pytest.fixture
def weights():
    flat = 4 * init_parameters(SPEC, range(MODELS)).double()  # large enough that gates leave their linear range
    return unflatten_weights(SPEC, flat)


@pytest.fixture
def inputs():
    return torch.randn(5, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, MODELS, 5, 16, dtype=torch.float64, generator=generator) for _ in range(2))


def orders():
    return torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(n)) for n in range(MODELS)])


def signs():
    return torch.randint(2, (MODELS, 16), generator=torch.Generator().manual_seed(3)).double() * 2 - 1


def difference(weights, changed, inputs, state=None, changed_state=None):
    before, _ = rnn_forward(weights, inputs, state)
    after, _ = rnn_forward(changed, inputs, changed_state if changed_state is not None else state)
    return (before - after).abs().flatten(1).max(dim=1).values


@pytest.mark.parametrize("layer", LAYERS)
def test_permutation_preserves_the_function(weights, inputs, layer):
    changed = permute_units(SPEC, weights, layer, orders())
    assert any(not torch.equal(changed[name], weights[name]) for name in weights)
    assert difference(weights, changed, inputs).max() < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_sign_flip_preserves_the_function(weights, inputs, layer):
    assert difference(weights, flip_units(SPEC, weights, layer, signs()), inputs).max() < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_bias_split_preserves_the_function(weights, inputs, layer):
    shift = torch.randn(MODELS, 64, dtype=torch.float64)
    assert difference(weights, split_biases(SPEC, weights, layer, shift), inputs).max() < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_states_are_transformed_too(weights, inputs, state, layer):
    changed = flip_units(SPEC, permute_units(SPEC, weights, layer, orders()), layer, signs())
    changed_state = flip_state(permute_state(state, layer, orders()), layer, signs())
    assert difference(weights, changed, inputs, state, changed_state).max() < 1e-12
    assert difference(weights, changed, inputs, state).min() > 0.1


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "transform", [lambda w, n: permute_units(SPEC, w, n, orders()), lambda w, n: flip_units(SPEC, w, n, signs())]
)
def test_half_applied_transforms_break_the_function(weights, inputs, layer, transform):
    changed = transform(weights, layer)
    for name in weights:
        if not torch.equal(changed[name], weights[name]):
            assert difference(weights, changed | {name: weights[name]}, inputs).min() > 1e-3, name


def test_flipping_all_gate_rows_breaks_the_function(weights, inputs, monkeypatch):
    import dataclasses

    wrong = dataclasses.replace(CELLS["lstm"], odd_gates=("i", "f", "g", "o"))
    monkeypatch.setitem(CELLS, "lstm", wrong)
    assert difference(weights, flip_units(SPEC, weights, 0, signs()), inputs).min() > 0.5


def test_flipping_twice_is_nothing(weights):
    twice = flip_units(SPEC, flip_units(SPEC, weights, 1, signs()), 1, signs())
    assert all(torch.equal(twice[name], weights[name]) for name in weights)


def test_unknown_layer(weights):
    with pytest.raises(RnnzooError, match="layer: found 2, expected 0 to 1"):
        permute_units(SPEC, weights, 2, orders())

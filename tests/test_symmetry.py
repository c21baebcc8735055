"""Function-preserving transforms, in float64; and near misses, which must not preserve anything."""

from dataclasses import replace

import pytest
import torch

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, init_parameters, rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.rnn.symmetry import (
    flip_signs,
    flip_state,
    permute_state,
    permute_units,
    split_biases,
)

MODELS = 3
LAYERS = range(2)


@pytest.fixture(
    params=[(cell, hidden) for cell in CELLS for hidden in (5, 16)], ids=lambda pair: f"{pair[0]}-{pair[1]}"
)
def spec(request):
    cell, hidden = request.param
    return RNNSpec(6, hidden, 6, len(LAYERS), cell)


@pytest.fixture
def weights(spec):
    flat = 4 * init_parameters(spec, range(MODELS)).double()  # large enough that gates leave their linear range
    return unflatten_weights(spec, flat)


@pytest.fixture
def inputs():
    return torch.randn(5, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def state(spec):
    generator = torch.Generator().manual_seed(1)
    shape = (spec.num_layers, MODELS, 5, spec.hidden_size)
    return tuple(
        torch.randn(shape, dtype=torch.float64, generator=generator) for _ in CELLS[spec.cell].state_variables
    )


@pytest.fixture
def orders(spec):
    orders = [torch.randperm(spec.hidden_size, generator=torch.Generator().manual_seed(n)) for n in range(MODELS)]
    return torch.stack(orders)


@pytest.fixture
def signs(spec):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(2, (MODELS, spec.hidden_size), generator=generator).double() * 2 - 1


def difference(weights, changed, inputs, state=None, changed_state=None):
    before, _ = rnn_forward(weights, inputs, state)
    after, _ = rnn_forward(changed, inputs, changed_state if changed_state is not None else state)
    return (before - after).abs().flatten(1).max(dim=1).values


@pytest.mark.parametrize("layer", LAYERS)
def test_permutation_preserves_the_function(spec, weights, inputs, orders, layer):
    changed = permute_units(spec, weights, layer, orders)
    assert any(not torch.equal(changed[name], weights[name]) for name in weights)
    assert difference(weights, changed, inputs).max() < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_sign_flip_preserves_the_function(spec, weights, inputs, signs, layer):
    assert difference(weights, flip_signs(spec, weights, layer, signs), inputs).max() < 1e-12


@pytest.mark.parametrize("layer", LAYERS)
def test_bias_split_preserves_the_function(spec, weights, inputs, layer):
    shift = torch.randn_like(weights[f"{spec.cell}.bias_ih_l{layer}"])
    changed = split_biases(spec, weights, layer, shift)
    assert difference(weights, changed, inputs).max() < 1e-12
    cell = CELLS[spec.cell]
    for gate in cell.gates:
        moved = {
            name: not torch.equal(tensor[:, spec.gate_rows(gate)], weights[name][:, spec.gate_rows(gate)])
            for name, tensor in changed.items()
            if "bias_" in name and name.endswith(f"l{layer}")
        }
        assert set(moved.values()) == {gate in cell.split_bias_gates}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_bias_split_in_any_other_gate_breaks_the_function(spec, weights, inputs, layer):
    cell = CELLS[spec.cell]
    for gate in set(cell.gates) - set(cell.split_bias_gates):
        changed = dict(weights)
        for name, sign in ((f"{spec.cell}.bias_ih_l{layer}", 1), (f"{spec.cell}.bias_hh_l{layer}", -1)):
            changed[name] = weights[name].clone()
            changed[name][:, spec.gate_rows(gate)] += sign
        assert difference(weights, changed, inputs).min() > 0.1


@pytest.mark.parametrize("layer", LAYERS)
def test_states_are_transformed_too(spec, weights, inputs, state, orders, signs, layer):
    changed = flip_signs(spec, permute_units(spec, weights, layer, orders), layer, signs)
    changed_state = flip_state(permute_state(state, layer, orders), layer, signs)
    assert difference(weights, changed, inputs, state, changed_state).max() < 1e-12
    assert difference(weights, changed, inputs, state).min() > 0.01


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("transform", ["permutation", "flip"])
def test_half_applied_transforms_break_the_function(spec, weights, inputs, orders, signs, layer, transform):
    if transform == "permutation":
        changed = permute_units(spec, weights, layer, orders)
    else:
        changed = flip_signs(spec, weights, layer, signs)
    for name in weights:
        if not torch.equal(changed[name], weights[name]):
            assert difference(weights, changed | {name: weights[name]}, inputs).min() > 1e-3, name


def test_flipping_other_gates_than_the_odd_ones_breaks_the_function(spec, weights, inputs, signs, monkeypatch):
    cell = CELLS[spec.cell]
    for gate in cell.gates:
        if set(cell.gates) == {gate}:
            continue
        wrong = tuple(name for name in cell.gates if (name in cell.odd_gates) != (name == gate))
        monkeypatch.setitem(CELLS, spec.cell, replace(cell, odd_gates=wrong or cell.gates))
        assert difference(weights, flip_signs(spec, weights, 0, signs), inputs).min() > 0.01, wrong


def test_a_cell_without_odd_gates_admits_no_flip(spec, weights, signs, monkeypatch):
    monkeypatch.setitem(CELLS, spec.cell, replace(CELLS[spec.cell], odd_gates=()))
    with pytest.raises(RnnzooError, match=f"cell: '{spec.cell}' admits no sign flip"):
        flip_signs(spec, weights, 0, signs)


def test_flipping_twice_is_nothing(spec, weights, signs):
    twice = flip_signs(spec, flip_signs(spec, weights, 1, signs), 1, signs)
    assert all(torch.equal(twice[name], weights[name]) for name in weights)


def test_unknown_layer(spec, weights, orders):
    with pytest.raises(RnnzooError, match="layer: found 2, expected 0 to 1"):
        permute_units(spec, weights, 2, orders)


@pytest.mark.parametrize("order", [torch.arange(1, 6), torch.arange(-1, 4), torch.zeros(5, dtype=torch.int64)])
def test_an_order_has_each_unit_once(order):
    spec = RNNSpec(6, 5, 6, 2, "gru")
    weights = unflatten_weights(spec, init_parameters(spec, range(MODELS)))
    state = (torch.zeros(2, MODELS, 3, 5),)
    for bad, message in (
        (order.expand(MODELS, 5), "expected each of 0 to 4 once a model"),
        (torch.arange(4).expand(MODELS, 4), r"found shape \[3, 4\], expected \[3, 5\]"),
        (torch.arange(5).expand(2, 5), r"found shape \[2, 5\], expected \[3, 5\]"),
        (torch.arange(5.0).expand(MODELS, 5), "found torch.float32, expected int64"),
    ):
        with pytest.raises(RnnzooError, match=f"order: .*{message}"):
            permute_units(spec, weights, 0, bad)
        with pytest.raises(RnnzooError, match=f"order: .*{message}"):
            permute_state(state, 0, bad)


@pytest.mark.parametrize(
    "signs", [torch.tensor([0, 1, 1, 0, 1]), torch.tensor([True, False] * 2 + [True]), torch.full((5,), 0.5)]
)
def test_signs_are_plus_and_minus_one(signs):
    spec = RNNSpec(6, 5, 6, 2, "gru")
    weights = unflatten_weights(spec, init_parameters(spec, range(MODELS)))
    with pytest.raises(RnnzooError, match=r"signs: found .*, expected \+1 and -1"):
        flip_signs(spec, weights, 0, signs.expand(MODELS, 5))
    with pytest.raises(RnnzooError, match=r"signs: found .*, expected \+1 and -1"):
        flip_state((torch.zeros(2, MODELS, 3, 5),), 0, signs.expand(MODELS, 5))
    with pytest.raises(RnnzooError, match=r"signs: found shape \[5\], expected \[3, 5\]"):
        flip_signs(spec, weights, 0, signs)
    with pytest.raises(RnnzooError, match=r"shift: found shape \[3, 5\], expected \[3, 15\]"):
        split_biases(spec, weights, 0, torch.zeros(MODELS, 5))


def test_one_row_is_for_all_models(spec, weights, inputs, orders, signs):
    for transform, rows in ((permute_units, orders), (flip_signs, signs)):
        one = transform(spec, weights, 0, rows[:1])
        every = transform(spec, weights, 0, rows[:1].expand(MODELS, -1))
        assert all(torch.equal(one[name], every[name]) for name in weights)

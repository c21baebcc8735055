"""Every encoder on RNNs of every cell, and of one that the product does not have, at several widths and depths."""

from dataclasses import replace

import pytest
import torch
from encoder_checks import (
    SMALL,
    SYMMETRIES,
    assert_alone_equals_together,
    assert_gradients_everywhere,
    assert_invariant,
    assert_moved,
    embed,
    fresh_weights,
)
from toy_cell import RELU

from rnnzoo.loaders.encoders import ENCODERS, PUBLISHED_FORMS
from rnnzoo.loaders.encoders.augmentation import augment_units
from rnnzoo.loaders.encoders.base import check_encoder, declared, find_encoder, is_learned
from rnnzoo.loaders.encoders.flat_mlp import FlatMLP
from rnnzoo.loaders.encoders.invariant_statistics import fix_gauges
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, rnn_forward
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs

SHAPES = [*((cell, *sizes) for cell in CELLS for sizes in ((8, 2), (5, 1))), (RELU.name, 4, 3)]
"""Cell, hidden units and layers."""
QUICK = {
    "noninteractive_probing": {"length": 6},
    "interactive_probing": {"probes": 2, "length": 5},
    "probe_generator": {"probes": 3, "length": 6},
    "hidden_probing": {"probes": 2, "length": 6},
    "feedback_probing": {"probes": 3, "length": 6},
    "stepwise_probing": {"probes": 3, "length": 6},
    "completion_probing": {"probes": 3, "length": 7},
    "neural_functional": {"layers": 2, "channels": 8},
    "parameter_transformer": {"layers": 2, "width": 16},
}


@pytest.fixture(params=SHAPES, ids=lambda shape: "-".join(map(str, shape)))
def population(request, monkeypatch):
    monkeypatch.setitem(CELLS, RELU.name, RELU)
    name, hidden, layers = request.param
    return replace(SMALL, spec=RNNSpec(6, hidden, 6, layers, name))


@pytest.fixture
def cell(population):
    return CELLS[population.spec.cell]


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "own") for name in ENCODERS), *((name, "published") for name in PUBLISHED_FORMS)]
)
def test_an_encoder_keeps_its_promises(population, cell, name, form):
    torch.manual_seed(0)
    encoder = find_encoder(name, form)(population, **QUICK.get(name, {}))
    assert check_encoder(encoder, population) > 0
    assert_alone_equals_together(encoder, population)
    if is_learned(encoder):
        assert_gradients_everywhere(encoder, population)
    for symmetry in SYMMETRIES:
        if symmetry == "sign_flip" and not cell.odd_gates:
            continue
        if symmetry in encoder.invariant_to:
            assert_invariant(encoder, population, symmetry)
        else:
            assert_moved(encoder, population, symmetry, at_least=1e-5)


@pytest.mark.parametrize("name", ["invariant_statistics", "graph_network", "universal_functional"])
def test_half_a_permutation_moves_the_embedding(population, name):
    torch.manual_seed(0)
    assert_moved(find_encoder(name)(population), population, "half_permutation")


def test_near_misses_of_the_sign_flip_move_the_graph_network(population, cell):
    if not cell.odd_gates:
        pytest.skip("no sign flip leaves such RNNs in place")
    torch.manual_seed(0)
    encoder = find_encoder("graph_network")(population).double()
    weights = fresh_weights(population.spec, 3)
    signs = torch.ones(3, population.spec.hidden_size).double()
    signs[:, ::2] = -1
    flipped = flip_signs(population.spec, weights, 0, signs)
    expected = embed(encoder, weights)
    assert torch.allclose(embed(encoder, flipped), expected, rtol=0, atol=1e-9)
    for name in weights:
        if not torch.equal(flipped[name], weights[name]):
            half = flipped | {name: weights[name]}
            assert (embed(encoder, half) - expected).norm(dim=1).min() > 1e-5, name


def test_gauges_are_fixed_without_changing_the_rnn(population, cell):
    weights = fresh_weights(population.spec, 3)
    inputs = torch.eye(6, dtype=torch.float64)[torch.arange(12).view(2, 6) % 6]
    fixed = fix_gauges(population.spec, weights, sums_to_one=True)
    before, after = (rnn_forward(w, inputs)[0].log_softmax(dim=-1) for w in (weights, fixed))
    assert torch.allclose(before, after, atol=1e-12)


@pytest.mark.parametrize("augment", ["permutation", "permutation_and_sign"])
def test_augmentation_preserves_the_function(population, cell, augment):
    spec, weights = population.spec, fresh_weights(population.spec, 3)
    if augment == "permutation_and_sign" and not cell.odd_gates:
        with pytest.raises(RnnzooError, match="'relu' admits no sign flip"):
            FlatMLP(population, augment=augment)
        return
    changed = augment_units(spec, weights, augment)
    assert any(not torch.equal(changed[name], weights[name]) for name in weights)
    inputs = torch.rand(3, 9, 6, dtype=torch.float64)
    assert torch.allclose(rnn_forward(changed, inputs)[0], rnn_forward(weights, inputs)[0])


def states_by_steps(weights, inputs):
    """Logits, and each layer's state variables, by `rnn_forward` a step at a time: each [N, B, T, ...]."""
    state, seen = None, []
    for t in range(inputs.shape[-2]):
        logits, state = rnn_forward(weights, inputs[..., t : t + 1, :], state)
        seen.append((logits[:, :, 0], *(layer for variable in state for layer in variable)))
    return [torch.stack(tensors, dim=2) for tensors in zip(*seen, strict=True)]


@pytest.mark.parametrize("shared", [True, False])
def test_frozen_rnns_equal_the_reference_forward_and_backward(population, cell, shared):
    weights, spec = fresh_weights(population.spec, 3), population.spec
    shape = (2, 5, 6) if shared else (3, 2, 5, 6)
    inputs = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits, seen = FrozenRNNs(weights).run_observed(inputs)
    expected_logits, *states = states_by_steps(weights, inputs)
    squashed = [layer.tanh() for layer in states[spec.num_layers :]]
    assert [len(variables) for variables in seen.by_layer()] == [len(cell.state_variables)] * spec.num_layers
    found = [FrozenRNNs(weights).run(inputs), logits, *seen.hidden, *seen.squashed]
    expected = [expected_logits, expected_logits, *states[: spec.num_layers], *squashed]
    torch.testing.assert_close(found, expected)
    gradients = [
        torch.autograd.grad(sum(t.square().sum() for t in tensors), inputs) for tensors in (found, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "own") for name in ENCODERS), *((name, "published") for name in PUBLISHED_FORMS)]
)
def test_mixed_precision(name, form):
    torch.manual_seed(0)
    encoder = find_encoder(name, form)(SMALL, **QUICK.get(name, {}))
    if not is_learned(encoder) or declared(encoder, "columns"):
        return
    encoder.eval()
    weights = fresh_weights(SMALL.spec, 3, dtype=torch.float32)
    expected = encoder(weights)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(weights)
        found.float().square().cumsum(dim=1).sum().backward()
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters() if p.requires_grad)

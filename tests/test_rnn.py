"""The RNN core against torch.nn and autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import (
    RNNModule,
    RNNSpec,
    flatten_weights,
    init_parameters,
    rnn_forward,
    unflatten_weights,
)

SPEC = RNNSpec(input_size=6, hidden_size=8, output_size=5, num_layers=2)


def make(models: int, spec: RNNSpec = SPEC, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return init_parameters(spec, range(100, 100 + models)).to(dtype)


def test_parameters_are_those_of_torch_in_torch_order():
    module = RNNModule(RNNSpec(6, 32, 6))
    expected = [(name, tuple(p.shape)) for name, p in module.named_parameters()]
    assert [(p.name, p.shape) for p in module.spec.parameters] == expected
    assert module.spec.num_parameters == 13_766  # the paper's language RNNs
    assert RNNSpec(16, 32, 10).num_parameters == 15_178  # and its image RNNs


def test_axis_labels_cover_every_axis():
    for parameter in SPEC.parameters:
        lengths = {"input": SPEC.input_size, "output": SPEC.output_size, "hidden": SPEC.hidden_size}
        assert parameter.shape == tuple(lengths[axis.kind] * axis.gates for axis in parameter.axes)


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 3),
    hidden=st.integers(1, 9),
    sequences=st.integers(1, 4),
    steps=st.integers(1, 7),
    models=st.integers(1, 3),
)
def test_forward_equals_torch_nn(layers, hidden, sequences, steps, models):
    spec = RNNSpec(3, hidden, 4, layers)
    flat = make(models, spec)
    weights = unflatten_weights(spec, flat)
    inputs = torch.randn(models, sequences, steps, 3, dtype=torch.float64)
    state = tuple(torch.randn(layers, models, sequences, hidden, dtype=torch.float64) for _ in range(2))
    logits, final = rnn_forward(weights, inputs, state)
    for n in range(models):
        module = RNNModule.of_weights({name: w[n] for name, w in weights.items()}).double()
        expected, expected_final = module(inputs[n], tuple(s[:, n].contiguous() for s in state))
        torch.testing.assert_close(logits[n], expected)
        for variable, expected_variable in zip(final, expected_final, strict=True):
            torch.testing.assert_close(variable[:, n], expected_variable)


def test_gradients_in_weights_and_inputs_equal_torch_nn():
    flat = make(1).requires_grad_()
    inputs = torch.randn(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    ours = torch.autograd.grad(
        rnn_forward(unflatten_weights(SPEC, flat), inputs)[0].square().sum(), (flat, inputs)
    )
    module = RNNModule(SPEC).double()
    named = unflatten_weights(SPEC, flat[0])
    theirs = torch.autograd.grad(functional_call(module, named, (inputs[0],))[0].square().sum(), (flat, inputs))
    torch.testing.assert_close(ours, theirs)


def test_gradcheck():
    spec = RNNSpec(2, 3, 2, 2)
    flat = make(2, spec).requires_grad_()
    inputs = torch.randn(2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, x: rnn_forward(unflatten_weights(spec, w), x)[0], (flat, inputs))


def test_a_model_does_not_depend_on_its_neighbours():
    flat, inputs = make(8), torch.randn(8, 4, 10, 6, dtype=torch.float64)
    together, _ = rnn_forward(unflatten_weights(SPEC, flat), inputs)
    for n in range(8):
        alone, _ = rnn_forward(unflatten_weights(SPEC, flat[n : n + 1]), inputs[n : n + 1])
        torch.testing.assert_close(together[n], alone[0], rtol=1e-14, atol=1e-14)


def test_shared_inputs_and_a_state_carried_over():
    weights = unflatten_weights(SPEC, make(3))
    inputs = torch.randn(4, 10, 6, dtype=torch.float64)
    whole, _ = rnn_forward(weights, inputs)
    first, state = rnn_forward(weights, inputs[:, :4])
    second, _ = rnn_forward(weights, inputs[:, 4:], state)
    torch.testing.assert_close(whole, torch.cat([first, second], dim=2))


def test_weights_are_what_vmap_takes():
    weights = unflatten_weights(SPEC, make(3))
    inputs = torch.randn(4, 10, 6, dtype=torch.float64)
    module = RNNModule(SPEC).double()
    expected = vmap(lambda w: functional_call(module, w, (inputs,))[0])(weights)
    torch.testing.assert_close(rnn_forward(weights, inputs)[0], expected)


def test_flat_rows_and_names_are_inverse():
    flat = make(3)
    assert torch.equal(flatten_weights(SPEC, unflatten_weights(SPEC, flat)), flat)
    module = RNNModule.of_weights(unflatten_weights(SPEC, flat[0].float()))
    assert torch.equal(torch.cat([p.flatten() for p in module.parameters()]), flat[0].float())


def test_initialisation_is_that_of_torch():
    spec = RNNSpec(6, 32, 6)
    flat = init_parameters(spec, [1, 2, 3])
    bound = 32**-0.5
    assert flat.abs().max() <= bound
    assert flat.mean().abs() < 1e-3
    assert flat.std() == pytest.approx(bound / 3**0.5, rel=0.01)
    torch_bounds = [p.abs().max().item() for p in RNNModule(spec).parameters()]
    assert max(torch_bounds) == pytest.approx(bound, rel=0.01)
    assert torch.equal(init_parameters(spec, [2])[0], flat[1])


def test_bad_input_says_what_was_found_and_expected():
    weights = unflatten_weights(SPEC, make(2))
    with pytest.raises(RnnzooError, match=r"inputs: found shape \[2, 4, 10, 7\].*\[2, B, T, 6\]"):
        rnn_forward(weights, torch.zeros(2, 4, 10, 7))
    with pytest.raises(RnnzooError, match=r"head\.bias"):
        rnn_forward({k: v for k, v in weights.items() if k != "head.bias"}, torch.zeros(4, 10, 6))
    with pytest.raises(RnnzooError, match="cell: found 'gru'"):
        RNNSpec(1, 1, 1, cell="gru")
    with pytest.raises(RnnzooError, match="hidden_size: found 0"):
        RNNSpec(1, 0, 1)
    with pytest.raises(RnnzooError, match="flat weights: found 5"):
        unflatten_weights(SPEC, torch.zeros(5))

"""The RNN core against torch.nn and autograd."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import (
    CELLS,
    RNNModule,
    RNNSpec,
    State,
    flatten_weights,
    init_parameters,
    rnn_forward,
    unflatten_weights,
)


@pytest.fixture(params=CELLS)
def spec(request) -> RNNSpec:
    return RNNSpec(input_size=6, hidden_size=8, output_size=5, num_layers=2, cell=request.param)


def make(models: int, spec: RNNSpec, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return init_parameters(spec, range(100, 100 + models)).to(dtype)


def random_state(spec: RNNSpec, models: int, sequences: int) -> State:
    shape = (spec.num_layers, models, sequences, spec.hidden_size)
    return tuple(torch.randn(shape, dtype=torch.float64) for _ in CELLS[spec.cell].state_variables)


def test_parameters_are_those_of_torch_in_torch_order(spec):
    module = RNNModule(spec)
    expected = [(name, tuple(p.shape)) for name, p in module.named_parameters()]
    assert [(p.name, p.shape) for p in spec.parameters] == expected
    assert RNNSpec.of_weights(dict(expected)) == spec


def test_sizes_of_the_papers_rnns():
    assert RNNSpec(6, 32, 6).num_parameters == 13_766  # languages
    assert RNNSpec(16, 32, 10).num_parameters == 15_178  # images


def test_axis_labels_cover_every_axis(spec):
    for parameter in spec.parameters:
        lengths = {"input": spec.input_size, "output": spec.output_size, "hidden": spec.hidden_size}
        assert parameter.shape == tuple(lengths[axis.kind] * axis.gates for axis in parameter.axes)


@settings(max_examples=25, deadline=None)
@given(
    cell=st.sampled_from(list(CELLS)),
    layers=st.integers(1, 3),
    hidden=st.integers(1, 9),
    sequences=st.integers(1, 4),
    steps=st.integers(1, 7),
    models=st.integers(1, 3),
)
def test_forward_equals_torch_nn(cell, layers, hidden, sequences, steps, models):
    spec = RNNSpec(3, hidden, 4, layers, cell)
    weights = unflatten_weights(spec, make(models, spec))
    inputs = torch.randn(models, sequences, steps, 3, dtype=torch.float64)
    state = random_state(spec, models, sequences)
    logits, final = rnn_forward(weights, inputs, state)
    assert len(final) == len(CELLS[cell].state_variables)
    for n in range(models):
        module = RNNModule.of_weights({name: w[n] for name, w in weights.items()}).double()
        expected, expected_final = module(inputs[n], tuple(s[:, n].contiguous() for s in state))
        torch.testing.assert_close(logits[n], expected)
        for variable, expected_variable in zip(final, expected_final, strict=True):
            torch.testing.assert_close(variable[:, n], expected_variable)


def test_the_module_is_torchs_own(spec):
    module, inputs = RNNModule(spec), torch.randn(4, 10, 6)
    cell = CELLS[spec.cell]
    reference = cell.torch_module(6, 8, 2, batch_first=True, **cell.torch_options)
    reference.load_state_dict(module.get_submodule(spec.cell).state_dict())
    hidden, final = reference(inputs)
    logits, state = module(inputs)
    assert torch.equal(logits, module.head(hidden))
    for variable, expected in zip(state, final if isinstance(final, tuple) else (final,), strict=True):
        assert torch.equal(variable, expected)


@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_in_weights_inputs_and_state_equal_torch_nn(spec, layers):
    spec = replace(spec, num_layers=layers)
    flat = make(1, spec).requires_grad_()
    inputs = torch.randn(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    state = tuple(variable.requires_grad_() for variable in random_state(spec, 1, 4))

    def total(logits, final):
        return logits.square().sum() + sum(variable.sin().sum() for variable in final)

    ours = total(*rnn_forward(unflatten_weights(spec, flat), inputs, state))
    alone = inputs[0], tuple(variable[:, 0].contiguous() for variable in state)
    theirs = total(*functional_call(RNNModule(spec).double(), unflatten_weights(spec, flat[0]), alone))
    parameters = (flat, inputs, *state)
    torch.testing.assert_close(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters))


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_takes_the_sum_of_the_parts_where_it_sees_no_more(cell):
    parts = torch.randn(2, 3, 4, 5 * len(cell.gates), dtype=torch.float64)
    state = tuple(torch.randn(3, 4, 5, dtype=torch.float64) for _ in cell.state_variables)
    sees_the_sum_alone = set(cell.split_bias_gates) == set(cell.gates)
    assert (cell.step_from_sum is not None) == sees_the_sum_alone
    if cell.step_from_sum is not None:
        torch.testing.assert_close(cell.step_from_sum(parts.sum(dim=0), state), cell.step(*parts, state))


def test_gradcheck(spec):
    spec = RNNSpec(2, 3, 2, 2, spec.cell)
    flat = make(2, spec).requires_grad_()
    inputs = torch.randn(2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, x: rnn_forward(unflatten_weights(spec, w), x)[0], (flat, inputs))


def test_a_model_does_not_depend_on_its_neighbours(spec):
    flat, inputs = make(8, spec), torch.randn(8, 4, 10, 6, dtype=torch.float64)
    together, _ = rnn_forward(unflatten_weights(spec, flat), inputs)
    for n in range(8):
        alone, _ = rnn_forward(unflatten_weights(spec, flat[n : n + 1]), inputs[n : n + 1])
        torch.testing.assert_close(together[n], alone[0], rtol=1e-14, atol=1e-14)


def test_shared_inputs_and_a_state_carried_over(spec):
    weights = unflatten_weights(spec, make(3, spec))
    inputs = torch.randn(4, 10, 6, dtype=torch.float64)
    whole, _ = rnn_forward(weights, inputs)
    first, state = rnn_forward(weights, inputs[:, :4])
    second, _ = rnn_forward(weights, inputs[:, 4:], state)
    torch.testing.assert_close(whole, torch.cat([first, second], dim=2))


def test_weights_and_states_are_what_vmap_takes(spec):
    weights, state = unflatten_weights(spec, make(3, spec)), random_state(spec, 3, 4)
    inputs = torch.randn(4, 10, 6, dtype=torch.float64)
    module = RNNModule(spec).double()

    def call(weights, state):
        return functional_call(module, weights, (inputs, state))

    logits, final = vmap(call, in_dims=(0, 1), out_dims=(0, 1))(weights, state)
    torch.testing.assert_close((logits, final), rnn_forward(weights, inputs, state))


def test_flat_rows_and_names_are_inverse(spec):
    flat = make(3, spec)
    assert torch.equal(flatten_weights(spec, unflatten_weights(spec, flat)), flat)
    module = RNNModule.of_weights(unflatten_weights(spec, flat[0].float()))
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


def test_bad_input_says_what_was_found_and_expected(spec):
    weights = unflatten_weights(spec, make(2, spec))
    with pytest.raises(RnnzooError, match=r"inputs: found shape \[2, 4, 10, 7\].*\[2, B, T, 6\]"):
        rnn_forward(weights, torch.zeros(2, 4, 10, 7))
    with pytest.raises(RnnzooError, match=r"head\.bias"):
        rnn_forward({k: v for k, v in weights.items() if k != "head.bias"}, torch.zeros(4, 10, 6))
    with pytest.raises(RnnzooError, match="cell: found 'LSTM', expected one of"):
        RNNSpec(1, 1, 1, cell="LSTM")
    with pytest.raises(RnnzooError, match="hidden_size: found 0"):
        RNNSpec(1, 0, 1)
    with pytest.raises(RnnzooError, match="flat weights: found 5"):
        unflatten_weights(spec, torch.zeros(5))

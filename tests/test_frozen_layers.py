"""Layers of frozen RNNs, compiled and by torch, against `rnn_forward` and autograd, at once and step by step."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
from compilers import skip_without_compiler
from torch import Tensor

from rnnzoo.loaders.encoders.probing import frozen_rnn
from rnnzoo.loaders.encoders.probing.frozen_layer import FrozenHead, LSTMLayer
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.zoo_builder.compiled import frozen_layers
from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.compiled.frozen_layers import CompiledLayer
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, init_parameters, rnn_forward, unflatten_weights

STEPS = 7
MODELS = 5


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """With the compiled functions, and without."""
    if request.param == "torch":
        monkeypatch.setattr(frozen_rnn, "compiled_cell", lambda name, weights: None)
    else:
        skip_without_compiler()
    return request.param


def fresh(spec: RNNSpec, models: int = MODELS) -> dict[str, Tensor]:
    """Weights far from zero; where no gate forgets, as large ones as these would blow up every rounding."""
    scale = 3 if spec.cell == "lstm" else 1
    return unflatten_weights(spec, scale * init_parameters(spec, range(models)))


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


SIZES = [(6, 32, 6, 2), (16, 32, 10, 3), (3, 48, 17, 1), (6, 24, 6, 2), (5, 33, 4, 1), (2, 4, 3, 3)]
"""Inputs, hidden units, outputs, layers: of whole vectors, and not."""


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("sequences", [1, 7])
@pytest.mark.parametrize("shared", [True, False])
def test_logits_and_the_gradient_of_inputs_equal_the_references(way, cell, sizes, sequences, shared):
    torch.manual_seed(0)
    spec = RNNSpec(*sizes, cell)
    weights = fresh(spec)
    layers = FrozenRNNs(weights).layers
    assert [isinstance(layer, CompiledLayer) for layer in layers] == [way == "compiled"] * len(layers)
    inputs = torch.randn(*(() if shared else (MODELS,)), sequences, STEPS, spec.input_size, requires_grad=True)
    found, expected = FrozenRNNs(weights).run(inputs), rnn_forward(weights, inputs)[0]
    assert_close(found, expected)
    direction = torch.randn_like(expected)
    assert_close(*(torch.autograd.grad(logits, inputs, direction)[0] for logits in (found, expected)))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [32, 20])
@pytest.mark.parametrize("of", [(0,), (1, 4), (3,), (2,), (0, 1, 2, 3, 4)])
def test_gradients_of_trajectories_equal_the_references(way, cell, units, of):
    torch.manual_seed(0)
    weights = fresh(RNNSpec(6, units, 6, 2, cell))
    inputs = torch.randn(2, STEPS, 6, requires_grad=True)
    logits, seen = FrozenRNNs(weights).run_observed(inputs)
    found = [logits, *seen.hidden, *seen.squashed]
    expected = observed_by_steps(weights, inputs)
    assert_close(found, expected)
    chosen = [[tensors[n] for n in of if n < len(tensors)] for tensors in (found, expected)]
    if chosen[0]:
        totals = [sum((t * torch.linspace(-1, 1, t.numel()).view_as(t)).sum() for t in these) for these in chosen]
        assert_close(*(torch.autograd.grad(total, inputs)[0] for total in totals))


def observed_by_steps(weights, inputs):
    """Logits, each layer's h, and each layer's tanh(c) if there is one, by `rnn_forward` a step at a time."""
    state, seen = None, []
    for t in range(inputs.shape[-2]):
        logits, state = rnn_forward(weights, inputs[..., t : t + 1, :], state)
        hidden, *memory = state
        seen.append((logits[:, :, 0], *hidden, *(c for variable in memory for c in variable.tanh())))
    return [torch.stack(tensors, dim=2) for tensors in zip(*seen, strict=True)]


@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 4, 5, 6, 7), (0, 3, 7), (0, 7)])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_may_be_taken_a_few_at_a_time(way, cell, cuts):
    torch.manual_seed(0)
    rnns = FrozenRNNs(fresh(RNNSpec(6, 32, 6, 1, cell)))
    if not rnns.is_fast:
        pytest.skip("goes through rnn_forward")
    (layer,) = rnns.layers
    inputs, above, d_memory = (torch.randn(STEPS, MODELS, 3, width) for width in (6, 32, 32))
    ran, whole = layer.room(STEPS, 3), layer.room(STEPS, 3)
    for first, end in pairwise(cuts):
        hidden = layer.forward(inputs[first:end], ran, first, end)
        assert torch.equal(hidden, ran.hidden[first:end])
    layer.forward(inputs, whole, 0, STEPS)
    assert_close((ran.hidden, ran.memory), (whole.hidden, whole.memory))

    back = layer.back(ran)
    pieces = [
        back.backward(above[first:end], first, d_memory[first:end])
        for first, end in reversed(list(pairwise(cuts)))
    ]
    assert_close(torch.cat(pieces[::-1]), layer.back(ran).backward(above, 0, d_memory))


def test_a_head_maps_each_models_hidden_states_with_its_own_weights(way):
    torch.manual_seed(0)
    weight, bias, hidden = torch.randn(4, 10, 32) / 6, torch.randn(4, 10), torch.randn(3, 4, 2, 32)
    head = FrozenHead(frozen_rnn.compiled_cell("tanh", weight), weight, bias)
    assert (head.compiled is not None) == (way == "compiled")
    assert_close(head.forward(hidden), torch.einsum("tnbh,noh->tnbo", hidden, weight) + bias[:, None])
    assert_close(head.backward(head.forward(hidden)), head.forward(hidden) @ weight)


def test_views_are_taken_as_what_they_show(way):
    torch.manual_seed(0)
    moved = [torch.randn(*shape, 4).movedim(-1, 0) for shape in ((128, 6), (128, 32), (128,), (128,))]
    cell = frozen_rnn.compiled_cell("lstm", moved[0])
    inputs = torch.randn(STEPS, 6, 3, 4).movedim(1, -1).movedim(2, 1)  # [T, N, B, D], none of it contiguous
    results = []
    for parts, values in ((moved, inputs), ([part.contiguous() for part in moved], inputs.contiguous())):
        layer = LSTMLayer(*parts) if cell is None else CompiledLayer(cell, *parts)
        results.append(layer.forward(values, layer.room(STEPS, 3), 0, STEPS))
    assert_close(*results)


@pytest.mark.parametrize("wrong", ["type", "width", "models", "steps"])
def test_what_does_not_fit_raises(way, wrong):
    layer = FrozenRNNs(fresh(RNNSpec(6, 32, 6, 1))).layers[0]
    inputs = torch.randn(STEPS, MODELS, 3, 6)
    inputs = {"type": inputs.double(), "width": inputs[..., :5], "models": inputs[:, :3], "steps": inputs}[wrong]
    room = layer.room(STEPS - 1 if wrong == "steps" else STEPS, 3)
    with pytest.raises(RnnzooError if way == "compiled" else (RuntimeError, IndexError)):
        layer.forward(inputs, room, 0, STEPS)


def test_more_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(frozen_layers, "THREAD_WORK", 1)
    weights = fresh(RNNSpec(6, 32, 6, 2), models=9)
    inputs = torch.randn(9, 2, STEPS, 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = FrozenRNNs(weights).run(inputs)
        torch.set_num_threads(4)
        assert torch.equal(FrozenRNNs(weights).run(inputs), alone)
    finally:
        torch.set_num_threads(before)


def test_doubles_go_to_torch():
    weights = {name: tensor.double() for name, tensor in fresh(RNNSpec(6, 32, 6, 2)).items()}
    rnns = FrozenRNNs(weights)
    assert isinstance(rnns.layers[0], LSTMLayer)
    inputs = torch.randn(2, STEPS, 6, dtype=torch.float64)
    torch.testing.assert_close(rnns.run(inputs), rnn_forward(weights, inputs)[0])


def test_a_layer_of_no_whole_vectors_raises():
    skip_without_compiler()
    parameters = [torch.zeros(1, *shape) for shape in ((20, 6), (20, 20), (20,), (20,))]
    with pytest.raises(RnnzooError, match="hidden units: found 20, expected a multiple of 16"):
        CompiledLayer(frozen_layers.compiled_cell("tanh", parameters[0]), *parameters)


def test_without_a_compiler_torch_serves(monkeypatch, caplog):
    def unavailable(source, definitions):
        raise KernelUnavailable("no C++ compiler was found")

    monkeypatch.setattr(frozen_layers, "load_library", unavailable)
    frozen_layers._load.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG, logger="rnnzoo"):
            assert isinstance(FrozenRNNs(fresh(RNNSpec(6, 32, 6, 2))).layers[0], LSTMLayer)
    finally:
        frozen_layers._load.cache_clear()
    assert [record.message for record in caplog.records] == [
        "probing with torch's batched products: no C++ compiler was found"
    ]

"""Layers of frozen RNNs, compiled and by torch, against `rnn_forward` and autograd, at once and step by step."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import torch
from compilers import skip_without_compiler
from torch import Tensor

from rnnzoo.loaders.encoders.probing import frozen_layer
from rnnzoo.loaders.encoders.probing.frozen_layer import FrozenHead, FrozenLayer, FrozenLayerBack
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs, run_frozen
from rnnzoo.zoo_builder.compiled import lstm_layers
from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, init_parameters, rnn_forward, unflatten_weights

STEPS = 7
MODELS = 5


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """With the compiled functions, and without."""
    if request.param == "torch":
        monkeypatch.setattr(frozen_layer, "can_compile", lambda weights, units: False)
    else:
        skip_without_compiler()
    return request.param


def fresh(spec: RNNSpec, models: int = MODELS) -> dict[str, Tensor]:
    return unflatten_weights(spec, 3 * init_parameters(spec, range(models)))


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("spec", [RNNSpec(6, 32, 6, 2), RNNSpec(16, 32, 10, 2), RNNSpec(3, 48, 17, 1)])
@pytest.mark.parametrize("sequences", [1, 2, 3, 8])
@pytest.mark.parametrize("shared", [True, False])
def test_logits_and_the_gradient_of_inputs_equal_the_references(way, spec, sequences, shared):
    torch.manual_seed(0)
    weights = fresh(spec)
    assert (FrozenRNNs(weights).layers[0].compiled is not None) == (way == "compiled")
    inputs = torch.randn(*(() if shared else (MODELS,)), sequences, STEPS, spec.input_size, requires_grad=True)
    found, expected = run_frozen(weights, inputs), rnn_forward(weights, inputs)[0]
    assert_close(found, expected)
    direction = torch.randn_like(expected)
    assert_close(*(torch.autograd.grad(logits, inputs, direction)[0] for logits in (found, expected)))


@pytest.mark.parametrize("of", [(0,), (1, 4), (3,), (2,), (0, 1, 2, 3, 4)])
def test_gradients_of_trajectories_are_the_same_both_ways(of, monkeypatch):
    torch.manual_seed(0)
    weights = fresh(RNNSpec(6, 32, 6, 2))
    inputs = torch.randn(2, STEPS, 6, requires_grad=True)
    answers = []
    for compiles in (True, False):
        if not compiles:
            monkeypatch.setattr(frozen_layer, "can_compile", lambda weights, units: False)
        logits, seen = FrozenRNNs(weights).run_observed(inputs)
        outputs = [(logits, *seen.hidden, *seen.squashed)[n] for n in of]
        total = sum((output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum() for output in outputs)
        answers.append([*outputs, *torch.autograd.grad(total, inputs)])
    assert_close(*answers)


@pytest.mark.parametrize("cuts", [(0, 1, 2, 3, 4, 5, 6, 7), (0, 3, 7), (0, 7)])
def test_steps_may_be_taken_a_few_at_a_time(way, cuts):
    torch.manual_seed(0)
    weights = FrozenRNNs(fresh(RNNSpec(6, 32, 6, 1)))
    (layer,) = weights.layers
    inputs, above, d_squashed = (torch.randn(STEPS, MODELS, 3, width) for width in (6, 32, 32))
    ran, whole = layer.room(STEPS, 3), layer.room(STEPS, 3)
    for first, end in pairwise(cuts):
        hidden = layer.forward(inputs[first:end], ran, first, end)
        assert torch.equal(hidden, ran.hidden[first:end])
    layer.forward(inputs, whole, 0, STEPS)
    assert_close(ran.tensors(), whole.tensors())

    back, at_once = FrozenLayerBack(layer, ran.tensors()), FrozenLayerBack(layer, ran.tensors())
    pieces = [
        back.backward(above[first:end], first, d_squashed[first:end])
        for first, end in reversed(list(pairwise(cuts)))
    ]
    assert_close(torch.cat(pieces[::-1]), at_once.backward(above, 0, d_squashed))


def test_a_head_maps_each_models_hidden_states_with_its_own_weights(way):
    torch.manual_seed(0)
    weight, bias, hidden = torch.randn(4, 10, 32), torch.randn(4, 10), torch.randn(3, 4, 2, 32)
    head = FrozenHead(weight, bias)
    assert_close(head.forward(hidden), torch.einsum("tnbh,noh->tnbo", hidden, weight) + bias[:, None])
    assert_close(head.backward(head.forward(hidden)), head.forward(hidden) @ weight)


def test_views_are_taken_as_what_they_show(way):
    torch.manual_seed(0)
    weight, recurrent, bias = torch.randn(128, 6, 4), torch.randn(128, 32, 4), torch.randn(128, 4)
    moved = [tensor.movedim(-1, 0) for tensor in (weight, recurrent, bias)]
    inputs = torch.randn(STEPS, 6, 3, 4).movedim(1, -1).movedim(2, 1)  # [T, N, B, D], none of it contiguous
    results = []
    for parts, values in ((moved, inputs), ([part.contiguous() for part in moved], inputs.contiguous())):
        layer = FrozenLayer(*parts)
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
    monkeypatch.setattr(lstm_layers, "THREAD_WORK", 1)
    weights = fresh(RNNSpec(6, 32, 6, 2), models=9)
    inputs = torch.randn(9, 2, STEPS, 6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run_frozen(weights, inputs)
        torch.set_num_threads(4)
        assert torch.equal(run_frozen(weights, inputs), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("dtype", "units"), [(torch.float64, 32), (torch.float32, 24)])
def test_other_types_and_sizes_go_to_torch(dtype, units):
    weights = {name: tensor.to(dtype) for name, tensor in fresh(RNNSpec(6, units, 6, 2)).items()}
    rnns = FrozenRNNs(weights)
    assert rnns.layers[0].compiled is None
    inputs = torch.randn(2, STEPS, 6, dtype=dtype)
    torch.testing.assert_close(rnns.run(inputs), rnn_forward(weights, inputs)[0])


def test_without_a_compiler_torch_serves(monkeypatch, caplog):
    def unavailable(source, definitions):
        raise KernelUnavailable("no C++ compiler was found")

    monkeypatch.setattr(lstm_layers, "load_library", unavailable)
    caches = lstm_layers._library, lstm_layers._is_available
    for cached in caches:
        cached.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG, logger="rnnzoo"):
            assert FrozenRNNs(fresh(RNNSpec(6, 32, 6, 2))).layers[0].compiled is None
    finally:
        for cached in caches:
            cached.cache_clear()
    assert [record.message for record in caplog.records] == [
        "probing with torch's batched products: no C++ compiler was found"
    ]

"""Alignment finds planted symmetries again; lines between models."""

import numpy as np
import pytest
import torch

from rnnzoo import rnn
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, init_parameters, rnn_forward, unflatten_weights

MODELS = 3


def models(spec, first_seed=0):
    return unflatten_weights(spec, init_parameters(spec, range(first_seed, first_seed + MODELS)))


def transformed(spec, weights, seed, with_signs=True, with_biases=True):
    """Every unit of every layer in another place, with other signs and biases."""
    generator = torch.Generator().manual_seed(seed)
    for layer in range(spec.num_layers):
        draws = torch.rand(MODELS, spec.hidden_size, generator=generator)
        weights = rnn.permute_units(spec, weights, layer, draws.argsort(dim=1))
        if with_signs and CELLS[spec.cell].odd_gates:
            signs = torch.randint(2, draws.shape, generator=generator) * 2 - 1
            weights = rnn.flip_signs(spec, weights, layer, signs)
        if with_biases:
            shift = torch.randn(weights[f"{spec.cell}.bias_ih_l{layer}"].shape, generator=generator)
            weights = rnn.split_biases(spec, weights, layer, shift)
    return weights


def distance(one, other):
    return torch.stack([(one[name] - other[name]).flatten(1).square().sum(1) for name in one]).sum(0).sqrt()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_planted_symmetries_are_found_again(cell, layers):
    spec = RNNSpec(6, 32, 6, layers, cell)
    original = models(spec)
    planted = transformed(spec, original, seed=layers)
    assert (distance(planted, original) > 5).all()
    assert (distance(rnn.align(spec, planted, original), original) < 1e-5).all()


@pytest.mark.parametrize("cell", CELLS)
def test_planted_symmetries_are_found_under_noise(cell):
    spec = RNNSpec(6, 16, 6, 2, cell)
    original = models(spec)
    noise = {name: 0.02 * torch.randn_like(tensor) for name, tensor in original.items()}
    noisy = {name: tensor + noise[name] for name, tensor in original.items()}
    aligned = rnn.align(spec, transformed(spec, noisy, 0, with_biases=False), original)
    assert (distance(aligned, original) <= distance(noisy, original) + 1e-5).all()


@pytest.mark.parametrize("cell", CELLS)
def test_alignment_brings_other_models_nearer_and_keeps_their_functions(cell):
    spec = RNNSpec(6, 16, 6, 2, cell)
    first, second = models(spec), models(spec, first_seed=10)
    aligned = rnn.align(spec, second, {name: tensor[:1] for name, tensor in first.items()})
    one = {name: tensor[:1].expand(tensor.shape) for name, tensor in first.items()}
    assert (distance(aligned, one) < distance(second, one)).all()
    inputs = torch.randn(4, 12, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rnn_forward(aligned, inputs)[0], rnn_forward(second, inputs)[0], atol=1e-5)
    alone = rnn.align(spec, {n: t[1:2] for n, t in second.items()}, {n: t[:1] for n, t in first.items()})
    assert all(torch.equal(alone[name], aligned[name][1:2]) for name in alone)


def test_a_line_has_its_ends():
    spec = RNNSpec(6, 4, 6, 1)
    weights = models(spec)
    first, second = ({name: t[n : n + 1] for name, t in weights.items()} for n in range(2))
    line = rnn.interpolate(first, second, torch.linspace(0, 1, 5))
    assert all(torch.equal(line[name][0], first[name][0]) for name in first)
    assert all(torch.equal(line[name][-1], second[name][0]) for name in first)
    assert all(torch.allclose(line[name][2], (first[name] + second[name])[0] / 2) for name in first)


def test_what_does_not_fit_is_an_error():
    spec = RNNSpec(6, 4, 6, 1, "lstm")
    weights = models(spec)
    two = {name: tensor[:2] for name, tensor in weights.items()}
    with pytest.raises(RnnzooError, match="reference: found 2 models, expected 1 or 3"):
        rnn.align(spec, weights, two)
    with pytest.raises(RnnzooError, match="reference: found values that are not finite"):
        rnn.align(spec, weights, {name: tensor / 0 for name, tensor in weights.items()})
    with pytest.raises(RnnzooError, match=r"shares: found shape \[1, 2\]"):
        rnn.interpolate(weights, weights, torch.zeros(1, 2))
    with pytest.raises(RnnzooError, match=r"weight_ih_l0: found shapes .* expected the same of 1 or 4 models"):
        rnn.interpolate(weights, weights, torch.zeros(4))
    with pytest.raises(RnnzooError, match=r"found shapes .*\(\).* expected"):
        rnn.interpolate(weights, {}, torch.zeros(3))
    with pytest.raises(RnnzooError, match=r"shares: found shape \[\], expected one axis"):
        rnn.interpolate(weights, weights, 0.5)
    with pytest.raises(RnnzooError, match="layer: found 1, expected 0 to 0"):
        rnn.split_biases(spec, weights, 1, torch.zeros(3, 16))


def of(weights, change):
    return {name: change(tensor) for name, tensor in weights.items()}


@pytest.mark.parametrize("align", [rnn.align, lambda spec, weights, other: rnn.align(spec, other, weights)])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: of(weights, lambda tensor: tensor[0]),
            r"found shape \[16, 6\], expected \[N, 16, 6\], for",
        ),
        (
            lambda weights: of(weights, lambda tensor: tensor[:0]),
            r"found shape \[0, 16, 6\], expected \[N, 16, 6\], one N of",
        ),
        (lambda weights: of(weights, lambda tensor: tensor.numpy()), "found a value of type ndarray, expected"),
        (lambda weights: {}, r"found nothing, expected a tensor of shape \[N, 16, 6\]"),
        (lambda weights: models(RNNSpec(6, 5, 6, 1, "lstm")), r"found shape \[3, 20, 6\], expected \[N, 16, 6\]"),
    ],
)
def test_what_are_no_weights_of_the_models(align, change, message):
    spec = RNNSpec(6, 4, 6, 1, "lstm")
    weights = models(spec)
    with pytest.raises(RnnzooError, match=f"(weights|reference): lstm.weight_ih_l0: {message}"):
        align(spec, weights, change(weights))


def test_models_that_are_being_trained_are_aligned():
    spec = RNNSpec(6, 4, 6, 1, "lstm")
    weights = models(spec)
    trained = of(weights, lambda tensor: tensor.clone().requires_grad_())
    aligned = rnn.align(spec, trained, of(trained, lambda tensor: tensor[:1]))
    expected = rnn.align(spec, weights, of(weights, lambda tensor: tensor[:1]))
    assert all(torch.equal(aligned[name], expected[name]) for name in weights)


@pytest.mark.parametrize("shares", [[0, 0.5, 1], (0.0, 0.5, 1.0), np.linspace(0, 1, 3)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_line_takes_any_numbers(shares, precision):
    weights = models(RNNSpec(6, 4, 6, 1))
    found = rnn.interpolate(weights, of(weights, lambda tensor: tensor.flip(0).to(precision)), shares)
    expected = rnn.interpolate(weights, of(weights, lambda tensor: tensor.flip(0)), torch.tensor([0, 0.5, 1]))
    assert all(torch.allclose(found[name], expected[name]) for name in weights)

"""Encoders built on the symmetries of an RNN's weights: the universal functional and the graph network."""

import pytest
import torch
from encoder_checks import (
    IMAGES,
    LANGUAGES,
    SMALL,
    SYMMETRIES,
    assert_alone_equals_together,
    assert_gradients_everywhere,
    assert_invariant,
    assert_learns_a_toy_target,
    assert_moved,
    assert_round_trip,
    embed,
    fresh_weights,
)

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE, check_encoder
from rnnzoo.loaders.encoders.graph_network import EdgeFeatures, GraphNetwork, parameter_graph
from rnnzoo.loaders.encoders.universal_functional import (
    EquivariantLayer,
    SumReLU,
    UniversalFunctional,
    equivariant_terms,
    partitions,
)
from rnnzoo.loaders.encoders.weight_space import arrays_by_space, channels_by_space
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs, permute_units

ENCODERS = (UniversalFunctional, GraphNetwork)


def make(encoder_class, population=SMALL):
    torch.manual_seed(0)
    return encoder_class(population)


@pytest.mark.parametrize("population", [SMALL, LANGUAGES, IMAGES], ids=["small", "languages", "images"])
@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_symmetries_it_claims_and_no_others(encoder_class, population):
    encoder = make(encoder_class, population)
    for symmetry in SYMMETRIES:
        if symmetry in encoder_class.invariant_to:
            assert_invariant(encoder, population, symmetry)
            assert_invariant(encoder, population, symmetry, torch.float32)
        else:
            assert_moved(encoder, population, symmetry)


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_half_a_permutation_moves_it(encoder_class):
    assert_moved(make(encoder_class), SMALL, "half_permutation")


@pytest.mark.parametrize("encoder_class", ENCODERS)
@pytest.mark.parametrize("name", [parameter.name for parameter in SMALL.spec.parameters])
def test_a_permutation_that_leaves_out_a_tensor_moves_it(encoder_class, name):
    encoder, spec = make(encoder_class).double(), SMALL.spec
    weights = fresh_weights(spec, 3)
    whole = weights
    for layer in range(spec.num_layers):
        whole = permute_units(spec, whole, layer, torch.arange(8).roll(1).expand(3, 8))
    if not torch.equal(whole[name], weights[name]):  # b_out has no hidden axis
        half = whole | {name: weights[name]}
        assert (embed(encoder, half) - embed(encoder, weights)).norm(dim=1).min() > 1e-4


@pytest.mark.parametrize("layer", range(SMALL.spec.num_layers))
def test_near_misses_of_the_sign_flip_move_the_graph_network(layer):
    encoder, spec = make(GraphNetwork).double(), SMALL.spec
    weights = fresh_weights(spec, 3)
    signs = torch.ones(3, 8).double()
    signs[:, ::2] = -1
    flipped = flip_signs(spec, weights, layer, signs)
    expected = embed(encoder, weights)
    assert torch.allclose(embed(encoder, flipped), expected, rtol=0, atol=1e-9)
    for name in weights:
        if not torch.equal(flipped[name], weights[name]):
            half = flipped | {name: weights[name]}
            assert (embed(encoder, half) - expected).norm(dim=1).min() > 1e-5, name
    biases = [f"lstm.bias_{kind}_l{layer}" for kind in ("ih", "hh")]
    half = flipped | {name: weights[name] for name in biases}
    assert (embed(encoder, half) - expected).norm(dim=1).min() > 1e-5
    every_gate = signs.repeat(1, 4)
    recurrent = f"lstm.weight_hh_l{layer}"
    wrong = weights | {recurrent: weights[recurrent] * every_gate.unsqueeze(2) * signs.unsqueeze(1)}
    assert (embed(encoder, wrong) - expected).norm(dim=1).min() > 1e-5


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_other_depths(encoder_class, num_layers):
    population = Population(RNNSpec(5, 6, 4, num_layers), SMALL.encoding, SMALL.steps)
    encoder = make(encoder_class, population)
    assert check_encoder(encoder, population) == EMBEDDING_SIZE
    for symmetry in encoder_class.invariant_to:
        assert_invariant(encoder, population, symmetry)


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_training(encoder_class):
    encoder = make(encoder_class)
    assert_alone_equals_together(encoder, SMALL)
    assert_gradients_everywhere(encoder, SMALL)
    assert_round_trip(encoder_class, SMALL)
    assert_learns_a_toy_target(encoder, SMALL)


@pytest.mark.parametrize(("encoder_class", "size"), [(UniversalFunctional, 245e3), (GraphNetwork, 220e3)])
def test_size(encoder_class, size):
    parameters = make(encoder_class, LANGUAGES).parameters()
    assert sum(parameter.numel() for parameter in parameters) == pytest.approx(size, rel=0.05)


def test_embeddings_have_unit_length():
    for encoder_class in ENCODERS:
        embedded = embed(make(encoder_class), fresh_weights(SMALL.spec, 3, dtype=torch.float32))
        assert torch.allclose(embedded.norm(dim=1), torch.ones(3))


def test_number_of_terms():
    assert list(partitions([7, 7, 8])) == [((0, 1), (2,)), ((0,), (1,), (2,))]
    assert len(equivariant_terms((0, 0), (0, 0))) == 15
    assert len(equivariant_terms((1, 0), (1, 0))) == 4
    assert len(equivariant_terms((0, 0), ())) == 2
    layer = EquivariantLayer(channels_by_space(LANGUAGES.spec), 28)
    assert layer.num_terms == 119
    inner = EquivariantLayer(dict.fromkeys(channels_by_space(LANGUAGES.spec), 28), 28)
    assert sum(matrix.numel() for matrix in inner.maps) == 119 * 28 * 28


def test_terms_are_independent_and_span_the_equivariant_maps():
    """The maps of a 5 x 5 matrix that commute with permuting rows and columns together have dimension 15."""
    units = 5
    layer = EquivariantLayer({(0, 0): 1}, 1).double()
    layer.bias.data.fill_(100)  # beyond the ReLU's corner the layer is affine
    for matrix in layer.maps:
        matrix.data.zero_()
    basis = torch.eye(units**2).double().view(-1, 1, units, units)
    found = []
    for matrix in layer.maps:
        for entry in range(matrix.numel()):
            matrix.data.view(-1)[entry] = 1
            images = layer({(0, 0): basis})
            found.append((images[(0, 0)] - 100).detach().flatten())
            matrix.data.zero_()
    assert len(found) == 15
    assert torch.linalg.matrix_rank(torch.stack(found)) == 15

    constraints = []
    for permutation in ([1, 2, 3, 4, 0], [1, 0, 2, 3, 4]):  # they generate all
        moved = torch.eye(units).double()[permutation]
        both = torch.kron(moved, moved)  # on flattened matrices
        identity = torch.eye(units**2).double()
        constraints.append(torch.kron(both, identity) - torch.kron(identity, both.T.contiguous()))
    assert units**4 - torch.linalg.matrix_rank(torch.cat(constraints)) == 15


def test_layer_is_equivariant():
    spec = SMALL.spec
    torch.manual_seed(0)
    layer = EquivariantLayer(channels_by_space(spec), 3).double()
    weights = fresh_weights(spec, 2)
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    permuted = permute_units(spec, weights, 0, order.expand(2, 8))
    before, after = (
        layer({space: array.movedim(-1, 1) for space, array in arrays_by_space(spec, of).items()})
        for of in (weights, permuted)
    )
    for axes, tensor in before.items():
        for dim, label in enumerate(axes, start=2):
            if label == 0:
                tensor = tensor.index_select(dim, order)
        assert tensor.abs().sum() > 0
        assert torch.allclose(after[axes], tensor)


def test_graph_has_every_weight_once():
    spec = IMAGES.spec
    graph = parameter_graph(spec, fresh_weights(spec, 1))
    diagonals = 2 * 4 * spec.hidden_size
    edges = sum(block.one_sided.numel() + block.two_sided.numel() for block in graph.edges)
    nodes = sum(features.numel() for features in graph.even + graph.odd)
    merged_biases = 2 * 4 * spec.hidden_size
    assert edges + nodes - diagonals + graph.outside.numel() == spec.num_parameters - merged_biases


def test_gradients_of_sum_relu():
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4, 4), (2, 3, 4, 1), (2, 3, 1, 4), (2, 3, 4), (1, 3, 1)]
    places = [((0,), (1,))] * 3 + [((0, 1),)] * 2
    inputs = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(lambda *parts: SumReLU.apply(places, *parts), inputs)


def test_gradients_of_edge_features():
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4, 5), (2, 3, 4), (2, 3, 5)]
    inputs = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(EdgeFeatures.apply, inputs)

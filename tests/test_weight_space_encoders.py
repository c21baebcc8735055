"""The paper's encoders that look at the weights themselves: sizes, symmetries, and that they learn."""

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
from torch import nn

from rnnzoo.loaders.encoders.augmentation import augment_units
from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE, check_encoder
from rnnzoo.loaders.encoders.flat_mlp import FlatMLP
from rnnzoo.loaders.encoders.layer_statistics import LayerStatistics
from rnnzoo.loaders.encoders.neural_functional import EquivariantLinear, NeuralFunctional
from rnnzoo.loaders.encoders.parameter_transformer import ParameterTransformer, neuron_groups, neurons
from rnnzoo.loaders.encoders.weight_space import parameter_spaces
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, rnn_forward

ENCODERS = (LayerStatistics, FlatMLP, ParameterTransformer, NeuralFunctional)
AUGMENTED = (FlatMLP, ParameterTransformer)
PUBLISHED_PARAMETERS = {
    LayerStatistics: 1.25e6,
    FlatMLP: 1.80e6,
    ParameterTransformer: 1.28e6,
    NeuralFunctional: 1.28e6,
}


def make(encoder_class, population=SMALL):
    torch.manual_seed(0)
    return encoder_class(population)


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_size_is_the_published_one(encoder_class):
    size = sum(parameter.numel() for parameter in make(encoder_class, LANGUAGES).parameters())
    assert size == pytest.approx(PUBLISHED_PARAMETERS[encoder_class], rel=0.05)


@pytest.mark.parametrize("population", [SMALL, LANGUAGES, IMAGES], ids=["small", "languages", "images"])
@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_symmetries_it_claims_and_no_others(encoder_class, population):
    encoder = make(encoder_class, population)
    for symmetry in SYMMETRIES:
        if symmetry in encoder_class.invariant_to:
            assert_invariant(encoder, population, symmetry)
        else:
            assert_moved(encoder, population, symmetry)


@pytest.mark.parametrize("encoder_class", [FlatMLP, ParameterTransformer, NeuralFunctional])
def test_half_a_permutation_moves_it(encoder_class):
    assert_moved(make(encoder_class), SMALL, "half_permutation")


def test_statistics_do_not_see_half_a_permutation():
    """A tensor's statistics do not say which weight stands where, so they miss what a permutation must not do."""
    assert_invariant(make(LayerStatistics), SMALL, "half_permutation")


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_a_model_is_embedded_alone_as_among_others(encoder_class):
    assert_alone_equals_together(make(encoder_class), SMALL)


@pytest.mark.parametrize("population", [SMALL, LANGUAGES, IMAGES], ids=["small", "languages", "images"])
@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_every_parameter_takes_a_gradient(encoder_class, population):
    encoder = make(encoder_class, population)
    assert_gradients_everywhere(encoder, population)
    assert check_encoder(encoder, population) == EMBEDDING_SIZE


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_round_trip(encoder_class):
    assert_round_trip(encoder_class, SMALL)


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_learns_a_toy_target(encoder_class):
    assert_learns_a_toy_target(make(encoder_class), SMALL)


@pytest.mark.parametrize("encoder_class", ENCODERS)
def test_embeddings_have_unit_length(encoder_class):
    with torch.no_grad():
        embedded = embed(make(encoder_class), fresh_weights(SMALL.spec, 3, dtype=torch.float32))
    assert torch.allclose(embedded.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("encoder_class", ENCODERS)
@pytest.mark.parametrize("layers", [1, 3])
def test_other_depths(encoder_class, layers):
    population = Population(RNNSpec(3, 5, 4, layers), SMALL.encoding, SMALL.steps)
    encoder = make(encoder_class, population)
    assert check_encoder(encoder, population) == EMBEDDING_SIZE
    if "permutation" in encoder_class.invariant_to:
        assert_invariant(encoder, population, "permutation")


@pytest.mark.parametrize("encoder_class", AUGMENTED)
def test_augmentation_is_drawn_per_model_in_train_mode_alone(encoder_class):
    one = {name: tensor.expand(4, *tensor.shape[1:]) for name, tensor in fresh_weights(SMALL.spec, 1).items()}
    for augment, symmetric in ((None, False), ("permutation", True), ("permutation_and_sign", True)):
        encoder = encoder_class(SMALL, augment=augment).double().train()
        with torch.no_grad():
            torch.manual_seed(0)
            first, second = encoder(one), encoder(one)
            torch.manual_seed(0)
            assert torch.equal(encoder(one), first)
            still = encoder.eval()(one)
        apart = torch.pdist(first).min()
        assert apart > 1e-4 if symmetric else apart < 1e-9
        assert torch.allclose(first, second) is not symmetric
        assert torch.pdist(still).max() < 1e-9


@pytest.mark.parametrize("augment", ["permutation", "permutation_and_sign"])
def test_augmentation_preserves_the_function(augment):
    weights = fresh_weights(SMALL.spec, 4)
    changed = augment_units(SMALL.spec, weights, augment)
    assert all(not torch.equal(changed[name], weights[name]) for name in weights if name != "head.bias")
    inputs = torch.rand(3, 9, 6, dtype=torch.float64)
    assert torch.allclose(rnn_forward(changed, inputs)[0], rnn_forward(weights, inputs)[0])


@pytest.mark.parametrize("encoder_class", AUGMENTED)
def test_unknown_augmentation(encoder_class):
    with pytest.raises(RnnzooError, match="augment: found 'signs', expected 'permutation', "):
        encoder_class(SMALL, augment="signs")


def test_width_must_divide_into_heads():
    with pytest.raises(RnnzooError, match="width: found 15, expected a multiple of heads, 2"):
        ParameterTransformer(SMALL, width=15)


def test_tokens_of_the_transformer():
    """Hidden units of both layers, then outputs; a unit's token has all gates of both matrices and biases."""
    groups = neuron_groups(LANGUAGES.spec)
    assert [neurons(group) for group in groups] == [32, 32, 6]
    inputs = [embedding.in_features for embedding in make(ParameterTransformer, LANGUAGES).embeddings]
    assert inputs == [4 * (6 + 32 + 2), 4 * (32 + 32 + 2), 32 + 1]


def test_spaces_of_the_neural_functional():
    spaces = parameter_spaces(SMALL.spec)
    assert {space: [p.name.removeprefix("lstm.") for p in group] for space, group in spaces.items()} == {
        (0,): ["weight_ih_l0", "bias_ih_l0", "bias_hh_l0"],
        (0, 0): ["weight_hh_l0"],
        (1, 0): ["weight_ih_l1"],
        (1, 1): ["weight_hh_l1"],
        (1,): ["bias_ih_l1", "bias_hh_l1", "head.weight"],
        (): ["head.bias"],
    }


def test_equivariant_linear_has_six_terms_from_a_recurrent_matrix_to_itself():
    """The span of the layer's outputs on one matrix, over random parameters: six dimensions, no more."""
    torch.manual_seed(0)
    matrix = torch.randn(1, 8, 8, 1, dtype=torch.float64)
    outputs = []
    for _ in range(12):
        layer = EquivariantLinear({(0, 0): 1}, {(0, 0): 1}).double()
        nn.init.zeros_(layer.overall.bias)
        outputs.append(layer({(0, 0): matrix})[(0, 0)].detach().flatten())
    assert torch.linalg.matrix_rank(torch.stack(outputs)) == 6


@pytest.mark.parametrize("axes", [(1, 2), (1,)], ids=["both axes", "rows alone"])
def test_equivariant_linear_commutes_with_whole_permutations_of_a_layer(axes):
    """Permuting the units of layer 0 before or after it is the same, unless columns stay behind."""
    torch.manual_seed(0)
    widths = dict.fromkeys(parameter_spaces(SMALL.spec), 4)
    layer = EquivariantLinear(widths, widths).double()
    features = {space: torch.randn(2, *[8] * len(space), 4, dtype=torch.float64) for space in widths}
    order = torch.randperm(8)

    def reorder(arrays):
        changed = dict(arrays)
        for space in arrays:
            for dim in axes:
                if space[dim - 1 : dim] == (0,):
                    changed[space] = changed[space].index_select(dim, order)
        return changed

    expected, found = reorder(layer(features)), layer(reorder(features))
    agreeing = [space for space in widths if torch.allclose(found[space], expected[space])]
    assert (len(agreeing) == len(widths)) is (axes == (1, 2))

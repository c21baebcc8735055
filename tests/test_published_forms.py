"""The paper's encoders and emulator in their published form: sizes, names and outputs of the published program."""

import zlib

import pytest
import torch
from encoder_checks import IMAGES, LANGUAGES, SMALL, embed, fresh_weights
from torch import nn

from rnnzoo.loaders.emulation import Emulator
from rnnzoo.loaders.encoders import PUBLISHED_FORMS
from rnnzoo.loaders.encoders.base import find_encoder, load_encoder
from rnnzoo.loaders.encoders.published.weights import load_published_weights
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.tasks.input_ranges import Interval

POPULATIONS = {"languages": LANGUAGES, "images": IMAGES}
PARAMETERS = {  # languages, images
    'layer_statistics(form="published")': (11_152, 11_152),
    'layer_statistics(form="published", hidden=(768, 768, 768))': (1_248_016, 1_248_016),
    'flat_mlp(form="published")': (1_797_264, 1_978_000),
    'parameter_transformer(form="published")': (1_276_688, 1_278_480),
    'neural_functional(form="published")': (1_279_736, 1_282_400),
    'noninteractive_probing(form="published")': (1_147_030, 1_156_512),
    'noninteractive_probing(form="published", probes=8)': (1_388_054, 1_404_704),
    'interactive_probing(form="published")': (1_147_030, 1_156_512),
    'interactive_probing(form="published", probes=8)': (1_388_054, 1_404_704),
}
EMBEDDED = {
    ('layer_statistics(form="published")', "languages"): [
        [-0.819176, 0.070148, 0.196169, -0.308563],
        [-0.805536, 0.096593, 0.195299, -0.298102],
    ],
    ('flat_mlp(form="published")', "languages"): [
        [0.298416, 0.069984, -0.363591, 0.058961],
        [0.089309, 0.039151, -0.311335, 0.078538],
    ],
    ('parameter_transformer(form="published")', "languages"): [
        [-0.138859, 0.371006, -0.277493, -0.542901],
        [-0.140328, 0.370799, -0.277036, -0.542697],
    ],
    ('neural_functional(form="published")', "languages"): [
        [0.154253, 0.255044, 0.166308, -0.037068],
        [0.16373, 0.258275, 0.169185, -0.05587],
    ],
    ('noninteractive_probing(form="published")', "languages"): [
        [0.322498, 0.131058, -0.276418, 0.121609],
        [0.317733, 0.134969, -0.273269, 0.133161],
    ],
    ('noninteractive_probing(form="published", probes=8)', "languages"): [
        [0.250394, 0.045742, -0.211051, 0.135916],
        [0.240512, 0.025117, -0.198228, 0.137779],
    ],
    ('interactive_probing(form="published")', "languages"): [
        [0.322457, 0.131069, -0.276411, 0.121626],
        [0.317824, 0.135051, -0.273264, 0.132886],
    ],
    ('interactive_probing(form="published", probes=8)', "languages"): [
        [0.247712, 0.043139, -0.210084, 0.135276],
        [0.230606, 0.018281, -0.192074, 0.138113],
    ],
    ('layer_statistics(form="published")', "images"): [
        [-0.82005, 0.075307, 0.195596, -0.305957],
        [-0.805493, 0.105627, 0.191552, -0.291958],
    ],
    ('flat_mlp(form="published")', "images"): [
        [-0.066404, -0.052817, -0.282476, 0.057509],
        [-0.171317, -0.068272, -0.246047, 0.066066],
    ],
    ('parameter_transformer(form="published")', "images"): [
        [-0.13897, 0.370834, -0.277281, -0.542814],
        [-0.14049, 0.37064, -0.276819, -0.542576],
    ],
    ('neural_functional(form="published")', "images"): [
        [0.132131, 0.274902, 0.196779, -0.044805],
        [0.137052, 0.261892, 0.210521, -0.076031],
    ],
    ('noninteractive_probing(form="published")', "images"): [
        [0.330382, 0.14733, -0.295297, 0.109191],
        [0.285049, 0.122279, -0.272593, 0.089945],
    ],
    ('noninteractive_probing(form="published", probes=8)', "images"): [
        [0.229774, 0.125595, -0.121983, 0.126766],
        [0.264934, 0.095695, -0.159792, 0.137509],
    ],
    ('interactive_probing(form="published")', "images"): [
        [0.326446, 0.145351, -0.292989, 0.107114],
        [0.307221, 0.160263, -0.312515, 0.086095],
    ],
    ('interactive_probing(form="published", probes=8)', "images"): [
        [0.232242, 0.12316, -0.122897, 0.1317],
        [0.275663, 0.079432, -0.142807, 0.14695],
    ],
}
"""Encoder and family -> first four numbers of the embeddings of two RNNs, computed by the published program."""
EMULATED = {
    ("first", "languages"): [
        [-1.805115, -1.513102, -3.585536, -1.718422],
        [-1.642049, -1.580521, -3.625542, -1.662741],
    ],
    ("every", "languages"): [
        [-1.962402, -1.342433, -3.609584, -1.992175],
        [-1.428776, -1.653282, -3.474208, -1.762103],
    ],
    ("first", "images"): [
        [-2.275177, -2.081129, -4.127386, -2.42182],
        [-2.324294, -2.240729, -4.183101, -2.249093],
    ],
    ("every", "images"): [
        [-2.407349, -2.341889, -4.318429, -2.415529],
        [-1.980146, -2.280443, -4.022481, -2.255502],
    ],
}
"""Condition and family -> first four log-probabilities at the last step of two RNNs, by the published program."""


def made_up(name, shape, scale):
    """Numbers that depend on a name, the same everywhere: what the published program was given, too."""
    count = torch.Size(shape).numel()
    phase = zlib.crc32(name.encode()) % 1000
    return (scale * torch.sin(phase + 1.7 * torch.arange(count, dtype=torch.float64) ** 1.1)).float().view(shape)


def made_up_rnns(spec):
    return {
        p.name: torch.stack([made_up(p.name, p.shape, scale) for scale in (0.3, 0.5)]) for p in spec.parameters
    }


def published_state(module):
    """What the published program would save for this module, with made-up numbers: they follow from its names."""
    state = {}
    for ours, tensor in module.state_dict().items():
        name = ours
        for theirs, beginning in module.published_names().items():
            if ours == beginning or ours.startswith(f"{beginning}."):
                name = theirs + ours.removeprefix(beginning)
        state[name] = tensor if name == "quantiles" else made_up(name, tensor.shape, 0.15)
    return state


@pytest.mark.parametrize("family", POPULATIONS)
@pytest.mark.parametrize("text", PARAMETERS)
def test_sizes_are_the_published_ones(text, family):
    encoder = load_encoder(text, POPULATIONS[family])
    size = sum(parameter.numel() for parameter in encoder.parameters())
    assert size == PARAMETERS[text][list(POPULATIONS).index(family)]
    assert encoder.published


@pytest.mark.parametrize(("family", "size"), [("languages", 1_060_358), ("images", 1_063_946)])
@pytest.mark.parametrize("form", ["own", "published"])
def test_the_emulator_has_the_published_size(form, family, size):
    emulator = Emulator(POPULATIONS[family].spec, form=form)
    assert sum(parameter.numel() for parameter in emulator.parameters()) == size


@pytest.mark.parametrize(("text", "family"), EMBEDDED)
def test_with_the_published_weights_embeddings_are_the_published_ones(text, family):
    population = POPULATIONS[family]
    encoder = load_encoder(text, population)
    load_published_weights(encoder, published_state(encoder))
    with torch.no_grad():
        found = encoder.eval()(made_up_rnns(population.spec))
    torch.testing.assert_close(found[:, :4], torch.tensor(EMBEDDED[text, family]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("condition", "family"), EMULATED)
def test_with_the_published_weights_the_emulator_is_the_published_one(condition, family):
    spec = POPULATIONS[family].spec
    emulator = Emulator(spec, form="published", condition=condition)
    load_published_weights(emulator, published_state(emulator))
    inputs, embeddings = made_up("inputs", (2, 5, spec.input_size), 1), made_up("embeddings", (2, 16), 1)
    with torch.no_grad():
        found = emulator(embeddings, inputs[:, None])[:, 0, -1]
        state = None
        for step in inputs.unbind(1):
            stepped, state = emulator.step(step, state, embeddings)
    torch.testing.assert_close(found[:, :4], torch.tensor(EMULATED[condition, family]), rtol=0, atol=1e-5)
    torch.testing.assert_close(stepped, found, rtol=1e-4, atol=1e-5)


def test_states_that_do_not_fit_are_refused_by_name():
    encoder = load_encoder('flat_mlp(form="published")', SMALL)
    state = published_state(encoder)
    first = next(iter(state))
    for wrong, told in [
        ({**state, "mlp_model.9.weight": state[first]}, "found 'mlp_model.9.weight', which PublishedFlatMLP"),
        ({**state, "mlp": state[first]}, "found 'mlp', which PublishedFlatMLP does not have"),
        ({**state, first: state[first][:, 1:]}, f"{first}: found shape"),
        ({name: tensor for name, tensor in state.items() if name != first}, "found nothing for head.layers.0"),
    ]:
        with pytest.raises(RnnzooError, match=f"published weights: {told}"):
            load_published_weights(encoder, wrong)
    with pytest.raises(
        RnnzooError, match="published weights: found FlatMLP, expected an encoder of form 'published'"
    ):
        load_published_weights(load_encoder("flat_mlp", SMALL), state)


def test_forms_are_asked_for_by_an_option():
    for name in PUBLISHED_FORMS:
        assert type(load_encoder(f'{name}(form="own")', SMALL)) is find_encoder(name)
        assert type(load_encoder(f'{name}(form="published")', SMALL)) is find_encoder(name, "published")
    with pytest.raises(ParameterError, match="form: found 'other' of flat_mlp, expected 'own' or 'published'"):
        load_encoder('flat_mlp(form="other")', SMALL)
    with pytest.raises(ParameterError, match=r"graph_network\(form=.*could not be made"):
        load_encoder('graph_network(form="published")', SMALL)


def test_one_permutation_serves_the_batch_and_none_an_evaluation():
    torch.manual_seed(0)
    encoder = load_encoder('flat_mlp(form="published")', SMALL)
    weights = {
        name: tensor[:1].expand(5, *tensor.shape[1:]) for name, tensor in fresh_weights(SMALL.spec, 1).items()
    }
    weights = {name: tensor.float() for name, tensor in weights.items()}
    first, second = (embed(encoder.train(), weights) for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-4)
    torch.testing.assert_close(first, first[:1].expand_as(first))
    assert torch.equal(embed(encoder.eval(), weights), embed(encoder, weights))


def test_probes_of_images_stay_between_zero_and_one():
    weights = fresh_weights(IMAGES.spec, 3, dtype=torch.float32)
    for name in ("noninteractive_probing", "interactive_probing"):
        encoder = load_encoder(f'{name}(form="published", probes=2, length=7)', IMAGES)
        assert encoder.input_range == Interval(0.0, 1.0)
        probes = encoder.probing_inputs(weights)
        assert probes.shape == (3, 2, 7, 16)
        assert ((probes > 0) & (probes < 1)).all()
        same = torch.equal(probes[0], probes[1])
        assert same is (name == "noninteractive_probing")


@pytest.mark.parametrize("text", [text for text in PARAMETERS if "probing" in text])
def test_what_is_counted_but_not_used_stays_as_it_is(text):
    encoder = load_encoder(text, SMALL)
    kept = {name: parameter for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    unused = {"unused_hidden", "unused_cell"} | ({"sequence"} if text.startswith("interactive") else set())
    assert set(kept) == unused
    weights = fresh_weights(SMALL.spec, 3, dtype=torch.float32)
    with torch.no_grad():
        before = embed(encoder, weights)
        for parameter in kept.values():
            nn.init.normal_(parameter)
        assert torch.equal(embed(encoder, weights), before)

"""Probing encoders: the fast path against the reference, and every promise of the encoders."""

import math
from dataclasses import replace

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
    fresh_weights,
)
from torch.nn.functional import one_hot

from benchmarks.encoders import PER_MODEL, contestants, fitting, population_of, run
from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import check_encoder
from rnnzoo.loaders.encoders.probing.base import Reader, centred
from rnnzoo.loaders.encoders.probing.closed_loop import ClosedLoop, closed_loop_reference
from rnnzoo.loaders.encoders.probing.completion_probing import CompletionProbing
from rnnzoo.loaders.encoders.probing.feedback_probing import FEEDBACK_GAIN, PROBE_GAIN, FeedbackProbing
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.probing.hidden_probing import HiddenProbing
from rnnzoo.loaders.encoders.probing.interactive_probing import InteractiveProbing
from rnnzoo.loaders.encoders.probing.noninteractive_probing import NoninteractiveProbing
from rnnzoo.loaders.encoders.probing.probe_generator import ProbeGenerator
from rnnzoo.loaders.encoders.probing.stepwise_probing import StepwiseProbing
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, rnn_forward
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding
from rnnzoo.zoo_builder.tasks.input_ranges import Interval, Simplex

SMALL_IMAGES = Population(RNNSpec(4, 8, 3, 2), TileEncoding(4, 0.0127, -0.42), steps=6)
PAPERS = (NoninteractiveProbing, InteractiveProbing)
MAKERS = {
    "noninteractive": lambda population: NoninteractiveProbing(population, length=6),
    "interactive": lambda population: closed(InteractiveProbing(population, length=6)),
    "interactive, 3 probes": lambda population: closed(InteractiveProbing(population, probes=3, length=5)),
    "generator": lambda population: ProbeGenerator(population, probes=3, length=6),
    "free probes": lambda population: ProbeGenerator(population, probes=3, length=6, free=True),
    "hidden": lambda population: HiddenProbing(population, probes=2, length=6),
    "feedback": lambda population: fed_back(FeedbackProbing(population, probes=3, length=6)),
    "stepwise": lambda population: fed_back(StepwiseProbing(population, length=6)),
    "completion": lambda population: CompletionProbing(population, probes=3, length=7),
}


def closed(encoder):
    """With the correction away from its zero, as after some training."""
    torch.nn.init.normal_(encoder.correction, generator=torch.Generator().manual_seed(5))
    return encoder


def fed_back(encoder):
    """With the feedback away from its zero, as after some training."""
    torch.nn.init.normal_(encoder.feedback, std=0.05, generator=torch.Generator().manual_seed(5))
    return encoder


@pytest.fixture(params=MAKERS)
def make(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


@pytest.fixture
def weights():
    return fresh_weights(SMALL.spec, 3, scale=8)


def numbers(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, dtype=torch.float64, generator=generator)).requires_grad_()


def gradients(outputs, inputs, seed=1):
    total = sum(
        (output * numbers(*output.shape, seed=seed + n).detach()).sum() for n, output in enumerate(outputs)
    )
    return torch.autograd.grad(total, inputs)


def assert_close(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 7, 6), (3, 2, 7, 6), (1, 1, 6), (3, 1, 4, 6)])
def test_frozen_run_equals_the_reference_forward_and_backward(weights, shape):
    inputs = numbers(*shape)
    found, expected = FrozenRNNs(weights).run(inputs), rnn_forward(weights, inputs)[0]
    assert_close([found], [expected])
    assert_close(gradients([found], [inputs]), gradients([expected], [inputs]))


def by_steps(weights, inputs):
    """Logits, and each layer's h and tanh(c), by `rnn_forward` a step at a time."""
    state, seen = None, []
    for t in range(inputs.shape[-2]):
        logits, state = rnn_forward(weights, inputs[..., t : t + 1, :], state)
        seen.append((logits[:, :, 0], *state[0], *state[1].tanh()))
    return [torch.stack(tensors, dim=2) for tensors in zip(*seen, strict=True)]


@pytest.mark.parametrize("shape", [(2, 5, 6), (3, 2, 5, 6)])
@pytest.mark.parametrize("of", [(0, 1, 2, 3, 4), (1,), (3,), (2, 4)])
def test_trajectories_equal_the_reference_forward_and_backward(weights, shape, of):
    inputs = numbers(*shape)
    logits, seen = FrozenRNNs(weights).run_observed(inputs)
    found, expected = [logits, *seen.hidden, *seen.squashed], by_steps(weights, inputs)
    assert_close(found, expected)
    pairs = [gradients([tensors[n] for n in of], [inputs]) for tensors in (found, expected)]
    assert_close(*pairs)


def test_other_cells_take_the_reference_path(weights, monkeypatch):
    torch.manual_seed(0)
    encoders = [make(SMALL).double() for make in MAKERS.values()]
    with torch.no_grad():
        expected = [encoder(weights) for encoder in encoders]
        monkeypatch.setattr("rnnzoo.loaders.encoders.probing.frozen_rnn.TORCH_LAYERS", {})
        assert not FrozenRNNs(weights).is_fast
        assert_close([encoder(weights) for encoder in encoders], expected)


def test_no_gradient_reaches_the_weights_of_the_rnn(weights):
    taking = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    FrozenRNNs(taking).run(numbers(2, 4, 6)).sum().backward()
    assert all(tensor.grad is None for tensor in taking.values())


@pytest.mark.parametrize("shape", [(2, 7, 5), (4, 2, 7, 6), (7, 6)])
def test_inputs_of_another_shape_raise(weights, shape):
    with pytest.raises(RnnzooError, match=r"inputs: found shape .*expected \[B, T, 6\]"):
        FrozenRNNs(weights).run(numbers(*shape))


@pytest.mark.parametrize("population", [SMALL, SMALL_IMAGES], ids=["tokens", "images"])
@pytest.mark.parametrize("probes", [1, 3])
def test_closed_loop_equals_the_reference_forward_and_backward(population, probes):
    torch.manual_seed(0)
    encoder = closed(InteractiveProbing(population, probes, 6)).double()
    rnns = FrozenRNNs(fresh_weights(population.spec, 5, scale=16))  # so sharp that some log-probabilities are cut
    parameters = [encoder.scores, encoder.correction, *encoder.reader.parameters()]
    results = []
    for loop in (ClosedLoop.apply, closed_loop_reference):
        weights = encoder.reader.composed_weights()
        hidden, inputs = loop(
            rnns, encoder.input_range, encoder.scores.transpose(0, 1), encoder.correction / 4, *weights
        )
        assert not inputs.requires_grad
        results.append([hidden, inputs, *gradients([hidden], parameters)])
    assert_close(*results)


def test_closed_loop_in_single_precision_equals_the_reference():
    torch.manual_seed(0)
    encoder = closed(InteractiveProbing(LANGUAGES, 3, 6))
    rnns = FrozenRNNs(fresh_weights(LANGUAGES.spec, 5, dtype=torch.float32))  # compiled, where there is a compiler
    results = []
    for loop in (ClosedLoop.apply, closed_loop_reference):
        weights = encoder.reader.composed_weights()
        scores = encoder.scores.transpose(0, 1)
        hidden, _ = loop(rnns, encoder.input_range, scores, encoder.correction / 16, *weights)
        results.append(
            [hidden, *torch.autograd.grad(hidden.square().mean(), [encoder.scores, encoder.correction])]
        )
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("input_range", [Simplex(), Interval(-0.4, 3.2)])
def test_input_range_has_the_backward_of_its_forward(input_range):
    scores = numbers(4, 5)
    inputs = input_range.forward(scores)
    direction = numbers(4, 5, seed=1).detach()
    (expected,) = torch.autograd.grad(inputs, scores, direction)
    assert_close([input_range.backward(direction, inputs.detach())], [expected])


def test_composed_weights_are_those_of_the_map_and_the_lstm():
    torch.manual_seed(0)
    reader = Reader(5).double()
    answers = -numbers(4, 3, 5).square()
    found = reader(answers)
    expected, _ = reader.lstm(reader.read_in(centred(answers)))
    parameters = [answers, *reader.parameters()]
    assert_close([found], [expected])
    assert_close(gradients([found], parameters), gradients([expected], parameters))


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_declared_symmetries_leave_the_embedding(make, symmetry):
    encoder = make(SMALL)
    assert symmetry in encoder.invariant_to
    assert_invariant(encoder, SMALL, symmetry)


def test_half_a_permutation_moves_the_embedding(make):
    assert_moved(make(SMALL), SMALL, "half_permutation")


def test_a_model_is_embedded_alone_as_together(make):
    assert_alone_equals_together(make(SMALL), SMALL)


@pytest.mark.parametrize("population", [SMALL, SMALL_IMAGES], ids=["tokens", "images"])
def test_every_parameter_takes_a_gradient(make, population):
    if make is MAKERS["completion"] and not population.generates:
        pytest.skip("images are not completed")
    encoder = make(population)
    assert check_encoder(encoder, population) == 16
    assert_gradients_everywhere(encoder, population)


def test_state_dict_round_trip(make):
    seeds = iter(range(2))

    def seeded(population):
        torch.manual_seed(next(seeds) + 1)
        return make(population)

    assert_round_trip(seeded, SMALL)


def test_learns_a_toy_target(make):
    assert_learns_a_toy_target(make(SMALL), SMALL, learning_rate=1e-3, models=16)


@pytest.mark.parametrize("encoder_class", PAPERS)
def test_papers_encoders_have_the_papers_size(encoder_class):
    parameters = sum(parameter.numel() for parameter in encoder_class(LANGUAGES).parameters())
    assert abs(parameters / 1.15e6 - 1) < 0.05


@pytest.mark.parametrize("encoder_class", PAPERS)
@pytest.mark.parametrize(("probes", "length"), [(1, 7), (2, 12), (4, 22), (8, 42)])
def test_papers_options(encoder_class, probes, length):
    encoder = encoder_class(SMALL, probes=probes, length=length)
    assert encoder.queries == probes * length
    with torch.no_grad():
        assert encoder(fresh_weights(SMALL.spec, 2, dtype=torch.float32)).shape == (2, 16)


def test_default_lengths():
    assert (NoninteractiveProbing(LANGUAGES).length, NoninteractiveProbing(IMAGES).length) == (22, 50)


@pytest.mark.parametrize("options", [{"probes": 0}, {"length": 0}, {"length": 2.5}])
def test_odd_options_raise(options):
    with pytest.raises(RnnzooError, match="expected a whole number of at least 1"):
        NoninteractiveProbing(SMALL, **options)


def test_probing_inputs_are_inputs(make):
    encoder = make(SMALL)
    inputs = encoder.probing_inputs(fresh_weights(SMALL.spec, 3, dtype=torch.float32))
    assert inputs.shape == (3, encoder.probes, encoder.length, 6)
    assert not inputs.requires_grad
    assert torch.allclose(inputs.sum(dim=-1), torch.ones(()))
    if make is MAKERS["completion"]:
        return
    pixels = make(SMALL_IMAGES).probing_inputs(fresh_weights(SMALL_IMAGES.spec, 3, dtype=torch.float32))
    assert pixels.min() >= -0.42
    assert pixels.max() <= -0.42 + 255 * 0.0127


def test_every_rnn_completes_a_beginning_by_its_own_likeliest_tokens():
    torch.manual_seed(0)
    encoder, weights = CompletionProbing(SMALL, 4, 9), fresh_weights(SMALL.spec, 5, dtype=torch.float32)
    inputs = encoder.probing_inputs(weights)
    answers = rnn_forward(weights, inputs)[0].argmax(dim=-1)
    for k, length in enumerate(encoder.lengths.tolist()):
        assert 0 < length < 9
        assert torch.allclose(inputs[:, k, :length], encoder.scores[k, :length].softmax(dim=-1))
        assert torch.equal(inputs[:, k, length:], one_hot(answers[:, k, length - 1 : -1], 6).float())
    assert not torch.equal(inputs[0], inputs[1])


def test_beginnings_end_where_a_string_first_changes_its_letter():
    strings = [[4, *[0] * n, *[1] * n, *[5] * (12 - 2 * n)] for n in range(1, 6)]  # a^n b^n, then END
    population = replace(SMALL, steps=12, reference=LabelledItems(torch.tensor(strings, dtype=torch.uint8)))
    for length in (1, 2, 20):  # shorter than any beginning, and longer than the strings
        assert check_encoder(CompletionProbing(population, 3, length), population) == 16
    encoder = CompletionProbing(population, 3)
    assert encoder.length == 12
    assert encoder.lengths.tolist() == [4, 5, 6]  # of n = 1 to 5 the middle half: 2, 3, 4
    for scores, n in zip(encoder.scores, (2, 3, 4), strict=True):
        assert scores[: n + 2].argmax(dim=-1).tolist() == [4, *[0] * n, 1]


def test_completion_reads_expected_transitions():
    torch.manual_seed(0)
    encoder = CompletionProbing(SMALL, 3, 8).double()
    weights = fresh_weights(SMALL.spec, 4)
    found = encoder(weights)
    given = (torch.arange(8) < encoder.lengths[:, None])[..., None]
    inputs = torch.where(given, encoder.scores.softmax(dim=-1), encoder.probing_inputs(weights))
    expected = rnn_forward(weights, inputs)[0].softmax(dim=-1)
    counts = torch.einsum("nkti,nkto->nkio", inputs, expected) * 5 / 8
    reference = encoder.head(counts.flatten(1))
    parameters = list(encoder.parameters())
    assert_close([found], [reference])
    assert_close(gradients([found], parameters), gradients([reference], parameters))


@pytest.mark.parametrize("population", [SMALL_IMAGES, replace(SMALL, spec=RNNSpec(6, 8, 5, 2))])
def test_only_rnns_that_read_what_they_write_complete(population):
    with pytest.raises(RnnzooError, match=r"completion_probing: found RNNs .*expected ones that read the tokens"):
        CompletionProbing(population)


@pytest.mark.parametrize("population", [SMALL, SMALL_IMAGES], ids=["tokens", "images"])
def test_what_an_rnn_answered_is_added_to_its_next_input(population):
    torch.manual_seed(0)
    encoder = FeedbackProbing(population, probes=2, length=5).double()
    weights = fresh_weights(population.spec, 3)
    same = encoder.probing_inputs(weights)
    assert torch.equal(same, same[:1].expand_as(same)), "before training all RNNs are asked the same"
    fed_back(encoder)
    asked = encoder.probing_inputs(weights)
    assert torch.equal(asked[:, :, 0], same[:, :, 0])
    assert (asked[0] - asked[1]).abs().max() > 1e-3
    answers = rnn_forward(weights, asked)[0].log_softmax(-1)
    heard = answers[:, :, :-1].clamp_min(-12) / 3 + 1
    scores = PROBE_GAIN * encoder.scores[:, 1:] + FEEDBACK_GAIN * heard @ encoder.feedback.T
    assert torch.allclose(asked[:, :, 1:], encoder.input_range.forward(scores))
    sums = torch.einsum("nkti,nkto->nkio", asked, answers.exp()).flatten(1)
    assert torch.allclose(encoder(weights), encoder.head(sums), atol=1e-5), "all that the embedding is made of"


def test_interactive_probing_starts_open_and_asks_each_rnn_its_own_when_closed():
    torch.manual_seed(0)
    encoder, weights = InteractiveProbing(SMALL, 2, 5), fresh_weights(SMALL.spec, 3, dtype=torch.float32)
    before = encoder.probing_inputs(weights)
    assert torch.equal(before[0], before[1])
    after = closed(encoder).probing_inputs(weights)
    assert torch.equal(after[0, :, 0], after[1, :, 0])
    assert (after[0, :, 1:] - after[1, :, 1:]).abs().max() > 1e-3


def test_generated_probes_begin_as_wide_as_free_ones():
    torch.manual_seed(0)
    assert math.isclose(ProbeGenerator(SMALL).generator().std().item(), 2, rel_tol=1e-3)


@pytest.mark.parametrize("encoder_class", PAPERS)
def test_the_per_model_form_computes_the_same(encoder_class):
    torch.manual_seed(0)
    encoder, weights = encoder_class(SMALL, 2, 5), fresh_weights(SMALL.spec, 3, dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(PER_MODEL[encoder_class](encoder, weights), encoder(weights), atol=1e-5)


def test_the_benchmark_times_both_forms():
    names = ["noninteractive_probing(length=3)", "interactive_probing(length=3)", "step_only"]
    found = contestants(names, SMALL, 2, "cpu")
    turns = run(found, repeats=1)
    assert [name for name in turns if name.endswith("per model")] == [f"{name}, per model" for name in names[:2]]
    assert all(len(times) == 1 and times[0] > 0 for times in turns.values())


def test_the_speed_benchmark_leaves_out_what_rnns_cannot_be_asked():
    assert list(fitting(population_of("formal_languages"))) == list(ENCODERS)
    made = fitting(population_of("sequential_digits"))
    assert set(ENCODERS) - set(made) == {"completion_probing", "greedy_decode"}

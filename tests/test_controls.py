"""The controls: fixed feature maps that a learned encoder has to beat."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from encoder_checks import (
    IMAGES,
    LANGUAGES,
    SMALL,
    SYMMETRIES,
    assert_alone_equals_together,
    assert_invariant,
    assert_moved,
    embed,
    fresh_weights,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rnnzoo.loaders.encoders.base import check_encoder
from rnnzoo.loaders.encoders.behaviour_statistics import BehaviourStatistics
from rnnzoo.loaders.encoders.greedy_decode import GreedyDecode
from rnnzoo.loaders.encoders.invariant_statistics import InvariantStatistics, fix_gauges
from rnnzoo.loaders.encoders.step_only import StepOnly
from rnnzoo.loaders.encoders.weight_norm import WeightNorm
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, rnn_forward
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.tasks.formal_languages.behaviour import describe_strings, write_strings
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.formal_languages.greedy import decode_greedily, read_offsets
from rnnzoo.zoo_builder.tasks.formal_languages.language import FormalLanguage, encode_word
from rnnzoo.zoo_builder.tasks.sequential_images.behaviour import (
    ANGLES,
    describe_answers,
    labels_in_turn,
    turn_images,
)
from rnnzoo.zoo_builder.tasks.sequential_images.images import bundled_digits
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import tiles

DIGITS = bundled_digits()
REFERENCE = LabelledItems(torch.from_numpy(tiles(DIGITS.pixels[:30])), torch.from_numpy(DIGITS.labels[:30]))
TURNED = replace(IMAGES, spec=RNNSpec(16, 8, 10, 2), reference=REFERENCE)
LANGUAGE = FormalLanguage((1, -1, 2))

CASES = {
    "step_only": (StepOnly, SMALL),
    "weight_norm": (WeightNorm, SMALL),
    "invariant_statistics, tokens": (InvariantStatistics, SMALL),
    "invariant_statistics, images": (InvariantStatistics, TURNED),
    "behaviour_statistics, tokens": (BehaviourStatistics, SMALL),
    "behaviour_statistics, images": (BehaviourStatistics, TURNED),
    "greedy_decode": (GreedyDecode, SMALL),
}
cases = pytest.mark.parametrize(("encoder_class", "population"), CASES.values(), ids=CASES)


@cases
def test_a_control_is_a_sound_encoder_without_parameters(encoder_class, population):
    encoder = encoder_class(population)
    assert check_encoder(encoder, population) == embed(encoder, fresh_weights(population.spec, 3)).shape[1]
    assert not list(encoder.parameters())
    assert not encoder.state_dict()
    assert encoder.group == "control"


@cases
@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_stands_still_under_the_symmetries_it_names_and_no_others(encoder_class, population, symmetry):
    encoder = encoder_class(population)
    if symmetry in encoder.invariant_to:
        assert_invariant(encoder, population, symmetry)
    else:
        assert_moved(encoder, population, symmetry)


@cases
def test_a_model_alone_is_a_model_in_a_batch(encoder_class, population):
    assert_alone_equals_together(encoder_class(population), population)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("invariant", "behaviour"))])
def test_a_half_applied_permutation_shows(name):
    encoder_class, population = CASES[name]
    assert_moved(encoder_class(population), population, "half_permutation")


def test_the_gauges_of_one_hot_inputs_are_fixed_without_changing_the_rnn():
    weights = fresh_weights(SMALL.spec, 3)
    inputs = torch.eye(6, dtype=torch.float64)[torch.arange(12).view(2, 6) % 6]
    fixed = fix_gauges(SMALL.spec, weights, sums_to_one=True)
    before, after = (rnn_forward(w, inputs)[0].log_softmax(dim=-1) for w in (weights, fixed))
    assert torch.allclose(before, after, atol=1e-12)
    moved = {**weights, "lstm.weight_ih_l0": weights["lstm.weight_ih_l0"] + 1}
    moved["lstm.bias_ih_l0"] = weights["lstm.bias_ih_l0"] - 1
    encoder = InvariantStatistics(SMALL)
    assert torch.allclose(encoder(moved), encoder(weights), atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("encoding", [TokenEncoding(6, 0), TileEncoding(16, 1, 0)], ids=["tokens", "images"])
@given(hidden=st.integers(1, 9), layers=st.integers(1, 3))
def test_invariant_statistics_of_any_size_are_finite_and_none_is_rounding(cell, encoding, hidden, layers):
    spec = RNNSpec(encoding.input_size, hidden, 6, layers, cell)
    statistics = InvariantStatistics(Population(spec, encoding, 9))(fresh_weights(spec, 20))
    assert statistics.isfinite().all()
    deviations = statistics.std(dim=0)
    assert not ((deviations > 0) & (deviations < 1e-10)).any()


def test_step_and_norm_are_what_they_say():
    weights = {name: torch.full_like(t, 0.5) for name, t in fresh_weights(SMALL.spec, 2).items()}
    assert StepOnly(SMALL)(weights, step=torch.tensor([0, 99])).squeeze(1).exp().tolist() == pytest.approx(
        [1, 100]
    )
    norms = WeightNorm(SMALL)(weights).exp()
    assert norms[0].tolist() == pytest.approx([0.5 * p.size**0.5 for p in SMALL.spec.parameters])


def strings(*words):
    """Words as tokens [1, B, 41], BEGIN left out."""
    return torch.from_numpy(np.stack([encode_word(word)[1:] for word in words])).long()[None]


def test_offsets_are_read_off_strings():
    words = [LANGUAGE.word(n) for n in range(4, 9)]
    assert read_offsets(strings(*words)).tolist() == [[1, -1, 2]]
    assert read_offsets(strings("aabb", *words[1:])).tolist() == [[1, -1, 2]]  # one odd string is outvoted
    assert read_offsets(strings("aaaaaaaa" + 9 * "b")).tolist() == [[1, -3, -3]]


def test_letters_after_the_end_do_not_count():
    tokens = strings("aabbbcdddd")
    tokens[..., 12:] = 1
    assert read_offsets(tokens).tolist() == [[1, -1, 2]]
    entropy = torch.zeros(tokens.shape)
    assert torch.equal(describe_strings(tokens, entropy), describe_strings(strings("aabbbcdddd"), entropy))


def test_greedy_decoding_begins_with_the_forced_letters_and_writes_no_further_a():
    weights = fresh_weights(LANGUAGES.spec, 2)
    weights = {**weights, "head.bias": weights["head.bias"] + 5 * torch.eye(6, dtype=torch.float64)[0]}  # likes a
    tokens = decode_greedily(weights, LANGUAGES.steps)
    assert tokens.shape == (2, 5, 41)
    for string, n in zip(tokens[1], range(4, 9), strict=True):
        assert (string[:n] == 0).all()
        assert (string[n:] != 0).all()
        inputs = FormalLanguages.encoding.inputs(torch.cat([torch.tensor([4]), string]).to(torch.uint8)).double()
        logits, _ = rnn_forward({name: t[1:2] for name, t in weights.items()}, inputs[None])
        assert torch.equal(logits[0, 0, n:, 1:].argmax(dim=-1) + 1, string[n:])


def test_strings_are_described_as_they_are():
    tokens = strings("aab", "abbc", "abbbb", "a" * 41)
    entropy = torch.full(tokens.shape, 0.25)
    entropy[0, 0, 4:] = 9.0  # after the END of the first string
    described = describe_strings(tokens, entropy)[0].tolist()
    assert len(described) == 51
    after_a, after_b, after_begin = described[0:6], described[6:12], described[24:30]
    assert after_a == pytest.approx([41 / 44, 3 / 44, 0, 0, 0, 0])
    assert after_b == pytest.approx([0, 4 / 7, 1 / 7, 0, 0, 2 / 7])
    assert after_begin == [1, 0, 0, 0, 0, 0]
    lengths, counts_of_a = [3, 4, 5, 41], [2, 1, 1, 41]
    assert described[30:32] == pytest.approx([np.mean(lengths), np.mean(counts_of_a)])
    assert described[38:40] == pytest.approx([np.std(lengths), np.std(counts_of_a)])
    assert described[46:49] == [-8, -8, -1]  # where all differ it is the least, and -41 counts as -8
    assert described[49:] == pytest.approx([0.25, 0.75])


def test_the_mode_of_differences_is_the_offset():
    described = describe_strings(
        strings(LANGUAGE.word(3), "ab", *(LANGUAGE.word(n) for n in (2, 4))), torch.zeros(1, 4, 41)
    )
    assert described[0, 46:49].tolist() == [1, -1, 2]


def test_written_strings_follow_the_probabilities():
    weights = {name: torch.zeros_like(tensor) for name, tensor in fresh_weights(LANGUAGES.spec, 2).items()}
    shares = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125], dtype=torch.float64)
    weights["head.bias"][1] = shares.log()
    uniforms = torch.rand(64, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, entropy = write_strings(weights, uniforms)
    assert torch.equal(tokens[0], (uniforms * 6).long())
    assert torch.equal(tokens[1], (uniforms[..., None] >= shares.cumsum(0)).sum(-1))
    assert entropy[0].max().item() == pytest.approx(np.log(6))
    assert entropy[1].max().item() == pytest.approx(-(shares * shares.log()).sum().item())


def test_images_are_turned_as_the_zoo_turns_them():
    turned = turn_images(REFERENCE.items[:2])
    assert turned.shape == (len(ANGLES), 2, 784)
    assert torch.equal(turned[0], REFERENCE.items[:2])
    expected = np.asarray(Image.fromarray(DIGITS.pixels[1]).rotate(ANGLES[5]))
    assert np.array_equal(turned[5, 1].numpy(), tiles(expected))


def test_labels_come_in_turn():
    labels = torch.tensor([3, 3, 0, 1, 0, 3], dtype=torch.uint8)
    assert labels[labels_in_turn(labels)].tolist() == [0, 1, 3, 0, 3, 3]


def test_the_angle_at_which_an_rnn_is_right_is_found():
    labels = torch.arange(10)
    log_probabilities = torch.full((1, len(ANGLES), 10, 10), 0.1).log()
    log_probabilities[0, 7] = torch.full((10, 10), 0.01).fill_diagonal_(0.91).log()
    described = describe_answers(log_probabilities, labels)[0]
    assert described[:24].argmin() == 7
    assert described[7].item() == pytest.approx(-np.log(0.91))
    assert described[24 + 7].item() == pytest.approx(0.91)
    assert described[48:58].sum().item() == pytest.approx(1)
    assert np.degrees(np.arctan2(*described[-2:].tolist())) % 360 == pytest.approx(ANGLES[7], abs=2)


def test_on_the_checkpoints_of_a_zoo(language_zoo, digits_zoo):
    languages, digits = LoadedZoo(language_zoo), LoadedZoo(digits_zoo)
    for encoder_class in (WeightNorm, InvariantStatistics, BehaviourStatistics, GreedyDecode):
        embedded = embed(encoder_class(languages.population), languages.weights(slice(0, 9)))
        assert embedded.isfinite().all()
        assert embedded.dtype == torch.float32
        assert len(embedded.unique(dim=0)) > 1 or encoder_class is GreedyDecode
    behaviour = BehaviourStatistics(digits.population)
    assert behaviour.uses_data
    assert not BehaviourStatistics(languages.population).uses_data
    assert embed(behaviour, digits.weights(slice(0, 2))).shape == (2, 60)
    with pytest.raises(RnnzooError, match="greedy_decode: the family 'sequential_images' has no rule"):
        GreedyDecode(digits.population)


def test_rnns_of_another_task_are_refused():
    with pytest.raises(RnnzooError, match="no labelled images"):
        BehaviourStatistics(IMAGES)
    with pytest.raises(RnnzooError, match=r"shape \[3, 64\], expected \[I, 784\]"):
        BehaviourStatistics(
            replace(IMAGES, reference=LabelledItems(torch.zeros(3, 64), torch.zeros(3, dtype=torch.uint8)))
        )
    other = Population(RNNSpec(7, 8, 7, 2), TokenEncoding(7, 0), 9)
    for encoder_class in (BehaviourStatistics, GreedyDecode):
        with pytest.raises(RnnzooError, match="found RNNs of no known family of tasks"):
            encoder_class(other)
    with pytest.raises(RnnzooError, match=r"vocabulary=7, begin=0\), expected those of formal_languages"):
        replace(other, family=FormalLanguages)
    assert InvariantStatistics(other)(fresh_weights(other.spec, 2)).isfinite().all()

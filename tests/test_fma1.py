"""The fused CPU kernel against `fma1`, bit for bit; and `fma1` against torch, and its fma against fractions."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import fma1
import numpy as np
import pytest
import torch
from compilers import needs_compiler
from fma1.cells import CELLS
from torch import Tensor

from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.combination_locks.encoding import AnsweredTokens
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.training.kernels.base import TrainState
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel

MODELS = 2
STATE = ("weights", "first_moment", "second_moment")


@dataclass(frozen=True)
class Case:
    """A shape of RNN and what it reads in T steps; with views, each model reads other bytes, some of them as 0.

    Answered: of T tokens and T answers, where otherwise the next token is the answer.
    """

    spec: RNNSpec
    steps: int
    views: bool = False
    answered: bool = False

    @property
    def tokens(self) -> bool:
        return self.spec.input_size == self.spec.output_size

    def data(self) -> Data:
        """Items that begin alike; some are equal, with other labels, or differ in the last byte alone."""
        generator = torch.Generator().manual_seed(5)
        tile, outputs = self.spec.input_size, self.spec.output_size
        width = 2 * self.steps if self.answered else self.steps + 1 if self.tokens else (self.steps - 1) * tile
        values = torch.tensor([0, 1, outputs - 1] if self.tokens else [0, 0, 0, 255, 97])
        items = values[torch.randint(0, len(values), (20, width), generator=generator)]
        items[:, : width // 2 if tile > 1 else 1] *= torch.arange(20)[:, None] % 4 > 1
        last = items.clone()
        last[:, -1] = (last[:, -1] + 1) % outputs
        items = torch.cat([items, last[:5], items[:10]]).to(torch.uint8)
        labels = torch.randint(0, outputs, (len(items),), generator=generator, dtype=torch.uint8)
        views = torch.stack([torch.randperm(width, generator=generator) for _ in range(MODELS)]).to(torch.int16)
        views[:, 2::7] = -1
        of_tokens = AnsweredTokens(tile) if self.answered else TokenEncoding(tile, begin=0)
        encoding = of_tokens if self.tokens else TileEncoding(tile, 0.0127, -0.4242)
        return Data(encoding, items, None if self.tokens else labels, views if self.views else None)

    def ids(self, steps: int, sequences: int) -> Tensor:
        """Item numbers of batches, int32 [N, S, B]."""
        generator = torch.Generator().manual_seed(sequences)
        return torch.randint(0, 35, (MODELS, steps, sequences), generator=generator, dtype=torch.int32)

    def state(self) -> TrainState:
        return TrainState.initial(self.spec, list(range(3, 3 + MODELS)))


def named(*cases: Case) -> dict[str, Case]:
    return {
        f"{case.spec.cell}-{'tokens' if case.tokens else 'tiles'}{case.spec.input_size}"
        f"-{case.spec.num_layers}x{case.spec.hidden_size}"
        f"{'-views' * case.views}{'-answered' * case.answered}": case
        for case in cases
    }


CASES = named(
    Case(RNNSpec(6, 32, 6, 2, "lstm"), steps=9),
    Case(RNNSpec(5, 13, 5, 1, "lstm"), steps=6, views=True),
    Case(RNNSpec(7, 9, 10, 3, "lstm"), steps=5, views=True),
    Case(RNNSpec(3, 1, 3, 1, "gru"), steps=5, views=True),
    Case(RNNSpec(3, 1, 3, 1, "gru"), steps=4, answered=True),
    Case(RNNSpec(7, 17, 10, 2, "gru"), steps=5),
    Case(RNNSpec(9, 7, 9, 3, "tanh"), steps=8),
    Case(RNNSpec(1, 5, 2, 1, "tanh"), steps=2),
)
MORE_CASES = named(
    Case(RNNSpec(6, 20, 6, 2, "gru"), steps=7),
    Case(RNNSpec(4, 24, 10, 2, "tanh"), steps=5, views=True),
    *(
        Case(RNNSpec(inputs, hidden, outputs, layers, cell), steps=5, views=layers == 2)
        for cell in CELLS
        for inputs, outputs in ((6, 6), (16, 10))
        for layers, hidden in ((1, 3), (1, 64), (2, 8), (2, 33), (3, 16))
    ),
)
over_cases = pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=name) for name, case in CASES.items()),
        *(pytest.param(case, id=name, marks=pytest.mark.slow) for name, case in MORE_CASES.items()),
    ],
)
of_each_cell = pytest.mark.parametrize(
    "case", [CASES["lstm-tokens5-1x13-views"], CASES["gru-tiles7-2x17"], CASES["tanh-tokens9-3x7"]]
)


def assert_same_bits(what: str, found: Tensor, expected: Tensor) -> None:
    """Raises AssertionError unless two float32 tensors are the same, bit for bit."""
    differ = found.view(torch.int32) != expected.view(torch.int32)
    if differ.any():
        place = tuple(differ.nonzero()[0].tolist())
        raise AssertionError(
            f"{what}: {int(differ.sum())} of {differ.numel()} differ, first at {place}: "
            f"found {float(found[place]).hex()}, expected {float(expected[place]).hex()}"
        )


def assert_same_training(case: Case, state: TrainState, ids: Tensor, rates: Tensor, decays: Tensor) -> None:
    expected = TrainState(state.spec, *(getattr(state, name).clone() for name in STATE), state.step)
    data = case.data()
    losses = FusedCpuKernel(threads=1).train_steps(state, data, ids, rates, decays)
    assert_same_bits("losses", losses, fma1.Fma1Kernel().train_steps(expected, data, ids, rates, decays))
    assert state.step == expected.step
    for name in reversed(STATE):
        for parameter in state.spec.parameters:
            columns = slice(parameter.offset, parameter.offset + parameter.size)
            both = (getattr(of, name)[:, columns] for of in (state, expected))
            assert_same_bits(f"{name} of {parameter.name}", *both)


@needs_compiler
class TestFusedKernel:
    @over_cases
    @pytest.mark.parametrize(("steps", "sequences"), [(1, 1), (1, 5), (3, 33)])
    def test_training(self, case: Case, steps: int, sequences: int) -> None:
        rates = 0.02 / torch.arange(3, 3 + MODELS * steps).view(MODELS, steps)
        decays = torch.tensor([0.1, 7.3])
        assert_same_training(case, case.state(), case.ids(steps, sequences), rates, decays)

    @of_each_cell
    def test_training_goes_on_from_a_late_step(self, case: Case) -> None:
        state = case.state()
        state.step = 9_998
        state.second_moment += 1e-9
        assert_same_training(
            case, state, case.ids(2, 8), torch.full((MODELS, 2), 3e-3), torch.full((MODELS,), 0.01)
        )

    @of_each_cell
    @pytest.mark.parametrize("sequences", [16, 17])
    def test_groups_of_rows(self, case: Case, sequences: int) -> None:
        """Distinct items, as many as a group holds, and one more."""
        ids = torch.arange(sequences, dtype=torch.int32).expand(MODELS, 1, -1).contiguous()
        assert_same_training(case, case.state(), ids, torch.full((MODELS, 1), 3e-3), torch.zeros(MODELS))

    @of_each_cell
    @pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, 3e38, 1e30, 100.0, 1e-40, 0.0, -0.0])
    def test_odd_weights(self, case: Case, value: float) -> None:
        """Of model 0 all, of model 1 the last recurrent bias."""
        state = case.state()
        state.weights[0] = value
        state.weights[1, state.spec.parameters[-3].offset] = value
        weights, ids = state.weights.clone(), case.ids(2, 20)
        assert_same_training(case, state, ids, torch.full((MODELS, 2), 3e-3), torch.full((MODELS,), 0.01))
        self.assert_same_scores(case, weights)
        if case.tokens:
            self.assert_same_samples(case, weights)

    @of_each_cell
    def test_a_logit_that_overflows(self, case: Case) -> None:
        """One logit alone: upwards in model 0, downwards in model 1."""
        state = case.state()
        weights, bias = state.spec.parameters[-2:]
        for n, value in enumerate((3e38, -3e38)):
            state.weights[n, bias.offset] = value
            state.weights[n, weights.offset : weights.offset + state.spec.hidden_size] = value
        kept, ids = state.weights.clone(), case.ids(2, 20)
        assert_same_training(case, state, ids, torch.full((MODELS, 2), 3e-3), torch.full((MODELS,), 0.01))
        self.assert_same_scores(case, kept)
        if case.tokens:
            self.assert_same_samples(case, kept)

    @of_each_cell
    def test_a_run_that_diverges(self, case: Case) -> None:
        rates = torch.tensor([[1e30] * 4, [50.0] * 4])
        assert_same_training(case, case.state(), case.ids(4, 8), rates, torch.full((MODELS,), 0.01))

    @over_cases
    def test_scores(self, case: Case) -> None:
        self.assert_same_scores(case, 3 * case.state().weights)

    @pytest.mark.parametrize("case", [case for case in CASES.values() if case.tokens])
    def test_samples(self, case: Case) -> None:
        self.assert_same_samples(case, 4 * case.state().weights)

    def assert_same_scores(self, case: Case, weights: Tensor) -> None:
        ids = case.ids(1, 40)[:, 0].contiguous()
        losses, correct = FusedCpuKernel(threads=1).score_items(case.spec, weights, case.data(), ids)
        expected_losses, expected = fma1.Fma1Kernel().score_items(case.spec, weights, case.data(), ids)
        assert_same_bits("losses", losses, expected_losses)
        assert torch.equal(correct, expected)
        of_steps = FusedCpuKernel(threads=1).step_losses(case.spec, weights, case.data(), ids)
        assert of_steps.dtype == torch.float64
        expected_of_steps = fma1.Fma1Kernel().step_losses(case.spec, weights, case.data(), ids)
        assert torch.equal(of_steps.nan_to_num(-1), expected_of_steps.nan_to_num(-1))

    def assert_same_samples(self, case: Case, weights: Tensor) -> None:
        uniforms = torch.rand(MODELS, 20, 12, generator=torch.Generator().manual_seed(3))
        uniforms[:, 0] = 1 - 2.0**-24
        written = FusedCpuKernel(threads=1).sample_strings(case.spec, weights, 1, uniforms)
        assert torch.equal(written, fma1.Fma1Kernel().sample_strings(case.spec, weights, 1, uniforms))


class TestReference:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_agrees_with_torch(self, case: Case) -> None:
        """To the rounding of float32."""
        ids, data = case.ids(2, 20), case.data()
        rates, decays = torch.full((MODELS, 2), 3e-3), torch.tensor([0.0, 0.3])
        states = {kernel: case.state() for kernel in (fma1.Fma1Kernel(), TorchKernel())}
        losses, expected = (kernel.train_steps(of, data, ids, rates, decays) for kernel, of in states.items())
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
        mine, torchs = states.values()
        torch.testing.assert_close(mine.first_moment, torchs.first_moment, rtol=0, atol=1e-7)
        torch.testing.assert_close(mine.weights, torchs.weights, rtol=0, atol=2e-5)

        weights = 3 * case.state().weights
        scores = [kernel.score_items(case.spec, weights, data, ids[:, 0].contiguous()) for kernel in states]
        torch.testing.assert_close(scores[0][0], scores[1][0], rtol=2e-6, atol=0)
        assert torch.equal(scores[0][1], scores[1][1])

    def test_functions(self) -> None:
        """Within one part in a million of what their names say."""
        x = np.linspace(-40, 40, 4001, dtype=np.float32)
        exact = x.astype(np.float64)
        one, other = fma1.sigmoids(x, -x)
        np.testing.assert_allclose(one, 1 / (1 + np.exp(-exact)), rtol=1e-6)
        np.testing.assert_allclose(other, 1 / (1 + np.exp(exact)), rtol=1e-6)
        np.testing.assert_allclose(fma1.tanh(x), np.tanh(exact), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(fma1.exp(-abs(x)), np.exp(-abs(exact)), rtol=1e-6)
        above = np.linspace(1, 300, 4001, dtype=np.float32)
        np.testing.assert_allclose(fma1.log(above), np.log(above.astype(np.float64)), rtol=1e-6, atol=1e-6)


def rounded(value: Fraction) -> np.float32:
    """A fraction as float32, rounded to nearest even; 0 is +0."""
    if value == 0:
        return np.float32(0)
    exponent = math.frexp(abs(value.numerator) / value.denominator)[1] if value else 0
    while abs(value) >= Fraction(2) ** exponent:
        exponent += 1
    while abs(value) < Fraction(2) ** (exponent - 1):
        exponent -= 1
    unit = Fraction(2) ** max(exponent - 24, -149)
    result = round(value / unit) * unit
    if abs(result) >= Fraction(2) ** 128:
        return np.float32(math.copysign(math.inf, value))
    return np.float32(float(result))


def triples(count: int) -> np.ndarray:
    """Floats [3, 5 * count] whose fma rounds in every way: near ties, subnormal, cancelling, overflowing."""
    generator = np.random.default_rng(4)
    few_bits = np.ldexp(generator.integers(-9, 9, (3, count)), generator.integers(-40, 40, (3, count)))
    close = np.ldexp(generator.integers(-(2**24), 2**24, (3, count)), generator.integers(-6, 7, (3, count)))
    close[2] *= 2.0**24
    tiny = np.ldexp(generator.integers(-(2**24), 2**24, (3, count)), generator.integers(-90, -80, (3, count)))
    tiny[2] *= 2.0**-60
    huge = np.ldexp(generator.integers(-(2**24), 2**24, (3, count)), generator.integers(38, 42, (3, count)))
    huge[2] *= 2.0**62
    # c is whole, a b half a unit but for its last bit, which a double has no place for: rounded twice it is a tie.
    unit, sign = 2.0 ** generator.choice([-149, 0, 3], count), generator.choice([-1, 1], count)
    half = np.stack(
        [sign * (1 + 2.0**-23), (1 - 2.0**-23) * unit / 2, generator.integers(2**20, 2**24, count) * unit]
    )
    half[1] = np.where(unit < 1e-40, 2.0**-50 * (1 - 2.0**-23), half[1])
    half[0] = np.where(unit < 1e-40, sign * 2.0**-100 * (1 + 2.0**-23), half[0])
    with np.errstate(over="ignore"):
        return np.concatenate([few_bits, close, tiny, huge, half], axis=1).astype(np.float32)


class TestFma:
    def test_finite_numbers(self) -> None:
        values = triples(2_000)
        finite = values[:, np.isfinite(values).all(axis=0)]
        with np.errstate(over="ignore"):
            found = fma1.fma(*finite)
        exact = [Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)) for a, b, c in finite.T]
        expected = np.array([rounded(value) for value in exact])
        assert np.array_equal(found, expected)  # the sign of 0 is left to the next test
        subnormal = (expected != 0) & (abs(expected) < 2.0**-126)
        assert subnormal.sum() > 100
        assert np.isinf(expected).sum() > 50
        with np.errstate(over="ignore"):
            rounded_twice = (finite[0].astype(np.float64) * finite[1] + finite[2]).astype(np.float32)
        assert (rounded_twice != expected).sum() > 500

    def test_special_numbers(self) -> None:
        specials = [0.0, -0.0, 1.0, -2.0, 2.0**-149, -(2.0**-149), math.inf, -math.inf, math.nan, 3e38]
        for a, b, c in itertools.product(specials, repeat=3):
            with np.errstate(all="ignore"):
                found, exact = (
                    float(fma1.fma(a, b, c)),
                    np.float64(np.float32(a)) * np.float64(np.float32(b)) + np.float32(c),
                )
            if exact == 0 or not np.isfinite(exact):
                assert str(found) == str(float(exact)), (a, b, c)
            else:
                product = Fraction(float(np.float32(a))) * Fraction(float(np.float32(b)))
                assert found == rounded(product + Fraction(float(np.float32(c)))), (a, b, c)

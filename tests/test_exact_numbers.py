"""Beside the kernel, no stored number depends on the last bit of a library's functions, or on an order of sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from hashlib import sha256
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, init_parameters
from rnnzoo.zoo_builder.rollouts import EvaluatedRuns, evaluate, rollout_items
from rnnzoo.zoo_builder.storage.digest import one_nan
from rnnzoo.zoo_builder.storage.schema import metadata_schema, stored_numbers
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family
from rnnzoo.zoo_builder.tasks.exact import estimate, exact_exp, exact_mean, share_error
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import bundled_digits, enlarged
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import BITS, cosine_and_sine
from rnnzoo.zoo_builder.training.loop import Schedule
from rnnzoo.zoo_builder.zoos import ZooConfig, resolve_config

DIGITS = bundled_digits()
FUNCTIONS = ("sin", "cos", "tan", "exp", "log", "log2", "log10", "log1p")
REDUCTIONS = ("mean", "sum", "std", "dot")
SHAKEN: dict[Any, tuple[str, ...]] = {
    math: (*FUNCTIONS, "radians", "pow"),
    np: (*FUNCTIONS, *REDUCTIONS, "radians", "power", "interp", "average", "linspace", "round"),
    torch: (*FUNCTIONS, *REDUCTIONS, "lerp"),
    torch.Tensor: (*FUNCTIONS, *REDUCTIONS, "lerp", "addcmul", "mul_", "sub_"),
}
ZOOS_WITHOUT_DOWNLOADS = [
    name for family in FAMILIES for name in find_family(family).zoos if not name.startswith("sequential_mnist")
]
"""Of the product alone: other packages may promise less."""


def nudged(value: Any, up: bool) -> Any:
    """Floats up or down: float32 by one bit, doubles by 1e-9 of them, which shows after rounding to float32."""
    if isinstance(value, torch.Tensor):
        return torch.from_numpy(nudged(value.numpy(), up)) if value.is_floating_point() else value
    array = np.asarray(value)
    if array.dtype == np.float32:
        moved = np.nextafter(array, np.float32(math.inf if up else -math.inf))
    elif array.dtype == np.float64:
        moved = array * (1 + 1e-9 if up else 1 - 1e-9)
    else:
        return value
    return moved if isinstance(value, np.ndarray) else type(value)(moved)


def shaken(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """A function whose results are a little off: "up", "down", or either, by its arguments."""

    def called(*arguments: Any, **options: Any) -> Any:
        up = mode == "up" if mode != "mixed" else crc32(repr(arguments).encode()) % 2 == 0
        return nudged(function(*arguments, **options), up)

    return called


@contextmanager
def other_machine(mode: str) -> Iterator[None]:
    """Where sines, logarithms and their like are a little off, and so are sums, and what may be joined."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, names in SHAKEN.items():
            for name in names:
                patch.setattr(owner, name, shaken(getattr(owner, name), mode))
        for name in ("rotate", "resize"):
            patch.setattr(Image.Image, name, lambda *_, **__: pytest.fail("Pillow turns or scales an image"))
        yield


SINE, MEAN = math.sin(1.0), np.mean([0.1, 0.3])
SMALL = {
    "runs": 40,
    "evaluation_items": 57,
    "sampled_strings": 101,
    "rollouts": 20,
    "learning_rate_scales": (0.3, 1.0, 1.7),
}


class StoredLosses:
    """A kernel whose losses and answers are numbers that were drawn: what is made of them is what is tested."""

    name = "stored"

    def score_items(self, spec: Any, weights: Any, data: Any, item_ids: torch.Tensor) -> tuple[Any, Any]:
        generator = np.random.default_rng(item_ids.shape[1])
        losses = generator.lognormal(0, 8, item_ids.shape).astype(np.float32)
        losses[0, 0], losses[-1, 0] = math.nan, math.inf
        return torch.from_numpy(losses), torch.from_numpy(generator.random(item_ids.shape) < 0.3)

    def step_losses(self, spec: Any, weights: Any, data: Any, item_ids: torch.Tensor) -> Any:
        losses = np.random.default_rng(2).lognormal(-3, 2, (*item_ids.shape, data.steps))
        losses[0, 0, 5] = math.nan
        return torch.from_numpy(losses)

    def sample_strings(self, spec: Any, weights: Any, begin: int, uniforms: torch.Tensor) -> torch.Tensor:
        models, strings, steps = uniforms.shape
        items = np.random.default_rng(1).integers(0, 6, (models, strings, steps + 1), dtype=np.uint8)
        items[:, ::3] = FormalLanguages().items[8]
        return torch.from_numpy(items)


def everything(config: ZooConfig) -> dict[str, Any]:
    """All that a build has beside what kernels compute."""
    family = config.make_family()
    plan = ZooPlan(config, family)
    runs = list(plan.runs)
    weights = torch.zeros(len(runs), 1)
    evaluation = evaluate(StoredLosses(), config.spec, EvaluatedRuns(family, runs, config.evaluation), weights, 0)
    found: dict[str, Any] = {
        "runs": runs,
        "columns": [run.task.columns() for run in runs],
        "splits": plan.splits,
        "ranks": sorted({run.task for run in runs}, key=family.paper_rank),
        "shards": [(shard.name, [run.run_id for run in shard.runs]) for shard in plan.shards],
        "items": family.items.tobytes(),
        "views": [None if (view := family.view(run.task)) is None else view.tobytes() for run in runs],
        "initialisation": init_parameters(config.spec, [run.seed for run in runs]).numpy().tobytes(),
        "rates": config.schedule.rates(0, config.steps).numpy().tobytes(),
        "scores": {name: values.tobytes() for name, values in evaluation.columns.items()},
        "encoding": family.encoding.to_dict(),
    }
    if not family.generates:
        found["rollouts"] = [
            (name, part.numpy().tobytes()) for name, part in rollout_items(family, runs, config.evaluation).items()
        ]
    return found


@pytest.mark.parametrize("zoo", ZOOS_WITHOUT_DOWNLOADS)
@pytest.mark.parametrize("mode", ["up", "down", "mixed"])
def test_a_zoo_is_the_same_where_libraries_round_otherwise(zoo: str, mode: str) -> None:
    config = resolve_config(zoo, "smoke", SMALL)
    expected = everything(config)
    with other_machine(mode):
        assert math.sin(1.0) != SINE or np.mean([0.1, 0.3]) != MEAN
        found = everything(config)
    for name in expected:
        assert found[name] == expected[name], name


def test_every_nan_is_stored_alike() -> None:
    config = resolve_config("sequential_digits", "smoke", SMALL)
    family = config.make_family()
    runs = list(ZooPlan(config, family).runs)
    evaluated = EvaluatedRuns(family, runs, config.evaluation)
    scores = evaluate(StoredLosses(), config.spec, evaluated, torch.zeros(len(runs), 1), 0)
    columns = metadata_schema(family.columns("digits"))
    for name in ("eval_loss", "train_loss", "rollout_loss", "generalization_gap", "generalization_gap_error"):
        values = one_nan(stored_numbers(columns.field(name), scores.columns[name]))
        assert values.view(np.uint32)[np.isnan(values)].tolist() == [0x7FC00000] * np.isnan(values).sum()
        assert np.isnan(values[0])
    assert scores.columns["eval_loss"][-1] == math.inf


class TestMeans:
    @given(st.lists(st.floats(width=32), min_size=1), st.randoms())
    def test_order_does_not_matter(self, values: list[float], random: Any) -> None:
        shuffled = random.sample(values, len(values))
        assert repr(exact_mean(values)) == repr(exact_mean(np.array(shuffled, np.float32)))

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
    @example([-3.624497087992098e-30])
    def test_finite_numbers(self, values: list[float]) -> None:
        assert exact_mean(values) == float(sum(map(Fraction, values))) / len(values)

    @given(
        st.lists(st.floats(2**-30, 90, width=32), min_size=1, max_size=200), st.sampled_from([-1.0, 1.0, 2.0**-20])
    )
    def test_numbers_like_losses(self, values: list[float], factor: float) -> None:
        """Which are added as whole numbers, but for those that a factor makes too small."""
        scaled = [factor * value for value in values]
        assert exact_mean(scaled) == float(sum(map(Fraction, scaled))) / len(scaled)

    def test_other_numbers(self) -> None:
        assert exact_mean([True, False, True, True]) == 0.75
        assert exact_mean([1.0, math.inf]) == math.inf
        assert math.isnan(exact_mean([math.inf, -math.inf]))
        assert math.isnan(exact_mean([math.inf, math.nan]))
        assert math.isnan(exact_mean([]))


class TestErrors:
    @given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50), st.randoms())
    def test_of_a_mean(self, values: list[float], random: Any) -> None:
        found = estimate(values, math.inf)
        assert repr(found) == repr(estimate(random.sample(values, len(values)), math.inf))
        assert found.error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-9)
        assert estimate(values, len(values)).error == 0
        assert estimate(values, 2 * len(values)).error == pytest.approx(found.error / math.sqrt(2))

    def test_draws_without_replacement_spread_as_it_says(self) -> None:
        population = np.random.default_rng(0).lognormal(size=60)
        draws = [np.random.default_rng(seed).permutation(population)[:40] for seed in range(2000)]
        spread = np.std([draw.mean() for draw in draws])
        errors = [estimate(draw, len(population)).error for draw in draws]
        assert spread == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=0.05)

    @given(st.lists(st.booleans(), min_size=2, max_size=50), st.sampled_from([50, 200, math.inf]))
    def test_of_a_share(self, values: list[bool], population: float) -> None:
        expected = estimate(values, population).error
        assert share_error(exact_mean(values), len(values), population) == pytest.approx(expected, abs=1e-12)

    def test_of_values_that_say_nothing(self) -> None:
        assert math.isnan(estimate([1.0], 2).error)
        assert math.isnan(share_error(1.0, 1, math.inf))
        assert math.isnan(estimate([1.0, math.nan], 2).error)


class TestExp:
    @given(st.floats(-800, 0))
    def test_to_the_last_digit(self, x: float) -> None:
        assert exact_exp(x) == pytest.approx(math.exp(x), rel=3e-16, abs=1e-323)

    def test_of_what_is_no_number(self) -> None:
        assert [exact_exp(x) for x in (math.nan, -math.inf, -1e9, 0.0)] == [0, 0, 0, 1]


class TestImages:
    @given(st.floats(-1000, 1000))
    def test_cosine_and_sine(self, degrees: float) -> None:
        cosine, sine = (Fraction(value, 1 << BITS) for value in cosine_and_sine(degrees))
        assert abs(cosine**2 + sine**2 - 1) < Fraction(1, 2**100)
        assert float(cosine) == pytest.approx(math.cos(math.radians(degrees)), abs=1e-12)
        assert float(sine) == pytest.approx(math.sin(math.radians(degrees)), abs=1e-12)

    def test_cosine_and_sine_of_rational_values(self) -> None:
        for degrees, twice in ((0, 2), (60, 1), (90, 0), (120, -1), (180, -2)):
            for sign in (1, -1):
                assert abs(2 * cosine_and_sine(sign * degrees)[0] - (twice << BITS)) < 2**28
                assert abs(2 * cosine_and_sine(90 - sign * degrees)[1] - (twice << BITS)) < 2**28

    @pytest.mark.parametrize("side", [1, 5, 8, 14, 27, 28])
    def test_enlarged_as_by_pillow(self, side: int) -> None:
        images = np.random.default_rng(side).integers(0, 256, (20, side, side))
        images[0], images[1] = 0, 255
        by_pillow = [
            Image.fromarray(image.astype(np.uint8)).resize((28, 28), Image.Resampling.BILINEAR) for image in images
        ]
        assert np.array_equal(enlarged(images), np.stack([np.asarray(image) for image in by_pillow]))


class TestSettings:
    @given(
        st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), max_size=5, unique_by=lambda knot: knot[0]),
        st.integers(1, 3000),
    )
    def test_rates_are_interpolated(self, inner: list[tuple[float, float]], steps: int) -> None:
        knots = sorted({0.0: 1.0, 1.0: 0.5, **dict(inner)}.items())
        fractions, values = np.array(knots).T
        expected = np.interp(np.arange(steps), fractions * steps, values)
        rates = Schedule(steps, 1, (steps,), tuple(knots)).rates(0, steps).numpy()
        np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize("hidden", [1, 7, 32])
    def test_initialisation_is_in_its_bounds(self, cell: str, hidden: int) -> None:
        weights = init_parameters(RNNSpec(5, hidden, 5, 2, cell), range(20)).numpy()
        bound = np.float32(1 / math.sqrt(hidden))
        assert weights.min() >= -bound
        assert weights.max() < bound
        assert weights.max() - weights.min() > 1.9 * bound


PINNED = {
    "digits": "c129e4facaee26c3",
    "angles": "dfde49d3ff7066cf",
    "views": "62fbac268836afb7",
    "initialisation": "2133ba8e359da665",
    "rates": "b1c9872b4a7a11d4",
    "runs": "82ea0fc1dd9f8181",
    "splits": "80bb52d31b00bbcc",
}


def test_pinned() -> None:
    """What zoos of today are made from, as hashes."""
    languages, digits = (resolve_config(zoo, "smoke") for zoo in ("formal_languages", "sequential_digits"))
    family = SequentialImages(DIGITS)
    plans = [ZooPlan(languages, FormalLanguages()), ZooPlan(digits, family)]
    angles = family.tasks(200, 1)
    found = {
        "digits": family.items.tobytes() + DIGITS.labels.tobytes(),
        "angles": " ".join(task.task_id for task in angles).encode(),
        "views": b"".join(family.view(task).astype("<i2").tobytes() for task in angles),
        "initialisation": init_parameters(languages.spec, range(5)).numpy().astype("<f4").tobytes(),
        "rates": languages.schedule.rates(0, 1000).numpy().astype("<f4").tobytes(),
        "runs": repr([list(plan.runs) for plan in plans]).encode(),
        "splits": repr([(plan.splits.split, plan.splits.paper_split) for plan in plans]).encode(),
    }
    assert {name: sha256(content).hexdigest()[:16] for name, content in found.items()} == PINNED

"""The fused CPU kernel of every cell against `rnn_forward`, autograd and `torch.optim.AdamW`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from compilers import needs_compiler
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot, softmax

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.tasks.combination_locks.encoding import AnsweredTokens
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import Encoding, TileEncoding, TokenEncoding
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.training.kernels.base import BETA1, TrainState
from rnnzoo.zoo_builder.training.kernels.fused_cpu import FusedCpuKernel

ITEMS = 50


@dataclass(frozen=True)
class Case:
    """A kind of RNN, the kind of data it sees, and T. Alike: many items begin, or are, the same.

    Answered: of T tokens and T answers, where otherwise the next token is the answer.
    """

    spec: RNNSpec
    steps: int
    views: bool = False
    alike: bool = False
    answered: bool = False

    @property
    def tokens(self) -> bool:
        return self.spec.input_size == self.spec.output_size

    def data(self, models: int) -> Data:
        """Random items; with views, each model reads 3 bytes fewer, in its own order, some of them as 0."""
        generator = torch.Generator().manual_seed(5)
        tile = self.spec.input_size
        width = 2 * self.steps if self.answered else self.steps + 1 if self.tokens else (self.steps - 1) * tile
        item_bytes = width + 3 if self.views else width
        values = 2 if self.alike else self.spec.output_size if self.tokens else 256
        items = torch.randint(0, values, (ITEMS, item_bytes), generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, self.spec.output_size, (ITEMS,), generator=generator, dtype=torch.uint8)
        orders = [torch.randperm(item_bytes, generator=generator)[:width] for _ in range(models)]
        views = torch.stack(orders).to(torch.int16)
        views[:, ::7] = -1
        of_tokens = AnsweredTokens(tile) if self.answered else TokenEncoding(tile, begin=0)
        encoding = of_tokens if self.tokens else TileEncoding(tile, 1 / 128, -1.0)
        return Data(encoding, items, None if self.tokens else labels, views if self.views else None)


def cases_of(cell: str, odd_width: int) -> dict[str, Case]:
    """Of one cell: one, two and three layers, of whole vectors and not."""
    cases = {
        "languages": Case(RNNSpec(6, 32, 6, 2, cell), steps=11),
        "odd": Case(RNNSpec(3, odd_width, 3, 1, cell), steps=4, views=True, alike=True),
        "images": Case(RNNSpec(7, 33, 10, 3, cell), steps=6, views=True),
        "plain-images": Case(RNNSpec(2, 33, 10, 3, cell), steps=5, alike=True),
        "answered": Case(RNNSpec(3, odd_width, 3, 1, cell), steps=4, alike=True, answered=True),
    }
    return {f"{cell}-{name}": case for name, case in cases.items()}


ODD_WIDTHS = {"lstm": 20, "gru": 4, "tanh": 64}
CASES = {key: case for cell in CELLS for key, case in cases_of(cell, ODD_WIDTHS.get(cell, 12)).items()}
LANGUAGES, IMAGES = CASES["lstm-languages"], CASES["lstm-images"]
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """The references are many small operations: sharing each out among busy cores is up to 50 times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw_items(models: int, steps: int, sequences: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, ITEMS, (models, steps, sequences), generator=generator, dtype=torch.int32)


def train(
    case: Case, ids: Tensor, kernel: FusedCpuKernel, rate: float = 3e-3, decay: float = 0.01
) -> tuple[TrainState, Tensor]:
    """Fresh models trained on `ids` [N, S, B], and their losses."""
    models, steps, _ = ids.shape
    state = TrainState.initial(case.spec, list(range(models)))
    rates = torch.full((models, steps), rate)
    return state, kernel.train_steps(state, case.data(models), ids, rates, torch.full((models,), decay))


def reference_loss(spec: RNNSpec, weights: Tensor, data: Data, ids: Tensor) -> Tensor:
    """Loss of each sequence, [N, B], in the precision of the weights."""
    batch = data.batch(ids)
    logits, _ = rnn_forward(unflatten_weights(spec, weights), batch.inputs.to(weights.dtype))
    return (
        cross_entropy(logits.flatten(0, 2), batch.targets.flatten(), reduction="none")
        .view(batch.targets.shape)
        .mean(-1)
    )


def reference_train(case: Case, ids: Tensor, rates: Tensor, decays: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [N, P] and losses [N, S] of `torch.optim.AdamW` on `rnn_forward`, one optimiser a model."""
    models, steps, _ = ids.shape
    data = case.data(models)
    weights = [w.clone().requires_grad_() for w in TrainState.initial(case.spec, list(range(models))).weights]
    optimisers = [torch.optim.AdamW([w], weight_decay=float(d)) for w, d in zip(weights, decays, strict=True)]
    losses = torch.empty(models, steps)
    for s in range(steps):
        each = reference_loss(case.spec, torch.stack(weights), data, ids[:, s]).mean(-1)
        losses[:, s] = each.detach()
        each.sum().backward()
        for n, optimiser in enumerate(optimisers):
            optimiser.param_groups[0]["lr"] = float(rates[n, s])
            optimiser.step()
            optimiser.zero_grad()
    return torch.stack(weights).detach(), losses


@needs_compiler
class TestTraining:
    @pytest.mark.parametrize("encoding", [TokenEncoding(6, begin=5), AnsweredTokens(6)])
    def test_what_is_read_need_not_be_an_answer(self, encoding: Encoding) -> None:
        """Such as a token that opens every sequence."""
        spec, ids = RNNSpec(6, 20, 5, 1), draw_items(2, 1, 8)
        read, answers = torch.randint(0, 5, (2, ITEMS, 4), dtype=torch.uint8)
        read[:, 0] = 5
        items = torch.cat(
            [read, answers] if isinstance(encoding, AnsweredTokens) else [read[:, :1], answers], dim=1
        )
        data, state = Data(encoding, items), TrainState.initial(spec, [0, 1])
        expected = reference_loss(spec, state.weights, data, ids[:, 0]).mean(-1)
        losses = FusedCpuKernel(threads=1).train_steps(state, data, ids, torch.full((2, 1), 0.01), torch.zeros(2))
        assert torch.allclose(losses[:, 0], expected)
        items[0, -1] = 5
        with pytest.raises(RnnzooError, match="items: found values from 0 to 5, expected 0 to 4"):
            FusedCpuKernel(threads=1).train_steps(state, data, ids, torch.full((2, 1), 0.01), torch.zeros(2))

    @every_case
    @pytest.mark.parametrize("sequences", [1, 5, 32, 33])
    def test_gradients_equal_autograd(self, case: Case, sequences: int) -> None:
        ids = draw_items(2, 1, sequences)
        state, losses = train(case, ids, FusedCpuKernel(threads=1), rate=0.0)
        gradients = state.first_moment / (1 - BETA1)  # the first moment after one step is (1 - beta1) g

        weights = TrainState.initial(case.spec, [0, 1]).weights.double().requires_grad_()
        expected_losses = reference_loss(case.spec, weights, case.data(2), ids[:, 0]).mean(-1)
        (expected,) = torch.autograd.grad(expected_losses.sum(), weights)

        torch.testing.assert_close(losses[:, 0].double(), expected_losses.detach(), rtol=1e-6, atol=0)
        named = unflatten_weights(case.spec, expected)
        for name, found in unflatten_weights(case.spec, gradients.double()).items():
            scale = named[name].abs().max()
            assert (found - named[name]).abs().max() < 1e-5 * scale, name

    @pytest.mark.slow
    @every_cell
    @pytest.mark.parametrize(("width", "layers"), [(1, 1), (4, 3), (24, 2), (33, 1), (64, 2)])
    def test_gradients_of_other_widths_and_depths(self, cell: str, width: int, layers: int) -> None:
        self.test_gradients_equal_autograd(Case(RNNSpec(7, width, 10, layers, cell), steps=6, views=True), 20)

    @every_case
    def test_trajectory_of_200_steps(self, case: Case) -> None:
        """Weights within 5e-5 and losses within 5e-6: ten times what was found, as far as torch's float32 is
        from float64.
        """
        ids = draw_items(3, 200, 8)
        generator = torch.Generator().manual_seed(1)
        rates = 3e-3 * torch.rand(3, 200, generator=generator)
        decays = torch.tensor([0.0, 0.01, 0.3])
        state = TrainState.initial(case.spec, [0, 1, 2])
        losses = FusedCpuKernel(threads=2).train_steps(state, case.data(3), ids, rates, decays)
        weights, expected = reference_train(case, ids, rates, decays)
        assert state.step == 200
        torch.testing.assert_close(losses, expected, rtol=0, atol=5e-6)
        torch.testing.assert_close(state.weights, weights, rtol=0, atol=5e-5)

    @every_case
    def test_a_model_does_not_depend_on_neighbours_or_threads(self, case: Case) -> None:
        ids = draw_items(8, 3, 20)
        together, losses = train(case, ids, FusedCpuKernel(threads=1))
        threaded, threaded_losses = train(case, ids, FusedCpuKernel(threads=2))
        alone = TrainState.initial(case.spec, [5])
        data = case.data(8).of_runs(5, 6)
        alone_losses = FusedCpuKernel().train_steps(
            alone, data, ids[5:6], torch.full((1, 3), 3e-3), torch.tensor([0.01])
        )
        assert torch.equal(alone_losses[0], losses[5])
        assert torch.equal(threaded_losses, losses)
        for name in ("weights", "first_moment", "second_moment"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[5])
            assert torch.equal(getattr(threaded, name), getattr(together, name))

    def test_steps_may_be_taken_in_parts(self) -> None:
        ids = draw_items(2, 100, 8)
        whole, losses = train(LANGUAGES, ids, FusedCpuKernel())
        state, first = train(LANGUAGES, ids[:, :60].contiguous(), FusedCpuKernel())
        second = FusedCpuKernel().train_steps(
            state,
            LANGUAGES.data(2),
            ids[:, 60:].contiguous(),
            torch.full((2, 40), 3e-3),
            torch.full((2,), 0.01),
        )
        assert torch.equal(torch.cat([first, second], dim=1), losses)
        assert torch.equal(state.weights, whole.weights)

    @every_case
    def test_a_diverged_run_returns_a_loss_that_is_not_finite(self, case: Case) -> None:
        ids = draw_items(3, 6, 8)
        calm, calm_losses = train(case, ids, FusedCpuKernel(threads=1))
        state = TrainState.initial(case.spec, [0, 1, 2])
        rates = torch.full((3, 6), 3e-3)
        rates[1] = 1e30
        losses = FusedCpuKernel(threads=1).train_steps(state, case.data(3), ids, rates, torch.full((3,), 0.01))
        assert not losses[1, -1].isfinite()
        for neighbour in (0, 2):
            assert torch.equal(losses[neighbour], calm_losses[neighbour])
            assert torch.equal(state.weights[neighbour], calm.weights[neighbour])

    @every_cell
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_any_weight_that_is_not_finite_shows_in_the_loss(self, cell: str, bad: float) -> None:
        """Model n has one in parameter n."""
        spec = CASES[f"{cell}-languages"].spec
        models = len(spec.parameters)
        state = TrainState.initial(spec, [0] * models)
        for n, parameter in enumerate(spec.parameters):
            state.weights[n, parameter.offset] = bad
        ids, rates = draw_items(models, 1, 8), torch.full((models, 1), 1e-3)
        losses = FusedCpuKernel().train_steps(state, LANGUAGES.data(models), ids, rates, torch.zeros(models))
        assert losses.isnan().all()


@needs_compiler
class TestScoring:
    @every_case
    def test_scores_equal_reference(self, case: Case) -> None:
        ids = draw_items(2, 1, 37)[:, 0].contiguous()
        data, weights = case.data(2), 3 * TrainState.initial(case.spec, [0, 1]).weights
        losses, correct = FusedCpuKernel().score_items(case.spec, weights, data, ids)
        torch.testing.assert_close(losses, reference_loss(case.spec, weights, data, ids), rtol=1e-5, atol=0)
        batch = data.batch(ids)
        logits, _ = rnn_forward(unflatten_weights(case.spec, weights), batch.inputs)
        right = logits.argmax(-1) == batch.targets
        assert torch.equal(correct, right.all(-1) if case.answered else right[..., -1])
        assert not correct.all()
        assert correct.any() or case.answered
        expected = -logits.log_softmax(dim=-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
        for kernel in (FusedCpuKernel(), TorchKernel()):
            of_steps = kernel.step_losses(case.spec, weights, data, ids)
            torch.testing.assert_close(of_steps, expected.double(), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("case", [case for case in CASES.values() if case.answered], ids=lambda c: c.spec.cell)
    def test_items_with_answers_are_right_if_all_of_them_are(self, case: Case) -> None:
        """Of items that hold the model's own answers, but for one in each of some of them."""
        weights, ids = 3 * TrainState.initial(case.spec, [4]).weights, torch.arange(ITEMS, dtype=torch.int32)[None]
        data = case.data(1)
        logits, _ = rnn_forward(unflatten_weights(case.spec, weights), data.batch(ids).inputs)
        data.items[:, case.steps :] = logits[0].argmax(-1)
        changed = torch.arange(0, ITEMS, 3)
        data.items[changed, case.steps + changed % case.steps] += 1
        data.items[:, case.steps :] %= case.spec.output_size
        for kernel in (FusedCpuKernel(), TorchKernel()):
            _, correct = kernel.score_items(case.spec, weights, data, ids)
            assert (~correct[0]).nonzero().flatten().tolist() == changed.tolist()

    def test_a_model_that_is_not_finite_is_never_correct(self) -> None:
        weights = TrainState.initial(LANGUAGES.spec, [0, 1]).weights
        weights[1, 0] = float("nan")
        losses, correct = FusedCpuKernel().score_items(
            LANGUAGES.spec, weights, LANGUAGES.data(2), draw_items(2, 1, 37)[:, 0].contiguous()
        )
        assert losses[0].isfinite().all()
        assert not losses[1].isfinite().any()
        assert not correct[1].any()


@needs_compiler
class TestSampling:
    @every_cell
    def test_strings_equal_reference(self, cell: str) -> None:
        """At every position whose past both agree on, the token is the reference's, unless the number drawn is
        within 1e-5 of where the reference's choice changes."""
        spec, begin, (models, strings, steps) = CASES[f"{cell}-languages"].spec, 3, (2, 100, 30)
        weights = 4 * TrainState.initial(spec, [0, 1]).weights
        uniforms = torch.rand(models, strings, steps, generator=torch.Generator().manual_seed(2))
        written = FusedCpuKernel().sample_strings(spec, weights, begin, uniforms)
        assert written.shape == (models, strings, steps + 1)
        assert (written[..., 0] == begin).all()

        inputs = one_hot(written[..., :-1].long(), spec.input_size).float()
        logits, _ = rnn_forward(unflatten_weights(spec, weights), inputs)
        cumulated = softmax(logits, dim=-1).cumsum(-1)
        distance = (cumulated - uniforms.unsqueeze(-1)).abs().amin(-1)
        expected = (cumulated <= uniforms.unsqueeze(-1)).sum(-1).clamp_max(spec.output_size - 1)
        differs = expected != written[..., 1:]
        assert (distance[differs] < 1e-5).all()
        assert differs.sum() <= 2
        assert written.unique().numel() == spec.output_size

    def test_the_last_token_where_none_exceeds(self) -> None:
        """Rounding may leave the cumulated probability at or below the largest float32 under 1."""
        uniforms = torch.full((1, 20, 5), 1 - 2**-24)
        weights = TrainState.initial(LANGUAGES.spec, [0]).weights
        written = FusedCpuKernel().sample_strings(LANGUAGES.spec, weights, 0, uniforms)
        assert (written[..., 1:] == LANGUAGES.spec.output_size - 1).all()

    def test_a_model_that_is_not_finite_writes_begin(self) -> None:
        weights = TrainState.initial(LANGUAGES.spec, [0, 1]).weights
        weights[1] = float("inf")
        uniforms = torch.full((2, 3, 8), 0.999)
        written = FusedCpuKernel().sample_strings(LANGUAGES.spec, weights, 2, uniforms)
        assert (written[1] == 2).all()
        assert (written[0, :, 1:] == 5).all()


@needs_compiler
class TestChecks:
    """Whatever the C++ code would read beyond its tables is refused before it is called."""

    def score(self, weights: Tensor | None = None, data: Data | None = None, ids: Tensor | None = None) -> None:
        FusedCpuKernel().score_items(
            LANGUAGES.spec,
            TrainState.initial(LANGUAGES.spec, [0]).weights if weights is None else weights,
            LANGUAGES.data(1) if data is None else data,
            torch.zeros(1, 2, dtype=torch.int32) if ids is None else ids,
        )

    def test_accepts_what_fits(self) -> None:
        self.score()

    def test_item_numbers(self) -> None:
        with pytest.raises(RnnzooError, match=r"item_ids: found values from 0 to 50, expected 0 to 49"):
            self.score(ids=torch.tensor([[0, ITEMS]], dtype=torch.int32))
        with pytest.raises(RnnzooError, match=r"item_ids: found torch.int64 \[1, 2\]"):
            self.score(ids=torch.zeros(1, 2, dtype=torch.int64))

    def test_weights(self) -> None:
        with pytest.raises(RnnzooError, match=r"weights: .*not contiguous"):
            self.score(weights=torch.zeros(1, 2 * LANGUAGES.spec.num_parameters)[:, ::2])
        with pytest.raises(RnnzooError, match=r"weights: found torch.float64"):
            self.score(weights=TrainState.initial(LANGUAGES.spec, [0]).weights.double())

    def test_tokens_views_and_labels(self) -> None:
        data = LANGUAGES.data(1)
        with pytest.raises(RnnzooError, match="items: found values from 0 to 8, expected 0 to 5"):
            self.score(data=Data(data.encoding, torch.arange(10, dtype=torch.uint8).view(1, 10)))
        with pytest.raises(RnnzooError, match="views: found values from 0 to 12, expected -1 to 11"):
            self.score(data=Data(data.encoding, data.items, views=torch.arange(13, dtype=torch.int16).view(1, 13)))
        with pytest.raises(RnnzooError, match="labels: found none"):
            FusedCpuKernel().score_items(
                IMAGES.spec,
                TrainState.initial(IMAGES.spec, [0]).weights,
                Data(TileEncoding(7, 1.0, 0.0), torch.zeros(3, 14, dtype=torch.uint8)),
                torch.zeros(1, 2, dtype=torch.int32),
            )

    def test_steps_of_the_compiled_form(self) -> None:
        class Longer(TokenEncoding):
            def steps(self, item_bytes: int) -> int:
                return item_bytes + 1

        items = torch.zeros(1, 12, dtype=torch.uint8)
        with pytest.raises(RnnzooError, match="items: found 13 steps in 12 bytes, expected 1 to 12 by the"):
            self.score(data=Data(Longer(6, 0), items))
        with pytest.raises(RnnzooError, match="items: found 0 steps in 1 bytes, expected 1 to 1 by"):
            self.score(data=Data(TokenEncoding(6, 0), items[:, :1].contiguous()))

"""The training loop and the reference kernel against torch's own recurrent layers with torch.optim.AdamW."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from rnnzoo.zoo_builder.rnn import CELLS, RNNModule, RNNSpec, init_parameters, unflatten_weights
from rnnzoo.zoo_builder.rollouts import EvaluatedRuns, EvaluationSettings, evaluate, training_sample
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages
from rnnzoo.zoo_builder.tasks.sequential_images.images import Images
from rnnzoo.zoo_builder.training.kernels import TorchKernel, TrainState
from rnnzoo.zoo_builder.training.loop import (
    STEPS_PER_BLOCK,
    Run,
    Schedule,
    draw_items,
    run_data,
    train_runs,
    training_pool,
)

RATES = ((0.0, 0.01), (0.5, 0.003), (1.0, 0.0003))
LANGUAGES = FormalLanguages.load(None)
IMAGES = SequentialImages(
    Images(
        np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8),
        np.arange(40, dtype=np.uint8) % 10,
        "digits",
    )
)
FAMILIES = [LANGUAGES, IMAGES]


def make_runs(family, count, scale=1.0, decay=0.01, **settings):
    tasks = family.tasks(count, 0)
    return [Run(i, f"run-{i}", task, 50 + i, scale, decay, **settings) for i, task in enumerate(tasks)]


def spec_of(family, cell="lstm", hidden=8):
    return RNNSpec(family.encoding.input_size, hidden, family.output_size, cell=cell)


def train(family, runs, schedule, kernel=None, cell="lstm", **options):
    return list(train_runs(kernel or TorchKernel(), spec_of(family, cell), family, runs, schedule, **options))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_training_is_that_of_torch(family, cell):
    run = make_runs(family, 3, scale=0.5, decay=0.1)[2]
    schedule = Schedule(steps=12, batch_size=4, checkpoints=(0, 5, 12), learning_rate=RATES)
    ours = train(family, [run], schedule, cell=cell)
    assert [checkpoint.step for checkpoint in ours] == [0, 5, 12]

    spec = spec_of(family, cell)
    module = RNNModule.of_weights(unflatten_weights(spec, init_parameters(spec, [run.seed])[0]))
    optimiser = torch.optim.AdamW(module.parameters(), lr=1.0, weight_decay=run.weight_decay)
    data = run_data(family, [run.task])
    items = draw_items(run.seed, family.training_items(run.task), 0, 4)
    for step in range(12):
        optimiser.param_groups[0]["lr"] = 0.5 * float(np.interp(step, [0, 6, 12], [0.01, 0.003, 0.0003]))
        batch = data.batch(torch.from_numpy(items[None, step]))
        logits, _ = module(batch.inputs[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets[0].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    flat = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(ours[-1].weights[0], flat, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ours[0].weights[0], flat, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_run_depends_on_itself_alone(family):
    """Whatever the batches, rates and initialisations of the runs beside it."""
    runs = [
        replace(run, batch_size_scale=size, initial_scale=initial, data_fraction=fraction, weight_decay=decay)
        for run, size, initial, fraction, decay in zip(
            make_runs(family, 5),
            (2, 1, 2, 1, 3),
            (1, 0.5, 2, 1, 2),
            (1, 1, 0.5, 0.2, 1),
            (0, 1, 0, 1, 0.1),
            strict=True,
        )
    ]
    schedule = Schedule(steps=6, batch_size=4, checkpoints=(0, 6), learning_rate=RATES)
    together = train(family, runs, schedule)
    for n in range(5):
        for found, expected in zip(train(family, [runs[n]], schedule), together, strict=True):
            assert torch.equal(found.weights[0], expected.weights[n])
    bigger = replace(schedule, batch_size=12)
    assert torch.equal(
        train(family, [replace(runs[4], batch_size_scale=1)], bigger)[-1].weights[0], together[-1].weights[4]
    )


def test_hyperparameters_act():
    (run,) = make_runs(LANGUAGES, 1, scale=1.0, decay=0.0)
    schedule = Schedule(steps=30, batch_size=4, checkpoints=(0, 30), learning_rate=RATES)
    first, last = (checkpoint.weights for checkpoint in train(LANGUAGES, [run], schedule))
    scaled = train(LANGUAGES, [replace(run, initial_scale=0.5)], schedule)
    assert torch.equal(scaled[0].weights, first / 2)
    for change in ({"initial_scale": 0.5}, {"batch_size_scale": 2}, {"data_fraction": 0.3}, {"weight_decay": 0.1}):
        changed = train(LANGUAGES, [replace(run, **change)], schedule)[-1].weights
        assert (changed - last).abs().max() > 1e-4, change


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1.0])
def test_a_run_trains_on_its_share_of_the_items(family, fraction):
    runs = make_runs(family, 2, data_fraction=fraction)
    for run in runs:
        items = family.training_items(run.task)
        pool = training_pool(family, run)
        assert len(pool) == len(set(pool.tolist())) == max(1, round(fraction * len(items)))
        assert set(pool.tolist()) <= set(items.tolist())
        assert set(training_sample(family, run, 1000).tolist()) == set(pool.tolist())
    if family is IMAGES and 0.1 < fraction < 1:
        assert set(training_pool(family, runs[0])) != set(training_pool(family, runs[1]))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint16, np.int64, np.uint64])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_item_numbers_may_be_of_any_whole_type(family, kind, monkeypatch):
    runs, settings = make_runs(family, 2), EvaluationSettings(evaluation_items=20, sampled_strings=4, rollouts=2)
    schedule = Schedule(steps=2, batch_size=4, checkpoints=(2,), learning_rate=RATES)

    def trained_and_scored():
        weights = train(family, runs, schedule)[-1].weights
        evaluated = EvaluatedRuns(family, runs, settings)
        return weights, evaluate(TorchKernel(), spec_of(family), evaluated, weights, 2).columns

    few = {use: partial(first_items, getattr(family, use)) for use in ("training_items", "evaluation_items")}
    for use, numbers in few.items():
        monkeypatch.setattr(family, use, numbers)
    weights, columns = trained_and_scored()
    for use, numbers in few.items():
        monkeypatch.setattr(family, use, partial(numbers, kind=kind))
    found, found_columns = trained_and_scored()
    assert torch.equal(found, weights)
    assert all(np.array_equal(values, columns[name]) for name, values in found_columns.items())


def first_items(numbers, task, kind=np.int32):
    return numbers(task)[:20].clip(0, 100).astype(kind)


def test_a_run_whose_task_has_no_view_sees_the_bytes_in_order(monkeypatch):
    """Whichever of the runs beside it have one."""
    runs, of_task = make_runs(IMAGES, 3), IMAGES.view
    schedule = Schedule(steps=3, batch_size=4, checkpoints=(3,), learning_rate=RATES)
    in_order = np.arange(IMAGES.items.shape[1], dtype=np.int16)

    def trained(without, instead):
        tasks = [runs[n].task for n in without]
        monkeypatch.setattr(IMAGES, "view", lambda task: instead if task in tasks else of_task(task))
        return train(IMAGES, runs, schedule)[-1].weights

    for without in ([0], [1], [0, 2], [0, 1, 2]):
        assert torch.equal(trained(without, None), trained(without, in_order)), without


def test_training_goes_on_from_any_step_to_the_same_bits():
    runs = make_runs(LANGUAGES, 2)
    schedule = Schedule(steps=260, batch_size=2, checkpoints=(0, 150, 260), learning_rate=RATES)
    whole = train(LANGUAGES, runs, schedule)
    for stop in (100, 150, 200):
        kept = []

        class Stop(Exception):
            pass

        def interrupt(state, stop=stop, kept=kept):
            if state.step == stop:
                copies = (t.clone() for t in (state.weights, state.first_moment, state.second_moment))
                kept.append(TrainState(state.spec, *copies, state.step))
                raise Stop

        with pytest.raises(Stop):
            train(LANGUAGES, runs, schedule, on_progress=interrupt)
        rest = train(LANGUAGES, runs, schedule, state=kept[0])
        expected = [checkpoint for checkpoint in whole if checkpoint.step > stop or checkpoint.step == stop == 150]
        for ours, theirs in zip(reversed(rest), reversed(expected), strict=False):
            assert ours.step == theirs.step
            assert torch.equal(ours.weights, theirs.weights)


def test_loss_falls_and_accuracy_rises():
    runs = make_runs(LANGUAGES, 2)
    data = run_data(LANGUAGES, [run.task for run in runs])
    ids = torch.from_numpy(np.stack([LANGUAGES.evaluation_items(run.task)[:5] for run in runs]))
    schedule = Schedule(steps=100, batch_size=16, checkpoints=(0, 100), learning_rate=RATES)
    kernel, spec = TorchKernel(), RNNSpec(6, 16, 6)
    first, last = train_runs(kernel, spec, LANGUAGES, runs, schedule)
    before, _ = kernel.score_items(spec, first.weights, data, ids)
    after, _ = kernel.score_items(spec, last.weights, data, ids)
    assert before.mean() > 1.6
    assert after.mean() < 0.3


def test_items_are_drawn_from_the_runs_pool_and_by_its_seed():
    pool = np.array([7, 8, 11], dtype=np.int32)
    drawn = draw_items(3, pool, 0, 32)
    assert drawn.shape == (STEPS_PER_BLOCK, 32)
    assert set(drawn.reshape(-1)) == {7, 8, 11}
    assert not np.array_equal(drawn, draw_items(4, pool, 0, 32))
    assert not np.array_equal(drawn, draw_items(3, pool, 1, 32))


def test_schedule_is_piecewise_linear():
    rates = Schedule(20_000, 32, (20_000,), RATES).rates(0, 20_000)
    assert rates[0] == pytest.approx(0.01)
    assert rates[5_000] == pytest.approx(0.0065)
    assert rates[10_000] == pytest.approx(0.003)
    assert rates[15_000] == pytest.approx(0.00165)
    assert rates[-1] == pytest.approx(0.0003, rel=1e-3)


def test_divergence_is_kept_and_stays_with_its_run():
    runs = make_runs(LANGUAGES, 2)
    wild = [Run(0, "wild", runs[0].task, 1, 1.0, weight_decay=1e30), runs[1]]
    schedule = Schedule(steps=5, batch_size=4, checkpoints=(5,), learning_rate=RATES)
    weights = train(LANGUAGES, wild, schedule)[-1].weights
    assert not weights[0].isfinite().all()
    assert torch.equal(weights[1], train(LANGUAGES, [runs[1]], schedule)[-1].weights[0])


def test_sampling_follows_the_models_distribution():
    spec = RNNSpec(6, 8, 6)
    weights = 3 * init_parameters(spec, [1])
    strings = TorchKernel().sample_strings(spec, weights, 4, torch.rand(1, 20_000, 2))
    module = RNNModule.of_weights(unflatten_weights(spec, weights[0]))
    begin = torch.nn.functional.one_hot(torch.tensor([[4]]), 6).float()
    with torch.no_grad():
        expected = module(begin)[0][0, 0].softmax(-1)
    found = torch.bincount(strings[0, :, 1].long(), minlength=6) / 20_000
    assert (strings[0, :, 0] == 4).all()
    assert (found - expected).abs().max() < 0.02


def test_models_that_are_not_finite_score_nothing():
    spec = RNNSpec(6, 8, 6)
    weights = torch.full((1, spec.num_parameters), float("nan"))
    kernel, data = TorchKernel(), run_data(LANGUAGES, LANGUAGES.tasks(1, 0))
    losses, correct = kernel.score_items(spec, weights, data, torch.tensor([[3, 4]]))
    assert losses.isnan().all()
    assert not correct.any()
    assert (kernel.sample_strings(spec, weights, 4, torch.rand(1, 3, 5)) == 4).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_cuda_equals_cpu(family):
    runs = make_runs(family, 5)
    schedule = Schedule(steps=200, batch_size=8, checkpoints=(0, 10, 200), learning_rate=RATES)
    on_cpu = train(family, runs, schedule)
    on_gpu = train(family, runs, schedule, TorchKernel("cuda"))
    torch.testing.assert_close(on_cpu[1].weights, on_gpu[1].weights, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(on_cpu[2].weights, on_gpu[2].weights, rtol=0.05, atol=0.02)

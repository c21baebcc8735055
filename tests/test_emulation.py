"""Emulation: losses with known answers, an emulator that hears its embedding, training that resumes exactly."""

import contextlib
import dataclasses
import errno
import io
import os
import signal

import numpy as np
import pytest
import torch

from rnnzoo.loaders import training
from rnnzoo.loaders.emulation import (
    LOSSES,
    Emulator,
    emulated_performance,
    emulated_sequence,
    emulation_losses,
    make_emulator,
    train_emulation,
)
from rnnzoo.loaders.encoders.base import find_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training import draw_models, train
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import rnn_forward

CONFIG = TrainingConfig(
    steps=12, learning_rate=1e-2, models=8, emulator_hidden=16, clip=1.0, validate_every=4, validation_rollouts=2
)


AS_PUBLISHED = dataclasses.replace(
    CONFIG, clipping="apart", draws="epochs", emulator_form="published", validation_draws="random"
)


class Watcher:
    """Remembers every step; raises KeyboardInterrupt after `stop` of them."""

    def __init__(self, stop=None):
        self.stop, self.losses = stop, {}

    def step_done(self, step, train_loss, validation_loss):
        self.losses[step] = train_loss
        if step == self.stop:
            raise KeyboardInterrupt


@pytest.fixture(params=["language_zoo", "digits_zoo"])
def loaded(request):
    return LoadedZoo(request.getfixturevalue(request.param))


def rows_of(loaded):
    split = loaded.column("split")
    return {name: np.flatnonzero(split == name) for name in ("train", "validation")}


def trained(loaded, path, config=CONFIG, stop=None, name="flat_mlp"):
    torch.manual_seed(0)
    watcher = Watcher(stop)
    encoder = find_encoder(name)(loaded.population)
    emulation, curve = train_emulation(loaded, encoder, rows_of(loaded), config, 3, path, watcher)
    return emulation, curve, watcher


def test_losses_with_known_answers():
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    assert LOSSES["total_variation"](p, q).item() == pytest.approx(0.4)
    assert LOSSES["forward_kl"](p, q).item() == pytest.approx(0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(5))
    assert LOSSES["reverse_kl"](p, q).item() == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    assert LOSSES["cross_entropy"](p, q).item() == pytest.approx(-0.5 * np.log(0.09))
    for name in ("forward_kl", "reverse_kl"):  # two outputs
        assert LOSSES[f"published_{name}"](p, q).item() == pytest.approx(LOSSES[name](p, q).item() / 2)
    for name, loss in LOSSES.items():
        if name != "cross_entropy":
            assert loss(p, p).item() == pytest.approx(0, abs=1e-6)


def test_the_embedding_is_heard_at_begin_and_steps_are_the_sequence(loaded):
    spec = loaded.zoo.spec
    emulator = Emulator(spec, hidden=16).eval()
    embedding = torch.nn.functional.normalize(torch.randn(2, 16), dim=-1)
    inputs = loaded.zoo.encoding.inputs(loaded.rollouts[:2, :3])
    outputs = emulator(embedding, inputs)
    assert outputs.shape == (2, 3, inputs.shape[2], spec.output_size)
    torch.testing.assert_close(outputs.exp().sum(-1), torch.ones(outputs.shape[:-1]))
    assert not torch.allclose(outputs, emulator(-embedding, inputs))
    state = None
    for t in range(4):
        stepped, state = emulator.step(inputs[:, 0, t], state, embedding)
        torch.testing.assert_close(stepped, outputs[:, 0, t], rtol=1e-4, atol=1e-5)


def test_the_loss_measured_is_total_variation_to_the_rnn_itself(loaded, tmp_path):
    emulation, _, _ = trained(loaded, tmp_path / "state.pt")
    rows = np.array([2, 5])
    found = emulation_losses(loaded, emulation, rows, CONFIG)
    weights = loaded.weights(torch.from_numpy(rows))
    inputs = loaded.zoo.encoding.inputs(loaded.rollouts[loaded.rollout_group[rows], :2])
    with torch.no_grad():
        p, q = rnn_forward(weights, inputs)[0].softmax(-1), emulation(weights, inputs).exp()
    np.testing.assert_allclose(found, (0.5 * (p - q).abs().sum(-1)).mean(dim=(1, 2)), rtol=1e-4)


def test_a_sequence_step_by_step_is_what_the_loss_is_the_mean_of(loaded, tmp_path):
    emulation, _, _ = trained(loaded, tmp_path / "state.pt")
    found = emulated_sequence(loaded, emulation, 5)
    np.testing.assert_array_equal(found.item, loaded.rollouts[loaded.rollout_group[5], 0])
    assert found.original.shape == (loaded.population.steps, loaded.zoo.spec.output_size)
    distance = 0.5 * np.abs(found.original - found.emulated).sum(axis=1)
    one = dataclasses.replace(CONFIG, validation_rollouts=1)
    assert distance.mean() == pytest.approx(emulation_losses(loaded, emulation, [5], one)[0], rel=1e-4)


def test_training_lowers_the_loss_and_keeps_the_best(language_zoo, tmp_path):
    loaded = LoadedZoo(language_zoo)
    config = dataclasses.replace(CONFIG, steps=120, models=16, warmup=5, decay="cosine", learning_rate=0.03)
    emulation, curve, _ = trained(loaded, tmp_path / "state.pt", config)
    found = [point["validation_loss"] for point in curve]
    assert [point["step"] for point in curve] == list(range(4, 121, 4))
    assert min(found) < 0.8 * found[0]
    again = emulation_losses(loaded, emulation, rows_of(loaded)["validation"], config).mean()
    assert again == pytest.approx(min(found), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "config"), [("flat_mlp", CONFIG), ("interactive_probing", CONFIG), ("flat_mlp", AS_PUBLISHED)]
)
def test_a_stopped_training_goes_on_exactly(loaded, tmp_path, monkeypatch, name, config):
    """flat_mlp draws its augmentation at random: that, too, is the same again."""
    monkeypatch.setattr("rnnzoo.loaders.training.SAVE_SECONDS", 0.0)
    whole, curve, watched = trained(loaded, tmp_path / "whole.pt", config, name=name)
    with pytest.raises(KeyboardInterrupt):
        trained(loaded, tmp_path / "state.pt", config, stop=10, name=name)
    resumed, curve_again, watched_again = trained(loaded, tmp_path / "state.pt", config, name=name)
    assert list(watched_again.losses) == [9, 10, 11, 12]  # from the save at step 8
    assert curve_again == curve
    assert all(watched.losses[step] == loss for step, loss in watched_again.losses.items())
    for first, second in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(first, second)


def test_bfloat16_is_near_float32(loaded, tmp_path):
    """The gradient of a batch, and where a short training ends; losses are always measured in float32."""
    config = dataclasses.replace(CONFIG, steps=24, models=16, learning_rate=1e-3)
    ends, gradients = [], []
    for precision in ("float32", "bfloat16"):
        chosen = dataclasses.replace(config, emulator_precision=precision)
        emulation, curve, _ = trained(loaded, tmp_path / f"{precision}.pt", chosen)
        assert {tensor.dtype for tensor in emulation.state_dict().values()} == {torch.float32}
        ends.append(curve[-1]["validation_loss"])
        rows = torch.arange(16)
        inputs = loaded.zoo.encoding.inputs(loaded.rollouts[loaded.rollout_group[rows], :1])
        torch.manual_seed(0)
        emulator = make_emulator(loaded.zoo.spec, chosen)
        emulator(torch.linspace(-1, 1, 256).view(16, 16), inputs)[..., 0].mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in emulator.parameters()]))
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], rel=0.01)
    fine, coarse = gradients
    assert 0 < (coarse - fine).norm() < 0.02 * fine.norm()


def test_a_training_does_not_touch_the_global_generator(language_zoo, tmp_path):
    loaded = LoadedZoo(language_zoo)
    encoder = find_encoder("flat_mlp")(loaded.population)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_emulation(loaded, encoder, rows_of(loaded), CONFIG, 0, tmp_path / "state.pt", Watcher())
    assert torch.equal(torch.rand(3), expected)


def test_states_of_other_trainings_and_broken_ones_are_refused(language_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnzoo.loaders.training.SAVE_SECONDS", 0.0)
    loaded, path = LoadedZoo(language_zoo), tmp_path / "state.pt"
    trained(loaded, path)
    with pytest.raises(RnnzooError, match="state of another training"):
        trained(loaded, path, dataclasses.replace(CONFIG, learning_rate=1e-3))
    path.write_bytes(b"not a state")
    with pytest.raises(RnnzooError, match=r"state\.pt: not the state of this training"):
        trained(loaded, path)


def test_a_full_disk_is_told_with_the_states_name(language_zoo, tmp_path, monkeypatch):
    def full(state, file):
        file.write(b"a beginning")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rnnzoo.loaders.training.SAVE_SECONDS", 0.0)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RnnzooError, match=r"state\.pt: could not be written: No space left"):
        trained(LoadedZoo(language_zoo), tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_says_so(tmp_path):
    module = torch.nn.Linear(1, 1)
    with pytest.raises(RnnzooError, match="the loss became nan at step 0"):
        train(
            module,
            lambda step: module.weight.sum() * float("nan"),
            lambda: 0.0,
            CONFIG,
            0,
            tmp_path / "s",
            Watcher(),
        )


def test_performance_of_a_perfect_emulator_is_that_of_the_rnn(loaded, tmp_path):
    """An emulator replaced by the RNNs themselves: images are named alike, strings as well as sampling allows."""
    emulation, _, _ = trained(loaded, tmp_path / "state.pt")
    rows = np.flatnonzero(loaded.column("step") == 100)[:4]
    found = emulated_performance(loaded, emulation, rows)
    assert set(found) == {"original", "emulated"}
    assert all(0 <= value <= 1 for values in found.values() for value in values)
    assert len(found["original"]) == len(found["emulated"]) == 4
    if loaded.zoo.manifest.zoo == "formal_languages":
        assert found["original"] == pytest.approx(loaded.column("accuracy")[rows].tolist())
        return
    weights = loaded.weights(torch.from_numpy(rows))
    assert emulated_performance(loaded, PerfectImages(weights), rows)["emulated"] == found["original"]


class PerfectImages(torch.nn.Module):
    columns = ()

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, weights, inputs):
        return rnn_forward(self.weights, inputs)[0].log_softmax(-1)


def test_the_schedule_warms_up_and_decays():
    config = TrainingConfig(steps=110, learning_rate=1.0, warmup=10, decay="cosine")
    assert [config.rate(step) for step in (0, 4, 9, 10, 60)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5])
    assert config.rate(109) < 0.001
    with pytest.raises(RnnzooError, match="steps: found 0"):
        TrainingConfig(steps=0, learning_rate=1.0)


@pytest.mark.parametrize(
    "field",
    [
        "clipping",
        "decay",
        "draws",
        "emulator_form",
        "emulator_condition",
        "emulator_precision",
        "validation_draws",
    ],
)
def test_a_word_that_no_setting_has_is_refused(field):
    with pytest.raises(RnnzooError, match=f"{field}: found 'sideways', expected .* or "):
        dataclasses.replace(CONFIG, **{field: "sideways"})


class TwoParts(torch.nn.Module):
    """Two parts with a parameter each, whose gradients are 30 and 40; it remembers the last step."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)

    def loss(self, step):
        self.step = step
        return 30 * self.first.weight.sum() + 40 * self.second.weight.sum()


@pytest.mark.parametrize(("clipping", "expected"), [("together", (0.6, 0.8)), ("apart", (1.0, 1.0))])
def test_gradients_are_clipped_as_one_or_each_part_by_itself(clipping, expected, tmp_path):
    module = TwoParts()
    config = dataclasses.replace(CONFIG, steps=1, clip=1.0, clipping=clipping)
    train(module, module.loss, lambda: 0.0, config, 0, tmp_path / "s", Watcher())
    found = module.first.weight.grad.item(), module.second.weight.grad.item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_batches_of_seeds_and_of_steps_differ(tmp_path):
    """What each step of each seed draws: the RNNs, and whatever else comes after them."""

    def drawn(seed):
        module, batches = TwoParts(), []

        def loss(step):
            batches.append(tuple(draw_models(1000, CONFIG, seed, step).tolist()))
            return module.loss(step)

        train(module, loss, lambda: 0.0, CONFIG, seed, tmp_path / f"state-{seed}", Watcher())
        return batches

    found = [batch for seed in (0, 1, 2, 2**32) for batch in drawn(seed)]
    assert len(set(found)) == len(found) == 4 * CONFIG.steps
    assert drawn(1) == found[CONFIG.steps : 2 * CONFIG.steps]


@pytest.mark.parametrize("count", [5, 8, 9, 24])
def test_an_epoch_goes_through_all_models_once(count):
    config = dataclasses.replace(CONFIG, draws="epochs")  # 8 in a step
    steps = -(-count // 8)
    epochs = [[draw_models(count, config, 3, steps * epoch + s) for s in range(steps)] for epoch in range(3)]
    orders = [torch.cat(parts).tolist() for parts in epochs]
    assert all(sorted(order) == list(range(count)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != torch.cat([draw_models(count, config, 4, s) for s in range(steps)]).tolist()


def test_random_rollouts_of_a_validation_stay_the_same(language_zoo, tmp_path):
    loaded = LoadedZoo(language_zoo)
    emulation, _, _ = trained(loaded, tmp_path / "state.pt")
    one = dataclasses.replace(CONFIG, validation_rollouts=1)
    random = dataclasses.replace(one, validation_draws="random")
    rows = np.arange(12)
    first, drawn = (emulation_losses(loaded, emulation, rows, config) for config in (one, random))
    assert (drawn != first).any()
    np.testing.assert_array_equal(emulation_losses(loaded, emulation, rows, random), drawn)
    everything = dataclasses.replace(random, validation_rollouts=10_000)
    whole = emulation_losses(loaded, emulation, rows, dataclasses.replace(everything, validation_draws="first"))
    np.testing.assert_allclose(emulation_losses(loaded, emulation, rows, everything), whole, rtol=1e-5)


@pytest.mark.parametrize(
    ("patience", "last"),
    [(0, 12), (1, 6), (2, 8), (3, 8), (4, 10), (9, 12)],
)
def test_a_training_ends_when_it_runs_out_of_patience(patience, last, tmp_path, monkeypatch):
    """A validation every two steps; that at step 4 is the best. Stopped and gone on with, it ends there, too."""
    monkeypatch.setattr("rnnzoo.loaders.training.SAVE_SECONDS", 0.0)
    config = dataclasses.replace(CONFIG, validate_every=2, patience=patience)
    losses = {2: 5.0, 4: 1.0, 6: 2.0, 8: 1.0, 10: 3.0, 12: 4.0}

    def run(path, stop=None):
        torch.manual_seed(0)
        module = TwoParts()
        return train(module, module.loss, lambda: losses[module.step + 1], config, 0, path, Watcher(stop))

    curve = run(tmp_path / "whole")
    assert [point["step"] for point in curve] == list(range(2, last + 1, 2))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", stop=6)
    assert run(tmp_path / "state") == curve


def test_ctrl_c_while_a_state_is_saved_stays_ctrl_c(monkeypatch, tmp_path):
    """It waits until the archive is whole: torch's writer fails, or ends the process, when it is interrupted."""

    class Interrupting(io.BytesIO):
        def write(self, data):
            if self.tell() > 100:
                signal.raise_signal(signal.SIGINT)
            return super().write(data)

    archive = Interrupting()
    monkeypatch.setattr("rnnzoo.loaders.training.replacing", lambda path: contextlib.nullcontext(archive))
    module = torch.nn.Linear(40, 40)
    optimizer = torch.optim.AdamW(module.parameters())
    with pytest.raises(KeyboardInterrupt):
        training._save_state(
            tmp_path / "state.pt", module, optimizer, CONFIG, 0, None, 1, [], (0.5, module.state_dict())
        )
    archive.seek(0)
    assert torch.load(archive, weights_only=True)["step"] == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

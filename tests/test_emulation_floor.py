"""`python -m benchmarks.emulation_floor`: nothing comes below the floors, and they are of RNNs that are alike."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import emulation_floor
from rnnzoo.loaders.emulation.emulator import LOSSES
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from([0.01, 1.0, 5.0]))
def test_no_answer_comes_below_the_floor(rnns, outputs, seed, spread):
    draw = torch.Generator().manual_seed(seed)
    answers = (3 * torch.randn(rnns, 2, outputs, generator=draw)).log_softmax(dim=-1)
    found = emulation_floor.floors(answers)
    middles = [answers.mean(dim=0), answers.exp().mean(dim=0).log(), answers[0]]
    for middle in middles:
        other = (middle + spread * torch.randn(20, *middle.shape, generator=draw)).log_softmax(dim=-1)
        for name, floor in found.items():
            losses = LOSSES[name](answers[:, None], other[None].expand(rnns, -1, -1, -1)).mean(dim=(0, 2))
            assert losses.min() >= floor - 1e-5


def test_the_floor_of_one_rnn_is_zero():
    answers = torch.randn(1, 3, 4).log_softmax(dim=-1).expand(6, 3, 4)
    assert list(emulation_floor.floors(answers).values()) == pytest.approx([0, 0, 0], abs=1e-6)


def test_kl_floors_are_reached_by_a_distribution():
    answers = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    found = emulation_floor.floors(answers[:, None])
    grid = torch.linspace(0.001, 0.999, 999)
    tried = torch.stack([grid, 1 - grid], dim=-1).log()
    for name in ("published_forward_kl", "published_reverse_kl"):
        losses = LOSSES[name](answers[:, None], tried[None].expand(2, -1, -1)).mean(dim=0)
        assert found[name] == pytest.approx(float(losses.min()), abs=1e-5)


def last_of(loaded):
    return np.flatnonzero(loaded.column("step") == loaded.column("step").max())


def test_rnns_of_a_group_are_of_one_language(language_zoo):
    loaded = LoadedZoo(language_zoo)
    rows = last_of(loaded)
    with pytest.raises(RnnzooError, match="found 12 tasks in 12 runs, expected two runs of the same task"):
        emulation_floor.alike(loaded, rows, at_once=3)
    ids = loaded.column("task_id")
    ids[rows[1:6]] = ids[rows[0]]
    (group,) = emulation_floor.alike(loaded, rows, at_once=3)
    assert list(group) == list(rows[:3])


def test_rnns_of_a_group_are_of_neighbouring_angles(digits_zoo):
    loaded = LoadedZoo(digits_zoo)
    groups = emulation_floor.alike(loaded, last_of(loaded), at_once=3)
    assert [len(group) for group in groups] == [3, 3, 3, 3]
    angles = loaded.column("rotation_degrees")
    assert all(angles[one].max() < angles[other].min() for one, other in pairwise(groups))


def test_a_line_for_every_step_and_for_runs(digits_zoo, capsys):
    emulation_floor.main([str(digits_zoo), "--groups", "2", "--items", "2"])
    first, _, *lines = capsys.readouterr().out.splitlines()
    loaded = LoadedZoo(digits_zoo)
    assert first == f"sequential_digits, `{loaded.zoo.manifest.digest}`"
    steps = [f"task, and step {step}" for step in np.unique(loaded.column("step"))]
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {told}" for told in (*steps, "task and step", "run")
    ]


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"emulation_floor: .*nowhere"):
        emulation_floor.main([str(tmp_path / "nowhere")])

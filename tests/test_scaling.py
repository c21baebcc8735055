"""`python -m benchmarks.scaling`: which trainings it does, that it goes on, and what its picture shows."""

import json

import numpy as np
import pytest

from benchmarks import scaling
from rnnzoo.loaders.benchmark.protocol import partition
from rnnzoo.loaders.benchmark.report.marks import marks_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo


@pytest.fixture
def options(language_zoo, tmp_path):
    """A function: words of a small command, and more of them."""
    usual = ["--zoo", str(language_zoo), "--out", str(tmp_path / "s.json"), "--encoder", "feedback_probing"]
    return lambda *more: [*usual, "--steps", "2", "1", "--runs", "1", "2", *map(str, more)]


def measured(tmp_path):
    return json.loads((tmp_path / "s.json").read_text())["measured"]


def test_steps_and_runs_are_varied_one_at_a_time_and_nothing_is_trained_twice(options, tmp_path, monkeypatch):
    scaling.main(options())
    found = measured(tmp_path)
    assert [(one["steps"], one["runs"]) for one in found] == [(1, 2), (2, 2), (2, 1)]
    assert all(0 < loss < 1 for one in found for loss in one["losses"].values())
    assert all(set(one["losses"]) == {"validation", "test", "ood"} for one in found)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".png"]
    monkeypatch.setattr(scaling, "measure", lambda *_: pytest.fail("trained again"))
    scaling.main(options())
    asked = []
    monkeypatch.setattr(scaling, "measure", lambda *given: asked.append(given[2]) or {"losses": {}, "seconds": 0})
    monkeypatch.setattr(scaling, "scaling_figure", lambda *_: scaling.Figure())
    scaling.main(options("--seeds", "2"))
    assert {point.seed for point in asked} == {1}
    assert len(asked) == 3


def test_a_training_sees_the_checkpoints_of_so_many_runs(options, language_zoo, monkeypatch):
    loaded, seen = LoadedZoo(language_zoo), []

    def spy(given, encoder, rows, *rest):
        seen.append(rows)
        raise InterruptedError

    monkeypatch.setattr(scaling, "train_emulation", spy)
    with pytest.raises(InterruptedError):
        scaling.main(options("--steps", "1"))
    (rows,) = seen
    runs = loaded.column("run_id")
    parts = partition(loaded, "strict")
    assert len(set(runs[rows["train"]])) == 2
    assert set(rows["train"]) == set(parts.train[np.isin(runs[parts.train], runs[rows["train"]])])
    assert set(rows["validation"]) == set(parts.validation)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--runs", "0"), r"--runs: found \[0\], expected from 1 to"),
        (("--runs", "1000"), r"--runs: found \[1000\], expected from 1 to"),
        (("--encoder", "weight_norm"), "weight_norm"),
        (("--steps", "0"), "steps: found 0"),
        (("--zoo", "nowhere"), "nowhere"),
    ],
)
def test_what_does_not_fit_is_named(options, words, message, tmp_path):
    with pytest.raises(SystemExit, match=f"scaling: .*{message}"):
        scaling.main(options(*words))
    assert not (tmp_path / "s.json").exists()


def test_a_file_of_another_zoo_is_left_as_it_is(options, tmp_path):
    (tmp_path / "s.json").write_text('{"zoo": "other", "measured": []}')
    with pytest.raises(SystemExit, match="found measurements of another zoo"):
        scaling.main(options())
    assert (tmp_path / "s.json").read_text() == '{"zoo": "other", "measured": []}'


def test_the_picture_has_a_row_a_split_and_every_point():
    losses = {"validation": 0.1, "test": 0.1, "ood": 0.2}
    along = [(1, 8), (2, 8), (2, 4), (2, 1)]
    found = [
        {"encoder": name, "steps": steps, "runs": runs, "seed": seed, "losses": losses}
        for name in ("a", "b")
        for steps, runs in along
        for seed in (0, 1)
    ]
    figure = scaling.scaling_figure(found, marks_of(["a", "b"]))
    panels = np.array(figure.axes).reshape(3, 2)
    assert [axes.get_title(loc="left") for axes in panels[:, 1]] == [f"{split}, 2 steps" for split in losses]
    by_steps, by_runs = (axes.get_lines()[0].get_xdata() for axes in panels[2])
    assert list(by_steps) == [1, 2]
    assert list(by_runs) == [1, 4, 8]
    assert list(panels[2, 0].get_lines()[1].get_ydata()) == [0.2, 0.2]

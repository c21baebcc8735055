"""What can be predicted: a zoo's targets, and any column of its metadata."""

import numpy as np
import pyarrow as pa
import pytest

from rnnzoo.loaders.benchmark.prediction.targets import choose_targets, truth_of
from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.files import read_result, read_rows
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target

pytestmark = pytest.mark.usefixtures("short_readouts")


@pytest.fixture(scope="module")
def loaded(language_zoo) -> LoadedZoo:
    """A zoo with some columns that a user might have added."""
    loaded = LoadedZoo(language_zoo)
    count = len(loaded)
    added = {
        "colour": pa.array(["red", "blue", "green"] * (count // 3)),
        "even": pa.array([n % 2 == 0 for n in range(count)]),
        "ragged": pa.array([[0] * (n % 2) for n in range(count)], pa.list_(pa.int64())),
        "gaps": pa.array([None, *range(count - 1)]),
        "nan": pa.array([float("nan"), *map(float, range(count - 1))]),
        "shares": pa.array([[0.5, n] for n in range(count)], pa.list_(pa.float64())),
        "bad name/": pa.array(range(count)),
    }
    for name, values in added.items():
        loaded.metadata = loaded.metadata.append_column(name, values)
    return loaded


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("accuracy", Target("accuracy", "accuracy", "number", error="accuracy_error")),
        ("accuracy:number", Target("accuracy", "accuracy", "number", error="accuracy_error")),
        ("step:number", Target("step-number", "step", "number")),
        ("seed", Target("seed", "seed", "number")),
        ("train_loss:class", Target("train_loss-class", "train_loss", "class")),
        ("colour", Target("colour", "colour", "class")),
        ("even", Target("even", "even", "class")),
        (Target("mine", "train_loss", "number", trained_only=True),) * 2,
    ],
    ids=str,
)
def test_a_column_is_a_target(loaded, asked, expected):
    assert choose_targets(loaded, (asked,)) == [expected]


def test_a_zoo_has_the_targets_of_its_family_and_those_of_every_zoo(loaded, digits_zoo):
    assert [target.name for target in choose_targets(loaded)] == ["offsets", "accuracy", "step"]
    names = [target.name for target in choose_targets(LoadedZoo(digits_zoo))]
    assert names == ["rotation", "generalization_gap", "accuracy", "step", "weight_decay"]


def test_text_is_numbered_by_the_alphabet(loaded):
    (target,) = choose_targets(loaded, ("colour",))
    assert truth_of(loaded, target, np.arange(3)).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "rotation",
            "targets: found 'rotation', expected one of offsets, accuracy, step for this zoo, or a column",
        ),
        ("seed:colour", "targets: found 'seed:colour', expected one of the kinds number, class, classes, angle"),
        ("hidden_size", "targets: hidden_size: found one value at all checkpoints"),
        ("colour:number", "found string in its column, which is no number"),
        ("offsets:number", "which is no number"),
        ("shares", "which is no class"),
        ("ragged", "found lists of several lengths"),
        ("gaps", "found 1 checkpoints without a value"),
        ("nan", "found values that are not finite"),
        ("bad name/", "found the name 'bad name/', expected letters"),
        (Target("mine", "nowhere", "number"), "mine: found no column 'nowhere'"),
        (Target("step", "accuracy", "number"), "expected another name"),
    ],
)
def test_what_is_no_target(loaded, asked, message):
    with pytest.raises(RnnzooError, match=message):
        choose_targets(loaded, (asked,))


@pytest.mark.usefixtures("without_page")
def test_a_target_of_ones_own_from_run_to_report(language_zoo, tmp_path):
    out = tmp_path / "results"
    asked = Request(str(language_zoo), "weight_norm", out, targets=("train_loss", "step:number"), seeds=1)
    paths = run_benchmark(asked)
    assert [read_result(path).target for path in paths] == ["train_loss", "step-number"]
    run_benchmark(Request(str(language_zoo), "step_only", out, targets=("accuracy",), seeds=1))
    rows = read_rows(paths[0].parents[2])
    assert [target.name for target in rows.targets] == ["offsets", "accuracy", "step", "train_loss", "step-number"]
    text = make_report(out, out, baselines=False)
    assert "\ntrain_loss\n" in text
    assert "\nstep-number\n" in text
    other = Target("train_loss", "eval_loss", "number")
    with pytest.raises(RnnzooError, match=r"rows\.json: found Target.*choose another"):
        run_benchmark(Request(str(language_zoo), "weight_norm", out, targets=(other,), seeds=1))

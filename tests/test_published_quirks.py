"""Arrays as the published program leaves them: imported, verified, benchmarked, and exported as they came."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnzoo.loaders.benchmark.report import make_report
from rnnzoo.loaders.benchmark.request import Request
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.published import export_zoo, import_published
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.tasks.target import Target
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from tests.published_arrays import BEGIN, END, STEPS, write_images, write_languages

pytestmark = pytest.mark.usefixtures("short_readouts")

SHORT = (("steps", 4), ("validate_every", 2), ("models", 8), ("emulator_hidden", 8))


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    """The arrays, their zoo, what the import said, and how many strings have no END."""
    folder = tmp_path_factory.mktemp("languages")
    unfinished = write_languages(folder / "arrays")
    return folder / "arrays", folder / "zoo", import_published(folder / "arrays", folder / "zoo"), unfinished


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "arrays")
    return folder / "arrays", folder / "zoo", import_published(folder / "arrays", folder / "zoo"), 0


@pytest.fixture(params=["languages", "images"])
def both(request):
    return request.getfixturevalue(request.param)


def metadata(zoo):
    return pa.concat_tables([pq.read_table(zoo / f"metadata/{split}.parquet") for split in SPLITS])


def test_damaged_strings_are_counted_and_mended(both):
    _, zoo, imported, unfinished = both
    assert imported.mended == unfinished
    assert json.loads((zoo / "zoo.json").read_text())["config"]["mended_sequences"] == unfinished
    if unfinished:
        assert unfinished > 20
        assert imported.damage == "they have no END, and had END in the place of BEGIN"
        assert (LoadedZoo(zoo).rollouts[..., 0] == BEGIN).all()


def test_an_imported_zoo_is_exported_as_it_came(both, tmp_path):
    """Outputs are computed anew, so they may be rounded to another float16."""
    arrays, zoo, _, _ = both
    export_zoo(zoo, tmp_path / "again")
    names = sorted(path.name for path in arrays.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        if name == "args.json":
            assert json.loads((arrays / name).read_text()) == json.loads((tmp_path / "again" / name).read_text())
            continue
        there, back = np.load(arrays / name), np.load(tmp_path / "again" / name)
        assert there.dtype == back.dtype, name
        if name == "logits.npy":
            np.testing.assert_allclose(back.astype(np.float32), there.astype(np.float32), rtol=2e-3, atol=1e-3)
        else:
            np.testing.assert_array_equal(back, there, err_msg=name)


def test_every_check_of_verify_holds(both):
    checks = verify_zoo(both[1], TorchKernel(), sample=6)
    assert all(check.passed for check in checks), checks


def test_whole_strings_that_begin_with_no_begin_stay_errors(languages, tmp_path):
    arrays = np.load(languages[0] / "sequences.npy")
    finished = np.argwhere((arrays[..., 1:] == END).any(axis=-1))[0]
    for first in (0, END):
        folder = tmp_path / f"begins-with-{first}"
        write_languages(folder)
        damaged = arrays.copy()
        damaged[tuple(finished)][0] = first
        np.save(folder / "sequences.npy", damaged)
        with pytest.raises(
            RnnzooError, match=rf"sequences.npy: found {first} first in a string, expected 4, or 5"
        ):
            import_published(folder, tmp_path / "zoo")


def test_arrays_without_args_are_those_of_the_likeliest_sizes(languages, tmp_path):
    write_languages(tmp_path / "arrays")
    (tmp_path / "arrays" / "args.json").unlink()
    import_published(tmp_path / "arrays", tmp_path / "zoo")
    config = json.loads((tmp_path / "zoo" / "zoo.json").read_text())["config"]
    assert config["published_args"] == {}
    assert config["checkpoints"] == [step + 1 for step in STEPS]
    ours, theirs = metadata(languages[1]), metadata(tmp_path / "zoo")
    for name in ("checkpoint_id", "sha256", "step", "accuracy", "published_accuracy"):
        assert ours[name] == theirs[name], name


@pytest.mark.parametrize("size", ["rnn_hidden_size", "rnn_num_layers"])
def test_sizes_in_args_are_believed(size, tmp_path):
    write_languages(tmp_path / "arrays")
    path = tmp_path / "arrays" / "args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {size: 3}))
    expected = {"rnn_hidden_size": "3 units and 2 layers", "rnn_num_layers": "32 units and 3 layers"}
    with pytest.raises(RnnzooError, match=rf"found 13766 parameters, .* {expected[size]}"):
        import_published(tmp_path / "arrays", tmp_path / "zoo")


def test_the_published_first_checkpoint_is_untrained(languages):
    """It is that of step 1; a target that is about trained models leaves it out, as it does an initialisation."""
    trained = Target("offsets", "offsets", "classes", trained_only=True)
    steps = metadata(languages[1])["step"].to_numpy()
    assert set(steps) == {1, 101, 201}
    assert (trained.covers(steps) == (steps > 100)).all()
    assert trained.covers(np.array([0, 1, 2, 100])).tolist() == [False, False, True, True]
    assert Target("step", "step", "class").covers(steps).all()


@pytest.mark.parametrize(
    ("encoder", "track", "protocol", "overrides"),
    [
        ("weight_norm", "features", "strict", 0),
        ("weight_norm", "features", "paper", 0),
        ("layer_statistics", "frozen", "strict", 4),
        ("flat_mlp", "supervised", "paper", 3),
    ],
)
def test_every_track_runs_on_an_imported_zoo(both, encoder, track, protocol, overrides, tmp_path):
    zoo = str(both[1])
    fields = {"targets": ("step",), "seeds": 1, "overrides": SHORT[:overrides]}
    run_benchmark(Request(zoo, encoder, tmp_path, (track,), protocol, **fields))
    (board,) = read_results(tmp_path)
    assert [(result.target, result.track) for result in board.results] == [("step", track)]
    for emulation in board.emulations:
        assert (emulation.performance == {}) == LoadedZoo(zoo).zoo.encoding.needs_labels
    assert len(board.emulations) == (track == "frozen")
    assert encoder in make_report(tmp_path, tmp_path, baselines=False)


def test_what_needs_labels_says_so(images, languages, tmp_path):
    assert LoadedZoo(images[1]).rollout_labels is None
    assert not LoadedZoo(images[1]).knows_answers
    assert LoadedZoo(languages[1]).knows_answers
    with pytest.raises(RnnzooError, match="behaviour_statistics: found no labelled images"):
        run_benchmark(Request(zoo=str(images[1]), encoder="behaviour_statistics", out=tmp_path, seeds=1))

"""The arrays of the original release: made from our own models, read back, and refused where they do not fit."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from rnnzoo import Zoo, load_zoo
from rnnzoo.zoo_builder.cli import app
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.folder.opening import finished_zoo
from rnnzoo.zoo_builder.pipeline.merge import config_of_parts
from rnnzoo.zoo_builder.published import export_zoo, import_published
from rnnzoo.zoo_builder.release import release_zoo, render_card
from rnnzoo.zoo_builder.splits import SPLITS
from rnnzoo.zoo_builder.training.kernels import TorchKernel
from rnnzoo.zoo_builder.verify import verify_zoo
from rnnzoo.zoo_builder.zoos import resolve_config

ZOOS = ["language_zoo", "digits_zoo"]


@pytest.fixture(scope="module")
def arrays(language_zoo, digits_zoo, tmp_path_factory):
    """Name -> folder of arrays."""
    folder = tmp_path_factory.mktemp("arrays")
    for name, zoo in (("language_zoo", language_zoo), ("digits_zoo", digits_zoo)):
        assert export_zoo(zoo, folder / name) == 36
    return {name: folder / name for name in ZOOS}


@pytest.fixture(params=ZOOS)
def both(request, arrays):
    """A zoo, and its arrays."""
    return request.getfixturevalue(request.param), arrays[request.param]


def metadata(zoo):
    table = pa.concat_tables([pq.read_table(zoo / f"metadata/{split}.parquet") for split in SPLITS])
    return table.sort_by("checkpoint_id")


def test_the_layout_is_that_of_the_original(arrays):
    shapes = {
        "language_zoo": {
            "parameters": ("float32", (36, 13766)),
            "sequences": ("int16", (36, 10, 42)),
            "logits": ("float16", (36, 10, 41, 6)),
            "tasks": ("int64", (36, 4)),
            "num_step_correct": ("int64", (36, 3)),
        },
        "digits_zoo": {
            "parameters": ("float32", (36, 15178)),
            "sequences": ("float16", (36, 10, 50, 16)),
            "logits": ("float16", (36, 10, 50, 10)),
            "tasks": ("float64", (36, 1)),
            "num_step": ("int64", (36, 2)),
            "accuracy_losses": ("float32", (36, 4)),
        },
    }
    for name, expected in shapes.items():
        found = {path.stem: np.load(path) for path in arrays[name].glob("*.npy")}
        assert {key: (str(array.dtype), array.shape) for key, array in found.items()} == expected
    logits = np.load(arrays["language_zoo"] / "logits.npy").astype(np.float32)
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1, atol=5e-3)


def test_there_and_back(both, tmp_path):
    zoo, folder = both
    imported = import_published(folder, tmp_path / "zoo")
    assert 0 < imported.largest_difference < 0.01
    ours, theirs = metadata(zoo), metadata(tmp_path / "zoo")
    same = [
        "checkpoint_id",
        "run_id",
        "task_id",
        "split",
        "paper_split",
        "step",
        "step_index",
        "sha256",
        "diverged",
    ]
    task = ["language", "offsets"] if "language" in ours.column_names else ["rotation_degrees"]
    for name in (*same, *task):
        assert theirs[name].to_pylist() == ours[name].to_pylist(), name
    for name in ("eval_loss", "train_loss"):
        np.testing.assert_allclose(theirs[name].to_numpy(), ours[name].to_numpy(), rtol=1e-5)
    assert theirs["seed"].null_count == len(theirs)
    again = tmp_path / "arrays"
    export_zoo(tmp_path / "zoo", again)
    for path in folder.glob("*.npy"):
        assert np.array_equal(np.load(path), np.load(again / path.name)), path.name


@pytest.mark.parametrize("kilobytes", [pytest.param(8, marks=pytest.mark.slow), 1000])
def test_a_full_disk_is_an_error_that_names_the_file(language_zoo, tmp_path, kilobytes):
    """A write through a memory map would end the process."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    place = tmp_path / "small"
    place.mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("no file systems can be mounted here")
    export = [sys.executable, "-m", "rnnzoo.zoo_builder", "export", language_zoo, "--out", place / "arrays"]
    script = 'mount -t tmpfs -o size="$1"k tmpfs "$2" && shift && shift && "$@"; code=$?; ls -A "$0"; exit $code'
    found = subprocess.run(
        [*unshare, "sh", "-c", script, place, str(kilobytes), place, *export], capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (2, ""), found.stderr
    assert f"{place}/arrays/" in found.stderr
    assert "could not be written: No space left on device" in found.stderr


def test_an_imported_zoo_is_a_sound_zoo(both, tmp_path):
    zoo, folder = both
    import_published(folder, tmp_path / "zoo")
    checks = verify_zoo(tmp_path / "zoo", TorchKernel(), sample=6)
    assert all(check.passed for check in checks), checks
    assert "was imported" in checks[-2].found
    assert checks[-1].found.startswith("imported-")
    rows = load_zoo(tmp_path / "zoo", split="train", filters=[("step", "==", 100)])
    checkpoint = rows[0]["checkpoint_id"]
    for name, tensor in Zoo(zoo).batch([checkpoint]).items():
        assert (rows[0][name] == tensor[0]).all()
    inputs, _ = Zoo(tmp_path / "zoo").rollouts([checkpoint])
    assert (inputs == Zoo(zoo).rollouts([checkpoint])[0]).all()
    with pytest.raises(RnnzooError, match="was imported from a published zoo"):
        release_zoo(tmp_path / "zoo", tmp_path / "release", TorchKernel())
    with pytest.raises(RnnzooError, match="was imported from a published zoo"):
        render_card(tmp_path / "zoo")
    for repeat in (
        lambda: config_of_parts([tmp_path / "zoo"]),
        lambda: finished_zoo(resolve_config("formal_languages", "smoke"), tmp_path / "zoo"),
        lambda: Zoo(tmp_path / "zoo").evaluate([checkpoint]),
    ):
        with pytest.raises(RnnzooError, match=r"zoo.*: was imported, expected a zoo that was built"):
            repeat()


def test_rows_are_sorted_by_the_number_of_the_run(copied, tmp_path):
    """The text of the millionth comes before that of the one before it."""
    later = {"run-000000": "run-999999", "run-000001": "run-1000000"}
    for path in (copied / "metadata").iterdir():
        table = pq.read_table(path)
        where = table.schema.get_field_index("run_id")
        names = pa.array([later.get(name, name) for name in table["run_id"].to_pylist()])
        pq.write_table(table.set_column(where, table.schema.field(where), names), path)
    export_zoo(copied, tmp_path / "arrays")
    runs, steps = np.load(tmp_path / "arrays/num_step_correct.npy")[:, :2].T
    assert runs[-6:].tolist() == [999999] * 3 + [1000000] * 3
    assert steps[-6:].tolist() == [0, 40, 100] * 2
    assert (np.diff(runs) >= 0).all()


def test_accuracy_is_exact_and_the_published_one_of_the_stored_strings(arrays, language_zoo, tmp_path):
    import_published(arrays["language_zoo"], tmp_path / "zoo")
    ours, theirs = metadata(language_zoo), metadata(tmp_path / "zoo")
    for name in ("accuracy", "expected_n", "end_probability"):
        np.testing.assert_allclose(theirs[name].to_numpy(), ours[name].to_numpy(), rtol=1e-3)
    assert not theirs["accuracy_error"].to_numpy().any()
    assert set(np.round(theirs["count_accuracy"].to_numpy() * 10, 4)) <= set(range(11))
    np.testing.assert_allclose(
        theirs["published_accuracy"].to_numpy(), ours["count_accuracy"].to_numpy(), atol=5e-4
    )


def test_of_weights_that_are_not_finite_no_output_is_said_to_agree(arrays, tmp_path):
    folder = shutil.copytree(arrays["language_zoo"], tmp_path / "arrays")
    parameters = np.load(folder / "parameters.npy")
    for count in (1, len(parameters)):
        parameters[:count] = np.nan
        np.save(folder / "parameters.npy", parameters)
        out = tmp_path / f"zoo{count}"
        result = CliRunner().invoke(app, ["import", str(folder), "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert f"weights of {count} checkpoints are not finite: their outputs were not compared" in result.output
        agree = f"stored outputs of {len(parameters) - count} checkpoints differ from those of the weights by at"
        assert (agree in result.output) == (count == 1)
    assert import_published(arrays["language_zoo"], tmp_path / "sound").not_finite == 0


def test_the_published_step_has_seen_one_update_more(arrays, tmp_path):
    folder = shutil.copytree(arrays["language_zoo"], tmp_path / "arrays")
    (folder / "args.json").write_text(json.dumps({"weight_decay": 1e-4}))
    import_published(folder, tmp_path / "zoo")
    table = metadata(tmp_path / "zoo")
    assert sorted(set(table["step"].to_pylist())) == [1, 41, 101]
    np.testing.assert_allclose(table["weight_decay"].to_numpy(), 1e-4)


def rewrite(name, change):
    def damage(folder):
        array = np.load(folder / name)
        np.save(folder / name, change(array))

    return damage


def put(name, where, value):
    def change(array):
        array[where] = value
        return array

    return rewrite(name, change)


def truncate(folder):
    path = folder / "parameters.npy"
    path.write_bytes(path.read_bytes()[:-100])


def dangling(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def pickled(folder):
    np.save(folder / "tasks.npy", np.array([{}] * 36, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "logits.npy").unlink(), r"logits\.npy: this file is missing"),
        (lambda folder: dangling(folder / "args.json"), r"args\.json: "),
        (lambda folder: (folder / "args.json").write_text("[]"), "expected a JSON object"),
        *(
            (
                lambda folder, size=size, value=value: (folder / "args.json").write_text(f'{{"{size}": {value}}}'),
                rf"args\.json: \w+: found {value.title()}, expected a whole number from 1 to",
            )
            for size, value in (("rnn_hidden_size", "0"), ("num_layers", "-1"), ("hidden_size", "true"))
        ),
        (lambda folder: (folder / "num_step_correct.npy").unlink(), "found neither num_step_correct"),
        (truncate, r"parameters\.npy: not a whole \.npy file"),
        (pickled, r"tasks\.npy: not a whole \.npy file of plain numbers"),
        (
            rewrite("parameters.npy", lambda a: a.astype(np.float64)),
            r"parameters\.npy: found float64, expected float32",
        ),
        (rewrite("parameters.npy", lambda a: a[:, :-1]), "found 13765 parameters, expected those of an LSTM"),
        (
            rewrite("sequences.npy", lambda a: a[:, :, :-1]),
            r"sequences\.npy: found shape \[36, 10, 41\], expected \[36, any, 42\]",
        ),
        (rewrite("logits.npy", lambda a: a[:-1]), r"logits\.npy: found shape \[35, 10, 41, 6\]"),
        (rewrite("logits.npy", lambda a: a[::-1]), r"logits\.npy: row \d+: found outputs up to"),
        (rewrite("parameters.npy", lambda a: a[:, ::-1]), r"logits\.npy: row \d+: found outputs up to"),
        (put("sequences.npy", (3, 2, 1), 9), r"sequences\.npy: found tokens 0 to 9"),
        (put("tasks.npy", (0, 1), 7), r"tasks\.npy: (rows .* several tasks|row)"),
        (put("num_step_correct.npy", (0, 1), 3), "run 0 has steps .*|run 1 has steps .*"),
    ],
)
def test_arrays_that_do_not_fit(arrays, tmp_path, damage, message):
    folder = shutil.copytree(arrays["language_zoo"], tmp_path / "arrays")
    damage(folder)
    with pytest.raises(RnnzooError, match=message):
        import_published(folder, tmp_path / "zoo")
    assert [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_sequences_that_are_no_pixels(arrays, tmp_path):
    folder = shutil.copytree(arrays["digits_zoo"], tmp_path / "arrays")
    put("sequences.npy", (0, 0, 5, 5), 0.13)(folder)
    with pytest.raises(RnnzooError, match=r"sequences\.npy: expected a step of zeros, then pixels"):
        import_published(folder, tmp_path / "zoo")


def test_nothing_is_overwritten(both, tmp_path):
    zoo, folder = both
    with pytest.raises(RnnzooError, match="exists; expected the name of a new folder"):
        import_published(folder, tmp_path)
    with pytest.raises(RnnzooError, match="exists; expected the name of a new folder"):
        export_zoo(zoo, tmp_path)

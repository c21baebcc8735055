"""The command `zoo-bench` as a person types it: run, stop, go on, report, and what it says to bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from tqdm import tqdm

from benchmarks.processes import is_alive, workers_of
from rnnzoo.loaders.benchmark.executors import _begin_worker
from rnnzoo.loaders.encoders import ENCODERS

SHORT = ["--set", "steps=6", "--set", "validate_every=3", "--set", "emulator_hidden=8", "--set", "models=8"]


def test_list_names_everything(bench):
    code, out, _ = bench("list")
    assert code == 0
    assert all(name in out for name in ENCODERS)
    assert "exact task" not in out
    assert all(name in out for name in ("offsets", "rotation", "weight_decay", "COLUMN:KIND"))
    assert "supervised" in out
    assert "steps=100000" in out
    assert max(map(len, out.splitlines())) <= 80
    listed = json.loads(bench("list", "--json")[1])
    assert set(listed["encoders"]) == set(ENCODERS)
    assert listed["encoders"]["flat_mlp"]["of_the_paper"]
    assert "offsets" in listed["targets"]["formal_languages"]
    assert listed["presets"]["frozen"]["paper"]["steps"] == 100_000


@pytest.mark.usefixtures("short_readouts")
@pytest.mark.parametrize(
    "place", ["{}/one_encoder.py", "./two_encoder.py", "../three_encoder.py", "four_encoder.py"]
)
def test_an_encoder_in_a_file_on_two_tracks(bench, language_zoo, tmp_path, monkeypatch, place):
    for folder in (tmp_path, tmp_path / "within"):
        folder.mkdir(exist_ok=True)
        (folder / Path(place).name).write_text(
            "from rnnzoo.loaders.encoders.flat_mlp import FlatMLP\nclass Own(FlatMLP):\n    pass\n"
        )
    encoder = f"{place.format(tmp_path)}:Own(hidden=(4,))"
    monkeypatch.chdir(tmp_path / "within")
    tracks = ["--track", "supervised", "--track", "frozen", "--target", "step", "--seeds", 1]
    out = tmp_path / "results"
    code, shown, _ = bench("run", "--zoo", language_zoo, "--encoder", encoder, *tracks, *SHORT, "--out", out)
    assert code == 0
    assert [track for track in ("supervised", "frozen", "features") if track in shown] == ["supervised", "frozen"]
    code, shown, _ = bench("report", out)
    assert code == 0
    assert encoder in shown
    code, _, err = bench("run", "--zoo", language_zoo, "--encoder", encoder, "--track", "fast", "--out", out)
    assert code == 2
    assert err.startswith("zoo-bench: --track: found 'fast'")


@pytest.mark.usefixtures("short_readouts")
def test_run_then_report(bench, language_zoo, tmp_path):
    results = tmp_path / "results"
    code, out, _ = bench("run", "--zoo", language_zoo, "--encoder", "greedy_decode", "--out", results)
    assert code == 0
    assert "exact task ↑" in out
    assert f"results: {results}" in out
    arguments = ["--track", "supervised", "--seeds", 2, "--target", "offsets", *SHORT, "--out", results]
    code, out, _ = bench("run", "--zoo", language_zoo, "--encoder", "layer_statistics(hidden=(8,))", *arguments)
    assert code == 0
    code, out, err = bench("run", "--zoo", language_zoo, "--encoder", "layer_statistics(hidden=(8,))", *arguments,
                           "--seeds", 1, "--first-seed", 2)  # fmt: skip
    assert code == 0
    assert "results are there already" not in out + err
    found = [path.name for path in results.rglob("supervised/offsets-*.json")]
    assert sorted(found) == [f"offsets-seed{seed}.json" for seed in range(3)]
    code, out, _ = bench("report", results, "--against", "greedy_decode")
    assert code == 0
    assert "layer_statistics(hidden=(8,))" in out
    assert "ood less greedy_decode" in out
    assert "LEAKAGE" in out.upper()
    assert (results / "report.md").read_text().startswith("# Benchmark")
    assert "<html" in (results / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "steps"], "--set: found 'steps', expected FIELD=VALUE"),
        (["--set", "speed=3"], "with a field of steps, learning_rate"),
        (["--set", "steps=many"], "--set: steps: found 'many': Input should be a valid integer"),
        (["--encoder", "no_such"], "--encoder: found 'no_such'"),
        (["--first-seed", "10000"], "--first-seed: found 10000, expected a whole number from 0 to 9999"),
        (["--encoder", "no_such_module:Encoder"], "could not be imported"),
        (["--zoo", "nowhere"], "nowhere: there is no such folder"),
        (["--target", "rotation"], "--target: found 'rotation'"),
        (["--target", "language", "--fresh-seed", "5"], "--target: found language, texts, expected numbers for a"),
    ],
)
def test_bad_input_exits_with_2(bench, language_zoo, tmp_path, arguments, message):
    usual = {"--zoo": str(language_zoo), "--encoder": "step_only", "--out": str(tmp_path / "results")}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = [word for pair in (usual | given).items() for word in pair]
    code, _, err = bench("run", *options)
    assert code == 2
    assert err.startswith("zoo-bench: ")
    assert message in err
    assert not (tmp_path / "results").exists()


def test_no_folder_of_results_stands_where_a_file_is(bench, language_zoo, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "results"
    code, _, err = bench("run", "--zoo", language_zoo, "--encoder", "step_only", "--out", out)
    assert code == 2
    assert f"{out}/formal_languages/strict: could not be made: Not a directory; choose another folder" in err


def test_a_run_of_nothing(bench):
    code, _, err = bench("run")
    assert code == 2
    assert "Missing option '--zoo'" in err


def test_a_report_of_nothing(bench, tmp_path):
    code, _, err = bench("report", tmp_path / "missing")
    assert code == 2
    assert "missing: there is no such folder" in err


def test_an_interrupted_training_goes_on(bench, language_zoo, tmp_path):
    """Ctrl-C in mid-training, then the same command: the results are there, and say so the third time."""
    # A small encoder: every step saves it, and waits for the disk.
    command = ["run", "--zoo", str(language_zoo), "--encoder", "completion_probing(probes=2)"]
    command += ["--track", "supervised", "--seeds", "1", "--target", "accuracy"]
    command += ["--out", str(tmp_path / "results"), "--threads", "1"]
    command += ["--set", "validate_every=1", "--set", "models=4"]
    program = (
        # Programs that a shell starts behind `&` ignore SIGINT, and so does what they start.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import rnnzoo.loaders.training as t; t.SAVE_SECONDS = 0; from rnnzoo.loaders.cli import main; main()"
    )
    words = [sys.executable, "-c", program, *command, "--set", "steps=100000"]
    running = subprocess.Popen(words, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert b"stopped; the same command goes on" in err
    assert list(tmp_path.rglob("*.pt"))
    assert not list(tmp_path.rglob("accuracy-seed0.json"))

    code, _, err = bench(*command, "--set", "steps=20")
    assert code == 2
    assert err.startswith("zoo-bench: --overwrite: ")
    assert "accuracy-seed0.pt was made otherwise: setting steps: found 100000, expected 20" in err
    for expected in ("removed, as made otherwise: 1 file", "1 of 1 results are there already"):
        code, out, err = bench(*command, "--set", "steps=20", "--overwrite")
        assert code == 0, err
        assert expected in out + err
    assert list(tmp_path.rglob("accuracy-seed0.json"))


def assert_they_end(processes):
    deadline = time.monotonic() + 60
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, "workers outlive the command"
        time.sleep(0.1)


def work_until_killed(pipe):
    """A process with a worker that has work for long."""
    context = get_context("fork")
    pool = ProcessPoolExecutor(1, context, _begin_worker, (1, tqdm.get_lock()))
    os.write(pipe, b"%d" % pool.submit(os.getpid).result())
    pool.submit(time.sleep, 600).result()


def test_a_worker_ends_with_the_process_that_began_it():
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            work_until_killed(writing)
        finally:
            os._exit(1)
    worker = int(os.read(reading, 20))
    assert is_alive(worker)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert_they_end([worker])


@pytest.mark.slow
def test_the_workers_of_a_command_that_was_killed_end(language_zoo, tmp_path):
    words = ["run", "--zoo", language_zoo, "--encoder", "completion_probing(probes=2)", "--track", "supervised"]
    words += ["--seeds", "2", "--target", "accuracy", "--set", "steps=100000", "--threads", "1", "--workers", "2"]
    program = "from rnnzoo.loaders.cli import main; main()"
    running = subprocess.Popen([sys.executable, "-c", program, *map(str, words), "--out", tmp_path / "results"])
    deadline = time.monotonic() + 120
    while len(workers := workers_of(running.pid)) < 2:
        assert time.monotonic() < deadline, "no workers"
        time.sleep(0.1)
    time.sleep(15)  # until they train
    assert all(map(is_alive, workers))
    running.kill()
    running.wait()
    assert_they_end(workers)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--zoo", "", "--encoder", "step_only"], "--zoo"),
        (["run", "--zoo", "x", "--encoder", "step_only", "--out="], "--out"),
        (["report", ""], "RESULTS"),
    ],
)
def test_an_empty_text_is_no_path(words, named, bench):
    code, _, err = bench(*words)
    assert code == 2
    assert f"{named}: found an empty text, expected a value; a variable may be unset" in err

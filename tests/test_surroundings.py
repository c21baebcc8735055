"""Commands on machines less kind: narrow encodings, odd settings of matplotlib, no streams, odd file systems."""

import errno
import os
import subprocess
import sys

import pytest

from rnnzoo.zoo_builder.storage import writing

REPORT = "from rnnzoo.command_line import draw_without_a_screen as d; d()\nimport matplotlib.pyplot as plt"
SAY = (
    "import typer\nfrom rnnzoo.command_line import make_app, run, say\napp = make_app('x')\n"
    "@app.callback()\ndef main(): pass\n"
    "@app.command()\ndef arrow(): say('exact task ↑ 0.5–0.6')\n"
    "run(app, 'x')"
)


def start(program, *words, **environment):
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_printing_degrades_to_what_a_terminal_can_show(encoding):
    done = start(SAY, "arrow", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert shown.strip() == "exact task ↑ 0.5–0.6".encode(encoding, "backslashreplace").decode(encoding)


def test_without_streams_a_command_does_its_work():
    closing = "import sys\nsys.stdout = sys.stderr = None\n"
    assert start(closing + SAY, "arrow").returncode == 0
    assert start(closing + SAY, "nosuch").returncode == 2


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")


@FULL
@pytest.mark.parametrize("work", ["say('much')", "rnnzoo.command_line.say_json({})"])
def test_what_cannot_be_printed_is_an_error_in_one_line(work):
    program = "import rnnzoo.command_line\n" + SAY.replace("say('exact task ↑ 0.5–0.6')", work)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", program, "arrow"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode() == f"x: standard output: could not be written: {os.strerror(errno.ENOSPC)}\n"


BAR = (
    "from tqdm import tqdm; import logging; logging.getLogger('x').warning('x')"
    "; [say('x', err=True) for _ in tqdm('ab', mininterval=0)]; say('done')"
)


@FULL
def test_work_goes_on_where_its_progress_cannot_be_shown():
    program = SAY.replace("say('exact task ↑ 0.5–0.6')", BAR)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", program, "arrow"], stdout=subprocess.PIPE, stderr=full)
        failed = subprocess.run([sys.executable, "-c", program, "nosuch"], stderr=full)
    assert (done.returncode, done.stdout, failed.returncode) == (0, b"done\n", 2)


def test_work_goes_on_where_nobody_reads_of_its_progress_any_more():
    reading, writing = os.pipe()
    os.close(reading)
    program = SAY.replace("say('exact task ↑ 0.5–0.6')", BAR)
    with os.fdopen(writing, "wb") as broken:
        done = subprocess.run([sys.executable, "-c", program, "arrow"], stdout=subprocess.PIPE, stderr=broken)
    assert (done.returncode, done.stdout) == (0, b"done\n")


@pytest.mark.parametrize(("begin", "module"), [("zoo_builder", "zoo_builder.cli"), ("zoo_bench", "loaders.cli")])
def test_a_command_that_is_stopped_while_it_imports_says_so(begin, module):
    stops = (
        "import sys\n"
        "class Stops:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'rnnzoo.{module}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stops())\n"
    )
    done = start(f"{stops}from rnnzoo import commands\ncommands.{begin}()", "--help")
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.decode() == f"{begin.replace('_', '-')}: stopped\n"


def test_words_are_plain_whatever_continuous_integration_says_of_colours():
    program = "import sys\nfrom rnnzoo.zoo_builder.cli import main\nmain()"
    forced = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE")
    for words in (["--help"], ["build", "--nosuch"]):
        done = start(program, *words, **dict.fromkeys(forced, "1"), TERM="xterm-256color")
        plain = start(program, *words, NO_COLOR="1", TERM="dumb")
        assert b"\x1b" not in done.stdout + done.stderr
        assert (done.stdout, done.stderr) == (plain.stdout, plain.stderr)


@pytest.mark.parametrize("backend", ["nosuch", "TkAgg", "module://matplotlib_inline.nosuch"])
def test_figures_are_drawn_whatever_the_settings_of_matplotlib(backend, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: true\nfont.size: 77\n")
    program = f"{REPORT}\nplt.figure().text(0, 0, '50 % of_all')\nplt.savefig(r'{tmp_path / 'figure.png'}')"
    done = start(program, MPLBACKEND=backend, MATPLOTLIBRC=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").exists()


def test_a_command_may_open_as_many_files_as_the_system_lets_it():
    """A merge of a finished zoo holds a lock of each shard."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
    said = SAY.replace("say('exact task ↑ 0.5–0.6')", "say(resource.getrlimit(resource.RLIMIT_NOFILE))")
    assert start(limit + said, "arrow").stdout.decode().strip() == "(200, 200)"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, code):
    real = os.fsync

    def fsync(file):
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(code, os.strerror(code))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    writing.write_single(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_that_wait_soon_sleep_unless_the_user_says_otherwise(given, expected, monkeypatch):
    """It is said before torch is imported: its threads read it once."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    said = "import os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    done = start(SAY.replace("say('exact task ↑ 0.5–0.6')", said), "arrow", **given)
    assert done.stdout.decode().split() == [expected, "False"]


def test_what_the_client_of_the_hub_warns_of_is_said_once():
    program = (
        "import logging, sys\nfrom rnnzoo.zoo_builder.cli import app\napp(['available', '--one-each'], "
        "standalone_mode=False)\nfrom huggingface_hub import hf_hub_download\n"
        "logging.getLogger('huggingface_hub.utils').warning('trying again')\n"
        "logging.getLogger('rnnzoo.some').warning('of our own')"
    )
    said = start(program, HF_HUB_OFFLINE="1").stderr.decode()
    assert (said.count("trying again"), said.count("of our own")) == (1, 1)

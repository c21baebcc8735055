"""Commands under other locales and on names beyond ASCII: the same bytes, or a refusal before any work."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from tiny_builds import contents
from typer.main import get_command

from rnnzoo.loaders.cli import app as bench_app
from rnnzoo.zoo_builder.cli import app as builder_app

PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
"""Python does as the locale says."""
LOCALES = {
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
    "C": {"LC_ALL": "C"},
    "ASCII": PLAIN | {"LC_ALL": "C"},
    "ISO-8859-1": PLAIN | {"LC_ALL": "en_US.ISO-8859-1"},
}
"""Name -> variables. Under `C` alone Python takes UTF-8 all the same."""
ENCODINGS = {"C.UTF-8": "utf-8", "C": "utf-8", "ASCII": "ascii", "ISO-8859-1": "latin-1"}
TEXT = "größe ↑\n"
COMMANDS = "import sys\nfrom commands import exit_code\nimport shlex\n" + (
    "for line in sys.stdin:\n"
    "    print('$', line, end='', flush=True)\n"
    "    if code := exit_code(*shlex.split(line)):\n"
    "        sys.exit(code)\n"
)
"""Runs the commands of its input, one a line, until one fails."""


@pytest.fixture(scope="session")
def started(shared):
    """A function: run a command, or a program, in a process with a locale of `LOCALES`."""

    def make(folder):
        folder.mkdir()
        made = folder / "en_US.ISO-8859-1"
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", made], capture_output=True, check=False)

    def start(locale, *command, **options):
        if locale == "ISO-8859-1" and shutil.which("localedef") is None:
            pytest.skip("no localedef on the PATH, which makes the locale: in Debian's libc-bin, with `locales`")
        known = {"LOCPATH": str(shared("locales", make)), "PYTHONPATH": os.path.dirname(__file__)}
        environment = os.environ | known | LOCALES[locale]
        if locale != "ISO-8859-1":
            del environment["LOCPATH"]
        return subprocess.run(command, env=environment, capture_output=True, check=False, **options)

    return start


@pytest.mark.parametrize("locale", LOCALES)
def test_the_locales_are_what_they_say(started, locale):
    program = "import sys; print(sys.stdout.encoding, sys.getfilesystemencoding())"
    shown = started(locale, sys.executable, "-c", program).stdout.decode().replace("iso8859-1", "latin-1")
    assert set(shown.split()) == {ENCODINGS[locale]}


@pytest.mark.parametrize("locale", ["ASCII", "ISO-8859-1"])
def test_text_is_the_same_under_every_locale(started, tmp_path, locale):
    """A card is written in UTF-8, and printed as the locale allows."""
    program = f"""if True:
        import sys
        from commands import exit_code
        from rnnzoo.zoo_builder import release
        release.render_card = lambda zoo: {TEXT!a}
        sys.exit(sum(exit_code("zoo-builder", "card", "zoo", *out) for out in ([], ["--out", "out"])))
    """
    done = started(locale, sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text(encoding="utf-8") == TEXT
    assert done.stdout == f"{TEXT}card: out\n".encode(ENCODINGS[locale], "backslashreplace")


BUILD = "zoo-builder build formal_languages --runs 12 --steps 20 --hidden-size 4 --kernel torch --out"
FEW = "--set sampled_strings=20 --set rollouts=3 --set runs_per_shard=2"
RUN = "zoo-bench run --encoder step_only --seeds 1 --target accuracy --out results@ --zoo"
CHAIN = f"""zoo-builder --help
zoo-bench --help
zoo-builder build --help
zoo-builder available
zoo-bench list
{BUILD} zoo@ {FEW}
{BUILD} first@ {FEW} --part 1/2
{BUILD} second@ {FEW} --part 2/2
zoo-builder merge first@ second@ --out merged@
zoo-builder verify zoo@ --kernel torch
zoo-builder info zoo@
zoo-builder release zoo@ --out release@ --kernel torch
zoo-builder card zoo@ --out card@.md
zoo-builder export zoo@ --out arrays@
zoo-builder import arrays@ --out imported@
zoo-builder explore zoo@ --static site@
{RUN} zoo@
zoo-bench report results@ --out report@
"""
"""The commands that need no network; "@" ends the name of a file or folder."""


@pytest.fixture(scope="session")
def chain(started, shared):
    """A function: the files that `CHAIN` writes under a locale, with a suffix to all names; times are left out."""

    def find(locale, suffix=""):
        def make(folder):
            folder.mkdir()
            done = started(
                locale, sys.executable, "-c", COMMANDS, input=CHAIN.replace("@", suffix).encode(), cwd=folder
            )
            assert done.returncode == 0, done.stdout.decode() + done.stderr.decode("utf-8", "replace")

        files = contents(shared(f"chain-{locale}{suffix}", make))
        return {name: re.sub(rb'"seconds": {[^}]*}', b"", content) for name, content in files.items()}

    return find


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "ASCII", "ISO-8859-1"])
def test_all_commands_write_the_same_bytes_under_every_locale(chain, locale):
    expected, found = chain("C.UTF-8"), chain(locale)
    assert found.keys() == expected.keys()
    assert [name for name, content in expected.items() if found[name] != content] == []


@pytest.mark.slow
def test_all_commands_work_on_names_beyond_ascii(chain):
    assert "zoo-größe/zoo.json" in chain("C.UTF-8", "-größe")


WORDS = {
    "zoo-builder": {
        "build": "formal_languages --out PATH",
        "merge": "PATH --out new",
        "verify": "PATH",
        "info": "PATH",
        "available": "--mnist PATH",
        "release": "PATH --out new",
        "card": "PATH",
        "push": "PATH org/name",
        "import": "PATH --out new",
        "export": "PATH --out new",
        "explore": "PATH",
    },
    "zoo-bench": {
        "run": "--zoo PATH --encoder step_only --out new",
        "report": "PATH",
        "push": "PATH org/name",
        "commit": "PATH",
        "list": "PATH",
    },
}
"""Command -> words with a path in them; the path is looked at before everything else."""


@pytest.mark.parametrize(("program", "app"), [("zoo-builder", builder_app), ("zoo-bench", bench_app)])
def test_paths_that_are_not_utf_8_are_refused_by_every_command(
    builder, bench, tmp_path, monkeypatch, program, app
):
    monkeypatch.chdir(tmp_path)
    run = {"zoo-builder": builder, "zoo-bench": bench}[program]
    assert WORDS[program].keys() == get_command(app).commands.keys()
    for command, words in WORDS[program].items():
        code, _, err = run(command, *words.replace("PATH", "zoo-\udcff").split())
        assert (code, err.rstrip()) == (
            2,
            rf"{program}: zoo-\xff: found bytes that are not UTF-8, expected a name in UTF-8",
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_utf_8_is_no_place_to_work_in(builder, tmp_path, monkeypatch):
    place = tmp_path / "here-\udcff"
    place.mkdir()
    monkeypatch.chdir(place)
    code, _, err = builder("available")
    assert code == 2
    assert r"here-\xff: found bytes that are not UTF-8" in err
    assert builder("build", "--help")[0] == 0


@pytest.mark.parametrize(("locale", "encoding"), [("ASCII", "ascii"), ("ISO-8859-1", "iso8859-1")])
def test_names_beyond_ascii_need_a_locale_of_utf_8(started, locale, encoding):
    done = started(locale, sys.executable, "-m", "rnnzoo.zoo_builder", "verify", b"gr\xc3\xb6\xc3\x9fe")
    assert done.returncode == 2
    said = done.stderr.decode("latin-1")
    shown = "größe" if locale == "ISO-8859-1" else r"gr\xf6\xdfe"
    assert said.startswith(
        f"zoo-builder: {shown}: found letters beyond ASCII where the locale says that names are "
    )
    assert f"in {encoding}; expected names in ASCII, a locale of UTF-8 such as LC_ALL=C.UTF-8" in said

"""What the two commands share: errors that name options, exit codes, `--version` and `--set`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

import rnnzoo
from rnnzoo.commands import INTERRUPTED, STOPPED
from rnnzoo.settings import setting_text
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.escaping import for_terminal

DAILY_FIELDS = ("runs", "steps", "seed", "cell", "hidden_size", "num_layers")
"""Fields of a zoo's config with an option of their own; `--set` changes the others."""

MOST_PROCESSES = 1024
"""On one machine, and threads of each."""

GOES_ON = f"{STOPPED}; the same command goes on from the last saved state"
"""What is said by commands that keep what they have done."""
RESUMABLE = ("build", "merge", "push", "run")
"""Those commands."""
MOST_OPEN = 131_072
"""Files that a command may have open, where the system permits it."""


class Interrupted(Exception):
    """The user stopped the command; the message says what is saved."""


class Commands(TyperGroup):
    """The commands of an app. Their errors name parameters; the user typed options, and reads of options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for word in args:
            _check_readable(word)
        _check_not_empty(args, self.commands)
        rest = super().parse_args(ctx, args)
        if "--help" not in rest:
            with contextlib.suppress(OSError):  # the folder was removed
                _check_readable(os.getcwd())
        return rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ParameterError as error:
            options = _options(self.commands[ctx.invoked_subcommand])
            name = options.get(error.parameter, error.parameter)
            raise RnnzooError(f"{name}: {error.problem}") from error
        except KeyboardInterrupt:  # Typer would end with a bare "Aborted."
            raise Interrupted(GOES_ON if ctx.invoked_subcommand in RESUMABLE else STOPPED) from None


def make_app(help: str) -> typer.Typer:
    """An app of `Commands`, in plain text: boxes and columns leave no room for words in 80 columns."""
    return typer.Typer(
        cls=Commands,
        help=help,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def say(text: object = "", err: bool = False, nl: bool = True) -> None:
    """Print a text; what a terminal would take for a command in it is shown instead.

    Raises RnnzooError where standard output goes to a full disk.
    """
    try:
        print(for_terminal(str(text)), end="\n" if nl else "", file=sys.stderr if err else sys.stdout, flush=True)
    except BrokenPipeError:  # whoever read it has seen enough: Typer ends the command
        raise
    except OSError as error:
        raise RnnzooError(f"standard output: could not be written: {error.strerror or error}") from error


def say_json(value: Any) -> None:
    """Print a value as JSON, for programs."""
    say(json.dumps(value, indent=2, allow_nan=False))


class PatientStream:
    """A standard error whose reader may have gone, and whose disk may be full: that ends no work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class VisibleFormatter(logging.Formatter):
    """Log lines, likewise."""

    def format(self, record: logging.LogRecord) -> str:
        return for_terminal(super().format(record))


def run(app: typer.Typer, name: str) -> None:
    """Run an app of `Commands`; bad input exits with 2, an interruption with 130."""
    _share_cores()
    _open_many_files()
    _print_anywhere()
    if logging.lastResort is not None:  # what prints warnings where nothing was set up
        logging.lastResort.setFormatter(VisibleFormatter())
    try:
        app(prog_name=name)
    except RnnzooError as error:
        say(f"{name}: {error}", err=True)
        sys.exit(2)
    except Interrupted as stop:
        say(f"{name}: {stop}", err=True)
        sys.exit(INTERRUPTED)


def draw_without_a_screen() -> None:
    """Let matplotlib draw into files only, whatever its settings are here; before anything imports pyplot."""
    os.environ["MPLBACKEND"] = "Agg"
    import matplotlib as mpl

    mpl.rcdefaults()
    mpl.use("Agg")


def _share_cores() -> None:
    """Let threads of torch that wait for each other soon sleep, before anything imports it.

    They spin for milliseconds otherwise. Where another program holds a core, the thread that is waited for gets
    none meanwhile. Some ten microseconds keep what spinning gains on a quiet machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _open_many_files() -> None:
    """Let this process open as many files as it may: a merge holds the locks of all shards at once."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN if most == resource.RLIM_INFINITY else min(most, MOST_OPEN)
    if now != resource.RLIM_INFINITY and now < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems say that there is no limit, and have one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _print_anywhere() -> None:
    """Let what a stream cannot show be an escape, such as an arrow in ASCII; let there be streams.

    Nothing stops because an error stream takes no more.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever began the command
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, PatientStream):
        sys.stderr = PatientStream(sys.stderr)


def _check_readable(word: str) -> None:
    """Raise RnnzooError for a path that Python may open, but Arrow and safetensors may not: theirs are UTF-8.

    Among the words of a command this is found before any work; a build would train first, and then fail.
    """
    encoding = sys.getfilesystemencoding()
    shown = os.fsencode(word).decode("utf-8", "backslashreplace")
    if encoding == "utf-8" and shown != word:
        raise RnnzooError(f"{shown}: found bytes that are not UTF-8, expected a name in UTF-8")
    if encoding != "utf-8" and not word.isascii():
        raise RnnzooError(
            f"{shown}: found letters beyond ASCII where the locale says that names are in {encoding}; expected "
            "names in ASCII, a locale of UTF-8 such as LC_ALL=C.UTF-8, or PYTHONUTF8=1"
        )


def _check_not_empty(words: Sequence[str], commands: Mapping[str, Any]) -> None:
    """Raise RnnzooError, which names the option, for an empty word, as an unset variable of the shell leaves one.

    As a path it would be the folder where the command runs; no other option or argument takes it either.
    """
    name = next((word for word in words if word in commands), None)
    params = commands[name].params if name is not None else []
    valued = {option for each in params if _is_option(each) and not each.is_flag for option in each.opts}
    arguments = " or ".join(each.metavar or each.name.upper() for each in params if not _is_option(each))
    for before, word in pairwise(["", *words]):
        option, sign, value = word.partition("=")
        if word == "" or (sign and not value and option in valued):
            found = option or (before if before in valued else arguments or "argument")
            raise RnnzooError(f"{found}: found an empty text, expected a value; a variable may be unset")


def _check_items_folder(folder: Path | None) -> Path | None:
    """Raise RnnzooError for an option that names no folder."""
    if folder is not None and not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise RnnzooError(f"--mnist/--items: found {found} at {folder}, expected a folder")
    return folder


def build_command(zoo: str, preset: str, changes: Mapping[str, Any]) -> str:
    """The command that builds a zoo with some fields of its preset changed."""
    words = [f"zoo-builder build {zoo} --preset {preset} --out FOLDER"]
    for name, value in changes.items():
        text = setting_text(value)
        words.append(f"--{name.replace('_', '-')} {text}" if name in DAILY_FIELDS else f"--set {name}={text}")
    return " ".join(words)


def _options(command: Any) -> dict[str, str]:
    """Parameter of a command -> the option that gives it."""
    return {each.name: each.opts[0] for each in command.params if _is_option(each)}


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"rnnzoo {rnnzoo.__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
]

SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the config; again for more."),
]

MnistOption = Annotated[
    Path | None,
    typer.Option(
        *("--mnist", "--items"),
        metavar="DIR",
        callback=_check_items_folder,
        help="Folder with MNIST's IDX files (else $RNNZOO_MNIST_DIR), or with what else a family reads.",
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

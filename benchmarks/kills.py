"""Kills the commands that write files, each at an operation of its own choice, runs them again, and compares.

    python -m benchmarks.kills --kills 100

A command runs in a child process, which SIGKILL ends right before one of its operations on files: opening,
renaming, making or removing one. The same command is then run to its end. What it makes must have the bytes of
what an undisturbed run made, its sources those that they had, and nothing may be left beside it. How builds bear
it is looked at by `benchmarks.soak`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OPERATIONS = (
    "open",
    "os.rename",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "shutil.copyfile",
)
FIELDS = ("runs=4", "steps=6", "checkpoints=0,6", "batch_size=2", "hidden_size=4", "evaluation_items=5")
MORE_FIELDS = ("sampled_strings=5", "rollouts=3", "runs_per_shard=1")


@dataclass(frozen=True)
class Command:
    """A command that makes something of the sources in the folder `home`.

    words: given where it goes. whole: words of an error that says that a killed run had been at its end.
    """

    name: str
    words: Callable[[Path, Path], list[object]]
    whole: str = "exists"


COMMANDS = [
    Command("merge", lambda home, out: ["merge", home / "1", home / "2", "--out", out]),
    Command("release", lambda home, out: ["release", home / "zoo", "--out", out, "--kernel", "torch"]),
    Command("export", lambda home, out: ["export", home / "zoo", "--out", out]),
    Command("import", lambda home, out: ["import", home / "arrays", "--out", out]),
    Command("card", lambda home, out: ["card", home / "zoo", "--out", out]),
    Command("info", lambda home, out: ["info", home / "zoo", "--figure", out.with_suffix(".png")]),
]


def run(words: list[object], home: Path, kill_at: int | None = None) -> tuple[int, int, str]:
    """Run a command in a child process; returns its exit code (-9: killed), its operations and what it said."""
    said, counted = home.parent / "said", home.parent / "counted"
    child = os.fork()
    if child == 0:
        _become(words, home, kill_at, said, counted)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, int(counted.read_text()) if code == 0 else 0, said.read_text(errors="replace")


def _become(words: list[object], home: Path, kill_at: int | None, said: Path, counted: Path) -> None:
    """The child: the command, whose operations below the parent of `home` are counted, and the process's end."""
    code, operations = 1, 0
    try:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(file, standard)

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal operations
            if event in OPERATIONS and str(home.parent) in str(arguments[0]):
                operations += 1
                if operations == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        from rnnzoo.command_line import run as run_app
        from rnnzoo.zoo_builder.cli import app

        sys.argv = ["zoo-builder", *map(str, words)]
        sys.addaudithook(count)
        run_app(app, "zoo-builder")
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        kill_at = None
        if code == 0:
            counted.write_text(str(operations))
        os._exit(code)


def prepare(home: Path) -> None:
    """A zoo, its two parts, and its arrays."""
    fields = [word for field in (*FIELDS, *MORE_FIELDS) for word in ("--set", field)]
    build = ["build", "formal_languages", *fields, "--kernel", "torch", "--threads", "1"]
    for words in (
        [*build, "--out", home / "1", "--part", "1/2"],
        [*build, "--out", home / "2", "--part", "2/2"],
        [*build, "--out", home / "zoo"],
        ["export", home / "zoo", "--out", home / "arrays"],
    ):
        code, _, said = run(words, home)
        if code:
            raise RuntimeError(said)


def bytes_of(place: Path) -> dict[str, bytes]:
    """The content of a file, or of all files below a folder."""
    paths = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): path.read_bytes() for path in paths}


def disturb(command: Command, home: Path, chance: random.Random, kills: int) -> list[str]:
    """Kill a command so many times; returns what went wrong."""
    wrong = []
    room = home.parent / command.name
    room.mkdir()
    words = command.words(home, room / "out")
    code, operations, said = run(words, home)
    (made,) = room.iterdir()
    expected, sources = bytes_of(made), bytes_of(home)
    for _ in range(kills):
        shutil.rmtree(room)
        room.mkdir()
        place = chance.randint(1, operations)
        run(words, home, kill_at=place)
        code, _, said = run(words, home)
        found = {path.name for path in room.iterdir()}
        if code and not (code == 2 and command.whole in said):
            wrong.append(f"{command.name} at {place}: exit code {code}: {said[-300:]}")
        elif found != {made.name}:
            wrong.append(f"{command.name} at {place}: left {sorted(found - {made.name})}")
        elif bytes_of(made) != expected:
            wrong.append(f"{command.name} at {place}: other bytes")
        if bytes_of(home) != sources:
            wrong.append(f"{command.name} at {place}: its sources were changed")
            break
    print(f"{command.name:8} {kills} kills among {operations} operations, {len(wrong)} went wrong", flush=True)
    return wrong


def main() -> None:
    """Kill, and print what happened; exits with 1 when something was lost or left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120, help="in all (default 120)")
    parser.add_argument("--only", choices=[command.name for command in COMMANDS], nargs="+", help="these commands")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    arguments = parser.parse_args()
    began, chance, wrong = time.monotonic(), random.Random(arguments.seed), []
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, which children only inherit when it is imported
    import rnnzoo.zoo_builder.published
    import rnnzoo.zoo_builder.release  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="rnnzoo-kills-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        prepare(home)
        chosen = [command for command in COMMANDS if not arguments.only or command.name in arguments.only]
        for command in chosen:
            wrong += disturb(command, home, chance, -(-arguments.kills // len(chosen)))
    print("\n".join(wrong) or "nothing was lost, nothing was left", f"{time.monotonic() - began:.0f} s", sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

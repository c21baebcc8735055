"""Kills the commands that write files, each at an operation of its own choice, runs them again, and compares.

    python -m benchmarks.kills --kills 100

A command runs in a child process, which SIGKILL ends right before one of its operations on files (opening,
renaming, making or removing one) or one of its connections. The same command is then run to its end. What it
makes must have the bytes of what an undisturbed run made, but for the times that results tell, its sources those
that they had, and nothing may be left beside it. `push` goes to the hub of the tests. How builds by several
processes bear it is looked at by `benchmarks.soak`.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from loopback_hub import WRITE_TOKEN, LoopbackHub  # type: ignore[import-not-found]

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
CONNECTION = "socket.connect"
FIELDS = ("steps=6", "checkpoints=0,6", "batch_size=2", "hidden_size=4", "evaluation_items=5")
MORE_FIELDS = ("sampled_strings=5", "rollouts=3")
FEW = ("runs=4", "runs_per_shard=1")
MANY = ("runs=12", "runs_per_shard=6")
"""For the zoo that is benchmarked: enough tasks for all splits."""
TRAINING = ("steps=6", "validate_every=2", "emulator_hidden=8", "models=8")
REPOSITORY = "org/zoo"
TIMES = re.compile(rb'^ "seconds": .*$', re.MULTILINE)
"""In files of results."""


@dataclass(frozen=True)
class Command:
    """A command that makes something of the sources in the folder `home`.

    words: given where it goes. whole: words of an error that says that a killed run had been at its end.
    source: in `home`, what the command changes: a copy of it is where it goes.
    """

    name: str
    words: Callable[[Path, Path], list[object]]
    whole: str = "exists"
    source: str = ""


def settings(fields: tuple[str, ...]) -> list[object]:
    return [word for field in fields for word in ("--set", field)]


def build(out: Path, fields: tuple[str, ...] = FEW, *more: object) -> list[object]:
    """The words that build a zoo of few and small RNNs."""
    words = ["build", "formal_languages", *settings((*FIELDS, *MORE_FIELDS, *fields))]
    return [*words, "--kernel", "torch", "--threads", "1", "--out", out, *more]


def benchmark(home: Path, out: Path, encoder: str, *tracks: str) -> list[object]:
    """The words that benchmark an encoder."""
    words: list[object] = ["run", "--zoo", home / "many", "--encoder", encoder, "--seeds", "1", "--threads", "1"]
    words += [word for name in tracks for word in ("--track", name)]
    return [*words, "--target", "step", *settings(TRAINING), "--out", out]


COMMANDS = [
    Command("build", lambda home, out: build(out)),
    Command("merge", lambda home, out: ["merge", home / "1", home / "2", "--out", out]),
    Command("release", lambda home, out: ["release", home / "zoo", "--out", out, "--kernel", "torch"]),
    Command("push", lambda home, out: ["push", out, REPOSITORY], "has already", source="release"),
    Command("export", lambda home, out: ["export", home / "zoo", "--out", out]),
    Command("import", lambda home, out: ["import", home / "arrays", "--out", out]),
    Command("card", lambda home, out: ["card", home / "zoo", "--out", out]),
    Command("info", lambda home, out: ["info", home / "zoo", "--figure", out.with_suffix(".png")]),
    Command("explore", lambda home, out: ["explore", home / "zoo", "--static", out]),
    Command("features", lambda home, out: benchmark(home, out, "invariant_statistics", "features")),
    Command("training", lambda home, out: benchmark(home, out, "flat_mlp(hidden=(4,))", "supervised", "frozen")),
    Command("report", lambda home, out: ["report", out], source="results"),
    Command("commit", lambda home, out: ["commit", home / "results", "--cards", out], source="cards"),
]
BENCH = {"run", "report", "commit"}
"""First words of `zoo-bench`; all others are of `zoo-builder`."""


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
            below = event in OPERATIONS and str(home.parent) in str(arguments[0])
            if below or event == CONNECTION:
                operations += 1
                if operations == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        from rnnzoo.loaders import cli as bench
        from rnnzoo.zoo_builder import cli as builder

        program, main = ("zoo-bench", bench.main) if words[0] in BENCH else ("zoo-builder", builder.main)
        sys.argv = [program, *map(str, words)]
        sys.addaudithook(count)
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        kill_at = None
        if code == 0:
            counted.write_text(str(operations), encoding="utf-8")
        os._exit(code)


def prepare(home: Path) -> None:
    """A zoo, its two parts, its arrays and its release; one with more tasks, and results on it."""
    for words in (
        build(home / "1", FEW, "--part", "1/2"),
        build(home / "2", FEW, "--part", "2/2"),
        build(home / "zoo"),
        build(home / "many", MANY),
        ["export", home / "zoo", "--out", home / "arrays"],
        ["release", home / "zoo", "--out", home / "release", "--kernel", "torch"],
        benchmark(home, home / "results", "step_only", "features"),
    ):
        code, _, said = run(words, home)
        if code:
            raise RuntimeError(said)
    (home / "cards").mkdir()


def bytes_of(place: Path) -> dict[str, bytes]:
    """The content of a file, or of all files below a folder."""
    paths = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): TIMES.sub(b"", path.read_bytes()) for path in paths}


def all_made(place: Path, hub: LoopbackHub) -> dict[str, bytes]:
    """What a command has made: files at a place, and in repositories of the hub with their tags."""
    found = bytes_of(place)
    for kind, name in hub.repositories:
        for tag in hub.repositories[kind, name].tags:
            found |= {f"{name}@{tag}: {file}": content for file, content in hub.files(name, tag, kind).items()}
    return found


def make_room(command: Command, home: Path, room: Path, hub: LoopbackHub) -> None:
    """A folder for a command as if it had never run, and a hub with nothing on it."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    hub.repositories.clear()
    if command.source:
        shutil.copytree(home / command.source, room / "out")


def disturb(command: Command, home: Path, hub: LoopbackHub, chance: random.Random, kills: int) -> list[str]:
    """Kill a command so many times; returns what went wrong."""
    wrong = []
    room = home.parent / command.name
    make_room(command, home, room, hub)
    words = command.words(home, room / "out")
    code, operations, said = run(words, home)
    if code:
        return [f"{command.name}: exit code {code}: {said[-300:]}"]
    (made,) = room.iterdir()
    expected, sources = all_made(made, hub), bytes_of(home)
    for _ in range(kills):
        make_room(command, home, room, hub)
        place = chance.randint(1, operations)
        run(words, home, kill_at=place)
        code, _, said = run(words, home)
        found = {path.name for path in room.iterdir()}
        if code and not (code == 2 and command.whole in said):
            wrong.append(f"{command.name} at {place}: exit code {code}: {said[-300:]}")
        elif found != {made.name}:
            wrong.append(f"{command.name} at {place}: left {sorted(found - {made.name})}")
        elif (there := all_made(made, hub)) != expected:
            differ = sorted(name for name in there.keys() | expected if there.get(name) != expected.get(name))
            wrong.append(f"{command.name} at {place}: {len(differ)} files differ, such as {differ[0]}")
        if bytes_of(home) != sources:
            wrong.append(f"{command.name} at {place}: its sources were changed")
            break
    print(f"{command.name:9} {kills} kills among {operations} operations, {len(wrong)} went wrong", flush=True)
    return wrong


def import_all(patch: pytest.MonkeyPatch) -> None:
    """Import what commands import, once for all children, and let them save often and fit readouts quickly."""
    patch.setenv("OMP_NUM_THREADS", "1")  # for torch
    from rnnzoo.command_line import draw_without_a_screen

    draw_without_a_screen()
    for name in ("explorer", "published", "release"):
        import_module(f"rnnzoo.zoo_builder.{name}")
    for name in ("evaluation", "report"):
        import_module(f"rnnzoo.loaders.benchmark.{name}")
    from rnnzoo.loaders import training
    from rnnzoo.loaders.benchmark.prediction import readout

    patch.setattr(training, "SAVE_SECONDS", 0.0)
    for name, few in {"MLP_STEPS": 20, "TREES_OF_NUMBERS": 3, "TREES_OF_CLASSES": 3}.items():
        patch.setattr(readout, name, few)


def main() -> None:
    """Kill, and print what happened; exits with 1 when something was lost or left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=120, help="in all (default 120)")
    parser.add_argument("--only", choices=[command.name for command in COMMANDS], nargs="+", help="these commands")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    arguments = parser.parse_args()
    began, chance, wrong = time.monotonic(), random.Random(arguments.seed), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rnnzoo-kills-")))
        hub, patch = stack.enter_context(LoopbackHub()), stack.enter_context(pytest.MonkeyPatch.context())
        hub.take_over(patch, folder / "cache", WRITE_TOKEN)
        import_all(patch)
        home = folder / "home"
        home.mkdir()
        prepare(home)
        chosen = [command for command in COMMANDS if not arguments.only or command.name in arguments.only]
        for command in chosen:
            wrong += disturb(command, home, hub, chance, -(-arguments.kills // len(chosen)))
    print("\n".join(wrong) or "nothing was lost, nothing was left", f"{time.monotonic() - began:.0f} s", sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

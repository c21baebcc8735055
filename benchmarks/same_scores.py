"""Shows that a change of files that decide scores left all scores as they were, and writes that down.

    python -m benchmarks.same_scores --base HEAD~1       # what has changed since that commit

A result has a key of the source files that made it, so a change of one of them asks for all results anew. Where it
only mends an error or a docstring, this program runs every encoder on every track that it fits, with the files of
the commit and with those of the working tree, on three small zoos (LSTMs, GRUs and tanh RNNs), and compares all
that results hold: scores, predictions, losses, distances. Where each number is the same, `same_scores.json` says
of the files that they score like the earlier ones, and keys stay. It sees what these runs reach, and no more: read
the change as well. Compiled kernels, new files and removed ones are not for it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnzoo.loaders.benchmark.code import DECIDING
from rnnzoo.loaders.benchmark.same_scores import TABLE, table_of

ROOT = Path(__file__).parent.parent
FOLDERS = ("loaders", "zoo_builder")
SMALL = ("--runs", "24", "--steps", "60", "--hidden-size", "12", "--set", "rollouts=8")
ZOOS = {
    "formal_languages": ("--cell", "lstm"),
    "sequential_digits": ("--cell", "gru"),
    "combination_locks_4": ("--cell", "tanh"),
}
OF_THE_RUN = ("key", "seconds", "command")
"""What results hold and two runs need not have alike."""
RUN_ALL = """
import sys
from rnnzoo import Zoo, evaluate
from rnnzoo.loaders.benchmark.prediction import readout
from rnnzoo.loaders.encoders import ENCODERS, PUBLISHED_FORMS
from rnnzoo.loaders.encoders.names import in_published_form
from rnnzoo.zoo_builder.errors import RnnzooError
zoo, out = sys.argv[1:]
task = Zoo(zoo).family.targets[0].name
readout.MLP_STEPS, readout.TREES_OF_NUMBERS, readout.TREES_OF_CLASSES = 60, 20, 10
few = {"steps": 6, "validate_every": 3}
for encoder in [*ENCODERS, *map(in_published_form, PUBLISHED_FORMS)]:
    for track in ("features", "frozen", "supervised"):
        for protocol, targets in (("strict", (task, "accuracy")), ("paper", (task,))):
            shared = {"seeds": 1, "settings": None if track == "features" else few, "out": out, "threads": 1}
            try:
                evaluate(encoder, zoo, track, targets, protocol=protocol, **shared)
            except RnnzooError as error:
                print(f"{encoder}, {track}, {protocol}: {error}", flush=True)
"""


def deciding_files(tree: Path) -> dict[str, bytes]:
    """The files of a checkout that decide scores: path -> bytes; C++ among them."""
    rooms = [name.removeprefix("rnnzoo.").replace(".", "/") for name in DECIDING]
    paths = [path for folder in FOLDERS for path in sorted((tree / folder).rglob("*"))]
    found = {path.relative_to(tree).as_posix(): path for path in paths if path.suffix in (".py", ".cpp", ".h")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if any(f"{name.removesuffix('.py')}/".startswith(f"{room}/") for room in rooms)
    }


def changed_files(before: Path, after: Path) -> list[str]:
    """Those that differ; ends with an error where a run cannot show that they score alike."""
    old, new = deciding_files(before), deciding_files(after)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    for name in changed:
        if name not in old or name not in new or not name.endswith(".py"):
            sys.exit(f"{name}: found a file that is new, gone or compiled; expected changes of Python files alone")
    return changed


def checkout(revision: str, folder: Path) -> Path:
    """The files of a commit, in a folder."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def importable(tree: Path, folder: Path) -> dict[str, str]:
    """The environment of a process that imports the package of a checkout. folder: for links to its rooms."""
    package = folder / "rnnzoo"
    package.mkdir(parents=True)
    for part in [*(tree / "rnnzoo").iterdir(), *(tree / name for name in (*FOLDERS, "dataset_cards"))]:
        (package / part.name).symlink_to(part)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def results_in(folder: Path) -> dict[str, Any]:
    """All JSON files of a folder of results: path -> content, without what is of the run alone."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        found[path.relative_to(folder).as_posix()] = {
            name: value for name, value in content.items() if name not in OF_THE_RUN
        }
    return found


def compare(before: Path, after: Path) -> int:
    """How many results are the same; ends with 1, and names the results and fields, where one is not."""
    old, new = results_in(before), results_in(after)
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    for name in differing[:20]:
        ours, theirs = new.get(name, {}), old.get(name, {})
        fields = [field for field in {**theirs, **ours} if ours.get(field) != theirs.get(field)]
        print(f"{name}: {', '.join(fields)} differ")
    if differing or not new:
        sys.exit(f"{len(differing)} of {len(new)} results differ")
    return len(new)


def write_down(changed: Sequence[str], before: Path, after: Path) -> None:
    """Let the changed files stand for those before, or for what those stand for; others keep their entries."""
    earlier = table_of(before / TABLE.relative_to(ROOT))
    table = dict(table_of(TABLE))
    for name in changed:
        label = f"rnnzoo/{name}"
        old, new = (hashlib.sha256((tree / name).read_bytes()).hexdigest()[:16] for tree in (before, after))
        stands_for = earlier.get(label, {}).get(old, old)
        table[label] = {new: stands_for}
        if new == stands_for:
            del table[label]
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and write down what scores alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD", help="commit to compare the working tree with (default HEAD)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rnnzoo-same-scores-") as temporary:
        place = Path(temporary)
        before = checkout(chosen.base, place / "base")
        changed = changed_files(before, ROOT)
        if not changed:
            print(f"no file that decides scores has changed since {chosen.base}")
            return
        print(f"changed since {chosen.base}:", *changed, sep="\n  ")
        trees = {"before": before, "after": ROOT}
        environments = {name: importable(tree, place / name) for name, tree in trees.items()}
        for zoo, fields in ZOOS.items():
            build = [sys.executable, "-m", "rnnzoo.zoo_builder", "build", zoo, "--preset", "smoke"]
            words = [*build, *SMALL, *fields, "--out", str(place / zoo)]
            subprocess.run(words, check=True, env=environments["before"], cwd=place)
            outs = {name: place / f"{name}-{zoo}" for name in trees}
            said = {name: place / f"{name}-{zoo}.txt" for name in trees}
            running = []
            for name, out in outs.items():
                with said[name].open("w") as file:
                    words = [sys.executable, "-c", RUN_ALL, str(place / zoo), str(out)]
                    running.append(
                        subprocess.Popen(words, env=environments[name], stdout=file, stderr=file, cwd=place)
                    )
            codes = [process.wait() for process in running]
            if any(codes):
                sys.exit("\n".join(path.read_text()[-2000:] for path in said.values()))
            print(f"{zoo}: {compare(outs['before'], outs['after'])} results, each the same")
        write_down(changed, before, ROOT)
        print(f"{TABLE.relative_to(ROOT)}: {len(changed)} files score like the earlier ones")


if __name__ == "__main__":
    main()

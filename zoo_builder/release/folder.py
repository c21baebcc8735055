"""A release: a folder that is a zoo, and a complete dataset repository besides.

release.json lists every other file with its size and sha256. It is written last, and the folder appears under
its name only when all of it is there.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import rnnzoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.escaping import for_yaml
from rnnzoo.zoo_builder.hub import EVAL_FILE
from rnnzoo.zoo_builder.release.card import card_of, render_template
from rnnzoo.zoo_builder.release.croissant import croissant
from rnnzoo.zoo_builder.release.edition import Edition
from rnnzoo.zoo_builder.release.facts import facts_of, named_zoo
from rnnzoo.zoo_builder.release.figures import draw_figures
from rnnzoo.zoo_builder.release.leaderboard import eval_yaml
from rnnzoo.zoo_builder.release.parquet import FOLDERS, ZooTables, check_weights, write_config
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, fit, is_there, read_json
from rnnzoo.zoo_builder.storage.manifest import FileEntry, Manifest, check_file, read_manifest
from rnnzoo.zoo_builder.storage.shards import file_sha256
from rnnzoo.zoo_builder.storage.writing import (
    TEMPORARY_FILES,
    check_new,
    clear_abandoned,
    new_folder,
    write_file,
    write_json,
)
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.verify import verify_zoo

RELEASE = "release.json"
FORMAT = "rnnzoo-release"
COMING = "coming"
"""Entry of a release.json while texts are replaced: text -> the hashes that it may have besides."""
FILE_NAME = re.compile(
    rf"{schema.FILE_NAME.pattern}|({'|'.join(FOLDERS.values())})/[a-z]+-[0-9]{{5,9}}-of-[0-9]{{5,9}}\.parquet"
)
"""The names of data: readers find them by such patterns, so a release must not have any that it does not list."""
Progress = Callable[[str, int], None]
"""Called with what is being done and how many rows of it are done since the last call."""


def release_zoo(
    zoo: Path,
    out: Path,
    kernel: Kernel,
    outputs: bool = False,
    items_folder: Path | None = None,
    progress: Progress = lambda what, rows: None,
    leaderboard: bool = True,
) -> dict[str, Any]:
    """Verify a zoo and write its release.

    Args:
        zoo: The folder of a finished zoo.
        out: The folder of the release, which must not exist yet.
        kernel: What recomputes metrics and outputs.
        outputs: Whether to write also the log-probabilities along the rollouts.
        items_folder: Where the user has the items, for a family whose items are read from files.
        progress: See `Progress`.
        leaderboard: Whether to write eval.yaml, which makes the release a benchmark of the hub.

    Returns:
        The content of release.json.

    Raises:
        RnnzooError: The zoo is unfinished, unsound or imported, `out` exists or cannot be written, or a written
            file differs from the zoo.
    """
    manifest = read_manifest(zoo)
    named_zoo(manifest)
    check_new(out)
    progress("verifying", 0)
    failed = [check for check in verify_zoo(zoo, kernel, items_folder) if not check.passed]
    if failed:
        raise RnnzooError(f"{zoo}: not a sound zoo: {failed[0].name}: {failed[0].found}")
    with new_folder(out) as folder:
        _write_release(zoo, manifest, folder, outputs, leaderboard, progress)
    return json.loads((out / RELEASE).read_bytes())


def _write_release(
    zoo: Path, manifest: Manifest, folder: Path, outputs: bool, leaderboard: bool, progress: Progress
) -> None:
    for name in (schema.MANIFEST, *manifest.files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(zoo / name, folder / name)
    tables = ZooTables(folder, manifest)
    for config in ("default", "rollouts", *(["outputs"] if outputs else [])):
        write_config(tables, config, folder, partial(progress, f"config {config}"))
    check_weights(tables, folder, partial(progress, "reading back"))
    progress("figures and card", 0)
    draw_figures(tables, folder)
    edition = Edition.unpublished(manifest)
    if leaderboard:
        write_file(folder / EVAL_FILE, eval_yaml(tables, named_zoo(manifest).title).encode())
    for name, content in _texts(tables, edition).items():
        write_file(folder / name, content)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_json(folder / RELEASE, _contents(folder, edition, sorted(names)))


def _texts(tables: ZooTables, edition: Edition) -> dict[str, bytes]:
    """Everything that is written for people, and for catalogues: file -> content."""
    facts = facts_of(tables, edition)
    card = card_of(tables, facts)
    cited = {name: for_yaml(facts[name]) for name in ("title", "authors", "url")}
    cited |= {"version": for_yaml(edition.version), "is_of_paper": facts["is_of_paper"]}
    texts = {
        "README.md": card,
        "LICENSE": render_template("LICENSE.jinja", facts) + "\n",
        "CITATION.cff": render_template("CITATION.cff.jinja", cited) + "\n",
        "croissant.json": json.dumps(croissant(tables, edition, facts, card), indent=1) + "\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def _contents(folder: Path, edition: Edition, names: Iterable[str]) -> dict[str, Any]:
    """What release.json says of the other files of a folder, of these names."""
    manifest = read_manifest(folder)
    return {
        "format": FORMAT,
        "format_version": manifest.format_version,
        "zoo": manifest.zoo,
        "rnnzoo": rnnzoo.__version__,
        **asdict(edition),
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in names
        },
    }


def check_release(folder: Path) -> dict[str, Any]:
    """The content of a folder's release.json, when every file is as it says. Other files are none of ours.

    Raises:
        RnnzooError: The folder is no release, or one that was changed. The error names the file.
    """
    manifest = read_manifest(folder)
    if not is_there(folder / RELEASE):
        raise RnnzooError(f"{folder}: a zoo, but no release of one: no {RELEASE}; `zoo-builder release` makes one")
    path = file_in(folder, RELEASE)
    values = read_json(path)
    try:
        files, repo_id, _ = dict(values["files"]), str(values["repo_id"]), values["rnnzoo"]
        expected = {name: fit(FileEntry, entry, f"{path}: {name}") for name, entry in files.items()}
        coming = {name: list(hashes) for name, hashes in values.get(COMING, {}).items()}
        datetime.date.fromisoformat(values["published"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RnnzooError(f"{path}: not what `zoo-builder release` writes: {error!r}") from error
    kind = {"format": FORMAT, "format_version": manifest.format_version, "zoo": manifest.zoo}
    if not values.items() >= kind.items() or "/" not in repo_id:
        raise RnnzooError(f"{path}: not what `zoo-builder release` writes for the zoo {manifest.zoo}")
    present = set(schema.names_in(folder, FILE_NAME))
    missing = {name for name in expected if not is_there(folder / name)}
    for odd in sorted(present - expected.keys() | missing):
        found = "is missing, but listed in" if odd in missing else "is there, but not listed in"
        raise RnnzooError(f"{folder / odd}: {found} {RELEASE}; the release was changed, make it anew")
    for file, entry in expected.items():
        path = file_in(folder, file)
        try:
            check_file(path, entry)
        except RnnzooError as error:
            if file_sha256(path) not in coming.get(file, []):
                raise RnnzooError(f"{path}: not the file that {RELEASE} lists; make the release anew") from error
    return values


def address_release(folder: Path, release: dict[str, Any], repo_id: str, tag: str) -> dict[str, Any]:
    """Write the texts of a checked release anew for a repository and a tag, and return the new release.json.

    While they are replaced, release.json accepts the old ones and the new: whoever is stopped in the midst has a
    release still. The same call goes on then, and removes what was left half written.
    """
    clear_abandoned(folder.glob(TEMPORARY_FILES))
    edition = Edition(repo_id, tag, release["published"])
    if release.items() >= asdict(edition).items() and COMING not in release:
        return release
    texts = _texts(ZooTables(folder, read_manifest(folder)), edition)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in texts.items()}
    accepted = release.get(COMING, {})
    coming = {name: [*accepted.get(name, []), sha256] for name, sha256 in hashes.items()}
    write_json(folder / RELEASE, release | {COMING: coming})
    for name, content in texts.items():
        write_file(folder / name, content)
    entries = {name: {"bytes": len(texts[name]), "sha256": sha256} for name, sha256 in hashes.items()}
    contents = {name: value for name, value in release.items() if name != COMING}
    contents |= {"rnnzoo": rnnzoo.__version__, **asdict(edition), "files": release["files"] | entries}
    write_json(folder / RELEASE, contents)
    return contents


def files_of(release: dict[str, Any]) -> list[str]:
    """Names of all files of a release, sorted, release.json among them."""
    return sorted([*release["files"], RELEASE])

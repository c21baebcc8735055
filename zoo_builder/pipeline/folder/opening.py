"""The folder that a zoo is built in, opened for a config and tidied.

Several builds may do this in one folder at once, in any order and dying at any moment.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.locks import PLAN, locked, never, try_lock
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import check_fingerprints
from rnnzoo.zoo_builder.storage import schema
from rnnzoo.zoo_builder.storage.files import file_in, is_there, parse_json, read_bytes
from rnnzoo.zoo_builder.storage.manifest import Manifest, read_manifest
from rnnzoo.zoo_builder.storage.writing import TEMPORARY_FILES, clear_abandoned, write_json
from rnnzoo.zoo_builder.zoos import ZooConfig, config_of

_FINGERPRINTS = "fingerprints"
_SHARD = re.compile(r"\.([a-z]+-\d{5}-of-\d{5})\.")


def open_folder(
    config: ZooConfig,
    folder: Path,
    stop_requested: Callable[[], bool] = never,
    fingerprints: Mapping[str, str] | None = None,
) -> Manifest | None:
    """Get a folder ready for the build of a config; the manifest if that zoo is finished there.

    Leaves the config in an empty folder, or checks that it is the one left there by an earlier build; likewise the
    plan's fingerprints, where they are given. Raises RnnzooError for a folder that holds something else, and
    Interrupted where that is asked for.
    """
    finished = finished_zoo(config, folder, fingerprints)
    if finished is not None:
        return finished
    check_folder(config, folder)
    plan_file = plan_path(folder)
    if not is_there(plan_file):
        _make(plan_file.parent)
    with locked(folder, PLAN, stop_requested):
        finished = finished_zoo(config, folder, fingerprints)  # perhaps just now, by another build
        if finished is not None:
            return finished
        if is_there(plan_file):
            check_same_config(config, read_config(folder), folder)
            check_same_family(fingerprints or {}, folder)
        else:
            write_json(plan_file, encode_plan(config, fingerprints))
    _clear_leftovers(folder)
    return None


def check_folder(config: ZooConfig, folder: Path) -> None:
    """Raise RnnzooError for a folder in which the build of a config cannot begin, or go on. Nothing is written."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each) or each == each.parent)
    if not os.path.isdir(there):
        kind = "a file" if is_there(there) else "a link that leads nowhere"
        raise RnnzooError(f"{there}: {kind}, expected a folder to build in")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RnnzooError(f"{there}: may not be written to, expected a folder to build in")
    for room in schema.ROOMS:
        if os.path.islink(folder / room):
            raise RnnzooError(f"{folder / room}: a link, expected a folder or none: builds write through no links")
    if not is_there(plan_path(folder)):
        _check_empty(folder)
        return
    try:
        check_same_config(config, read_config(folder), folder)
    except RnnzooError:
        if not is_finished(folder):  # else by another build just now
            raise


def plan_path(folder: Path) -> Path:
    return folder / schema.BUILD_FOLDER / "plan.json"


def read_config(folder: Path) -> ZooConfig:
    """The config of the build in a folder. Raises RnnzooError where none was begun."""
    if not is_there(plan_path(folder)):
        raise RnnzooError(f"{folder}: found no build, expected a folder in which one was begun")
    path = file_in(folder, str(plan_path(Path())))
    return parse_config(read_bytes(path), str(path))


def encode_plan(config: ZooConfig, fingerprints: Mapping[str, str] | None) -> dict[str, Any]:
    """What a build leaves behind: its config, and what its family gave it."""
    return config.to_dict() | ({_FINGERPRINTS: dict(fingerprints)} if fingerprints else {})


def parse_config(content: bytes, where: str) -> ZooConfig:
    """A config from the JSON that a build leaves behind; `where` names the source in errors."""
    values = _parse_plan(content, where)
    return config_of(
        schema.current_names({name: value for name, value in values.items() if name != _FINGERPRINTS}), where
    )


def check_same_family(fingerprints: Mapping[str, str], folder: Path) -> None:
    """Raise RnnzooError where a build was begun in a folder to which the family gave something else.

    A plan of an earlier version has no fingerprints, and is taken as it is.
    """
    path = file_in(folder, str(plan_path(Path())))
    check_plan(fingerprints, read_bytes(path), str(path))


def check_plan(fingerprints: Mapping[str, str], content: bytes, where: str) -> None:
    """The same, of the JSON that a build left behind."""
    found = _parse_plan(content, where).get(_FINGERPRINTS, {})
    if not isinstance(found, dict):
        raise RnnzooError(f"{where}: {_FINGERPRINTS}: found {found!r:.80}, expected a JSON object")
    check_fingerprints(fingerprints, found, where)


def _parse_plan(content: bytes, where: str) -> dict[str, Any]:
    values = parse_json(content, where)
    if not isinstance(values, dict):
        raise RnnzooError(f"{where}: found {type(values).__name__}, expected a JSON object")
    return values


def finished_zoo(
    config: ZooConfig, folder: Path, fingerprints: Mapping[str, str] | None = None
) -> Manifest | None:
    """The manifest of the zoo in `folder`, if one of this config is finished there; what its build left goes.

    Raises RnnzooError for a zoo of another config, or of a family that gave it others than these fingerprints.
    """
    manifest = read_finished(config, folder, fingerprints)
    if manifest is not None:
        shutil.rmtree(folder / schema.BUILD_FOLDER, ignore_errors=True)
    return manifest


def read_finished(
    config: ZooConfig, folder: Path, fingerprints: Mapping[str, str] | None = None
) -> Manifest | None:
    """The same; the folder stays as it is."""
    if not is_finished(folder):
        return None
    manifest = read_manifest(folder)
    where = str(folder / schema.MANIFEST)
    check_same_config(config, config_of(manifest.config, where), folder)
    check_fingerprints(fingerprints or {}, manifest.fingerprints or {}, where)
    return manifest


def is_finished(folder: Path) -> bool:
    return is_there(folder / schema.MANIFEST)


def check_same_config(wanted: ZooConfig, found: ZooConfig, where: Path | str) -> None:
    """Raise RnnzooError, naming all differences, unless the config found in a place is the one wanted."""
    there = found.to_dict()
    changed = [
        f"{name} is {there[name]!r} there, {value!r} was asked for"
        for name, value in wanted.to_dict().items()
        if name != "preset" and there[name] != value
    ]
    if changed:
        raise RnnzooError(
            f"{where}: holds a zoo of another config: {'; '.join(changed)}; choose another folder, "
            "or remove that one"
        )


def _check_empty(folder: Path) -> None:
    strangers = sorted(path.name for path in folder.glob("*") if not schema.SYSTEM_FILES.fullmatch(path.name))
    if strangers and not (
        is_there(plan_path(folder)) or is_finished(folder)
    ):  # else begun by another build just now
        raise RnnzooError(f"{folder}: found {strangers[0]!r} in it, expected an empty folder or a zoo begun there")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RnnzooError(f"{folder}: cannot be made: {error.strerror or error}") from error


def _clear_leftovers(folder: Path) -> None:
    """Remove what a build that was killed had half written: of shards that nobody is writing to now."""
    for leftover in folder.rglob(TEMPORARY_FILES):
        shard = _SHARD.match(leftover.name)
        lock = try_lock(folder, shard[1]) if shard else None
        if lock is not None:
            with lock:
                clear_abandoned([leftover])

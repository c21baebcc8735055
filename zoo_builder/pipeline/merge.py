"""Merges the folders that the parts of a build were made in into one zoo.

A finished zoo is a part with all shards, or with the sound ones where some of its files are broken.

Shards are placed one after the other, each only if its files are as its record says, and the record last. A merge
may be stopped at any moment and begun again, and what is missing or broken costs nothing of the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError, some_of
from rnnzoo.zoo_builder.pipeline.folder.arithmetic import claim_arithmetic, describe_arithmetics
from rnnzoo.zoo_builder.pipeline.folder.finish import finish_folder
from rnnzoo.zoo_builder.pipeline.folder.opening import (
    check_same_config,
    check_same_family,
    finished_zoo,
    is_finished,
    open_folder,
    plan_path,
    read_config,
)
from rnnzoo.zoo_builder.pipeline.folder.salvage import salvage_shard
from rnnzoo.zoo_builder.pipeline.folder.unbuilt import find_unbuilt
from rnnzoo.zoo_builder.pipeline.locks import FINISH, locked, locks_at_once
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import check_shard, read_record, record_path, shard_files
from rnnzoo.zoo_builder.storage.files import is_there
from rnnzoo.zoo_builder.storage.manifest import Manifest, check_files, read_manifest
from rnnzoo.zoo_builder.storage.schema import MANIFEST, rollouts_file, weights_file
from rnnzoo.zoo_builder.storage.writing import replacing, sync_folder, temporary_for
from rnnzoo.zoo_builder.zoos import ZooConfig, config_of

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Shards of each kind that an error names."""


def config_of_parts(folders: Sequence[Path]) -> ZooConfig:
    """The config that all these folders have parts of; a finished zoo is a part with all shards.

    Raises:
        RnnzooError: The configs differ, or a folder holds no part of a zoo.
    """
    configs = []
    for folder in folders:
        if is_finished(folder):
            configs.append(config_of(read_manifest(folder).config, str(folder / MANIFEST)))
        elif is_there(plan_path(folder)):
            configs.append(read_config(folder))
        else:
            raise RnnzooError(f"{folder}: expected a part of a zoo, found no {plan_path(Path())} in it")
        check_same_config(configs[0], configs[-1], folder)
    return configs[0]


def merge_parts(plan: ZooPlan, folders: Sequence[Path], out: Path, placed: Callable[[], None]) -> Manifest:
    """Bring the shards of a zoo together from the folders of its parts, and finish the zoo.

    Files are linked where that can be done, otherwise copied.

    Args:
        plan: The plan of the whole zoo.
        folders: The folders of the parts. Where one holds the finished zoo, and all its files are sound, these are
            taken, and no others; shard by shard where this process may not hold the locks of all of them at once.
        out: Where the zoo goes. Some of its shards may be there already.
        placed: Called after each shard.

    Returns:
        The manifest of the finished zoo.

    Raises:
        RnnzooError: The parts were computed in several arithmetics, or in another one than a build in `out`. Or
            shards are missing or broken in all folders: that error comes at the end and names them; the others are
            in `out` then.
    """
    problems: dict[str, list[str]] = {}
    try:
        for folder in folders:
            if not is_finished(folder):
                check_same_family(plan.fingerprints, folder)
        finished = open_folder(plan.config, out, fingerprints=plan.fingerprints)
        at_once = not finished and len(plan.shards) < locks_at_once()
        whole = next(filter(_is_sound_zoo, folders), None) if at_once else None
        if finished is None and whole is not None:
            finished = _take_whole(plan, whole, out, placed)
        elif finished is None:
            arithmetic = _find_arithmetic(plan, [*folders, out])
            if arithmetic is not None:
                claim_arithmetic(out, arithmetic)
            problems = _place_shards(plan, folders, out, placed)
            finished = finish_folder(plan, out)
    except RnnzooError:
        if not is_finished(out):  # else another merge has finished it meanwhile, and taken the locks away
            raise
        finished = finished_zoo(plan.config, out)
    if finished is None:
        raise RnnzooError(_describe(problems, out))
    return finished


def _is_sound_zoo(folder: Path) -> bool:
    """Whether a folder holds a finished zoo, and all its files are as the manifest says."""
    if not is_finished(folder):
        return False
    try:
        check_files(folder, read_manifest(folder))
    except RnnzooError as error:
        log.warning("%s; the shards of this zoo whose files are sound are merged", error)
        return False
    return True


def _take_whole(plan: ZooPlan, zoo: Path, out: Path, placed: Callable[[], None]) -> Manifest | None:
    """Place all files of a finished zoo, the manifest last, while nobody builds in `out`."""
    manifest = read_manifest(zoo)
    of_shards = [(weights_file(shard.name), rollouts_file(shard.name)) for shard in plan.shards]
    placed_first = set(itertools.chain(*of_shards))
    rest = [name for name in [*manifest.files, MANIFEST] if name not in placed_first]
    with ExitStack() as held:
        for name in [*(shard.name for shard in plan.shards), FINISH]:
            held.enter_context(locked(out, name))
        for names in of_shards:
            for name in names:
                _place(zoo / name, out / name)
            placed()
        for name in rest:
            _place(zoo / name, out / name)
    return finished_zoo(plan.config, out)


def _place_shards(
    plan: ZooPlan, folders: Sequence[Path], out: Path, placed: Callable[[], None]
) -> dict[str, list[str]]:
    """Place the shards that are missing; returns what is wrong with those that could not be placed."""
    problems = {}
    unplaced = {shard.name for shard in find_unbuilt(out, plan.shards)}
    for shard in plan.shards:
        if shard.name in unplaced:
            with locked(out, shard.name):
                found = [] if is_there(record_path(out, shard)) else _fetch(shard, folders, out)
                if not is_there(record_path(out, shard)):
                    problems[shard.name] = found
                    continue
        placed()
    return problems


def _find_arithmetic(plan: ZooPlan, folders: Sequence[Path]) -> str | None:
    """The arithmetic of the shards in these folders, None without any. Raises RnnzooError for several."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for arithmetic in _arithmetics(plan, folder):
            found.setdefault(arithmetic, []).append(str(folder))
    if len(found) > 1:
        raise RnnzooError(
            f"found parts of several arithmetics, expected one: {describe_arithmetics(found)}. Build those of "
            "one of them again, in other folders, with the kernel of the rest"
        )
    return next(iter(found), None)


def _arithmetics(plan: ZooPlan, folder: Path) -> set[str]:
    """Those that a folder's zoo, or the records of its shards, name."""
    if is_finished(folder):
        return {read_manifest(folder).arithmetic or ""} - {""}
    found = set()
    for shard in plan.shards:
        with contextlib.suppress(RnnzooError):  # no record, or a broken one: that is told later
            found.add(read_record(folder, shard).arithmetic)
    return found


def _fetch(shard: ShardPlan, folders: Sequence[Path], out: Path) -> list[str]:
    """Place a shard from the first folder that has it whole; returns what is wrong with it in those before."""
    problems = []
    for folder in folders:
        if is_finished(folder) or is_there(record_path(folder, shard)):
            try:
                _take_shard(shard, folder, out)
            except RnnzooError as error:
                problems.append(str(error))
            else:
                break
    return problems


def _take_shard(shard: ShardPlan, folder: Path, out: Path) -> None:
    """Place a shard from a folder, its record last. Raises RnnzooError where it is not whole there."""

    def place(name: str) -> None:
        _place(folder / name, out / name)

    if is_finished(folder):
        salvage_shard(folder, read_manifest(folder), shard, out, place)
        return
    check_shard(folder, shard)
    for name in [*shard_files(shard), str(record_path(Path(), shard))]:
        place(name)


def _place(source: Path, target: Path) -> None:
    """Link a file, or copy it where that cannot be done; whole or not at all."""
    link = temporary_for(target)  # a new name: what is opened under it is never the source
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), link)  # of a link, what it leads to
    except OSError:
        with open(source, "rb") as content, replacing(target) as file:
            shutil.copyfileobj(content, file, 1 << 20)
        return
    try:
        os.replace(link, target)
        sync_folder(target.parent)
    finally:
        link.unlink(missing_ok=True)  # it is still there where `target` was the same file already


def _describe(problems: Mapping[str, Sequence[str]], out: Path) -> str:
    """What is missing and what is broken, in words. problems: of each shard that could not be placed."""
    missing = [name for name, found in problems.items() if not found]
    broken = [found[0] for found in problems.values() if found]
    texts = [f"{len(problems)} of the zoo's shards are missing or broken in all parts"]
    if missing:
        texts.append(f"missing: {some_of(missing, MOST_NAMED)}")
    if broken:
        texts.append(f"broken: {some_of(broken, MOST_NAMED)}")
    return (
        f"{out}: {'; '.join(texts)}. The others are here: a build of the same zoo in this folder adds what is "
        "named; or build that again by the command of its part, and merge again"
    )

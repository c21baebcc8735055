"""All checks of a finished zoo, or of the shards of a build that is not finished, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.identity.parts import check_part, files_of
from rnnzoo.zoo_builder.identity.reference import Reference
from rnnzoo.zoo_builder.pipeline.plan.stored import check_stored
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ShardPlan, ZooPlan
from rnnzoo.zoo_builder.pipeline.shard.record import check_shard, record_path
from rnnzoo.zoo_builder.storage.files import is_there
from rnnzoo.zoo_builder.storage.manifest import read_manifest
from rnnzoo.zoo_builder.training.kernels import Kernel
from rnnzoo.zoo_builder.verify.contents import check_against, check_digest, check_rows
from rnnzoo.zoo_builder.verify.files import check_listed, check_metadata, check_splits
from rnnzoo.zoo_builder.verify.opened import OpenedZoo
from rnnzoo.zoo_builder.verify.scores import LeftOut, check_metrics, check_rollout_losses

FILES = "files"
"""The check of all files, byte for byte."""
AGAINST = "against"
"""The check whether a zoo is the one that was asked for: a sound zoo may fail it."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found.

    Attributes:
        name: What was looked at.
        passed: Whether it is as it should be, as far as one can look.
        found: What was found, in words.
        left_out: Whether it could not be looked at.
    """

    name: str
    passed: bool
    found: str
    left_out: bool = False


def verify_zoo(
    folder: Path,
    kernel: Kernel,
    items_folder: Path | None = None,
    sample: int = 48,
    against: Reference | None = None,
) -> list[Check]:
    """Check the zoo in `folder`.

    Args:
        folder: The folder of a finished zoo.
        kernel: What recomputes losses and scores.
        items_folder: Where the user has the items, for a family whose items are read from files.
        sample: How many checkpoints have their metrics recomputed from the weights.
        against: The zoo that this one should be. None stands for any.

    Returns:
        The checks in order. A failed check ends the list.

    Raises:
        RnnzooError: There is no finished zoo to check.
    """
    manifest = read_manifest(folder)
    checks: list[Check] = []
    passed = partial(_passed, checks)
    if not passed(FILES, lambda: check_listed(folder, manifest)):
        return checks
    zoo = OpenedZoo.of(folder, manifest)
    (
        passed("metadata", lambda: check_metadata(zoo))
        and passed("config", lambda: check_stored(manifest, zoo.all_rows))
        and passed("splits", lambda: check_splits(zoo))
        and passed("weights", lambda: check_rows(zoo))
        and passed("rollout losses", lambda: check_rollout_losses(zoo, kernel, sample))
        and passed("metrics", lambda: check_metrics(zoo, kernel, items_folder, sample))
        and passed("digest", lambda: check_digest(zoo))
        and against is not None
        and passed(AGAINST, lambda: check_against(zoo, against))
    )
    return checks


def verify_part(plan: ZooPlan, folder: Path, against: Reference | None = None) -> list[Check]:
    """Check the shards that a build has finished so far.

    Args:
        plan: The plan of the build.
        folder: Its folder.
        against: The zoo that these shards should be of. None stands for any.

    Returns:
        The checks in order. A failed check ends the list.

    Raises:
        ParameterError: Of the zoo to compare with only a digest is known.
    """
    if against is not None:
        files_of(against)  # before all shards are read
    built = [shard for shard in plan.shards if is_there(record_path(folder, shard))]
    checks: list[Check] = []
    if _passed(checks, "shards", lambda: _check_shards(plan, folder, built)) and against is not None:
        _passed(checks, AGAINST, lambda: check_part(plan, folder, built, against))
    return checks


def _passed(checks: list[Check], name: str, look: Callable[[], str]) -> bool:
    """Whether a look at something finds nothing wrong with it; adds what was found to the checks."""
    try:
        checks.append(Check(name, True, look()))
    except LeftOut as reason:
        checks.append(Check(name, True, str(reason), left_out=True))
    except RnnzooError as error:
        checks.append(Check(name, False, str(error)))
    return checks[-1].passed


def _check_shards(plan: ZooPlan, folder: Path, built: Sequence[ShardPlan]) -> str:
    """At least one shard is finished, and each file of those that are is as its record says."""
    counted = f"{len(built)} of {len(plan.shards)} are finished"
    if not built:
        raise RnnzooError(f"{counted}: there is nothing to check yet")
    for shard in built:
        check_shard(folder, shard)
    return f"{counted}, each file as when it was stored"

"""What a family of tasks owes its zoos, checked before anything is trained: see `tasks/family.py`.

A family may come from anywhere. A slip in it would otherwise show in the scores of a finished zoo, or never.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from rnnzoo.zoo_builder.errors import RnnzooError, blaming
from rnnzoo.zoo_builder.pipeline.plan.contract.asked import Asked
from rnnzoo.zoo_builder.pipeline.plan.contract.columns import (
    check_columns,
    check_origin,
    check_place,
    check_targets,
)
from rnnzoo.zoo_builder.pipeline.plan.contract.encodings import check_encoding, check_reading
from rnnzoo.zoo_builder.pipeline.plan.contract.items import check_items, check_numbers, check_shown, check_views
from rnnzoo.zoo_builder.pipeline.plan.contract.pictures import check_pictures
from rnnzoo.zoo_builder.pipeline.plan.contract.scores import check_scores
from rnnzoo.zoo_builder.pipeline.plan.contract.tasks import check_ood, check_tasks, distinct_tasks
from rnnzoo.zoo_builder.pipeline.plan.fingerprints import differing
from rnnzoo.zoo_builder.pipeline.plan.zoo_plan import ZooPlan
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks import check_attributes
from rnnzoo.zoo_builder.tasks.family import TaskFamily
from rnnzoo.zoo_builder.zoos import ZooConfig

LOOKED_AT = 100
"""Of the tasks of a zoo: each is looked at on its own, and a zoo may have a million."""


def checked_plan(config: ZooConfig, items_folder: Path | None = None) -> ZooPlan:
    """The plan of a zoo that is about to be built: its family is loaded twice, and looked at.

    Args:
        config: What to build.
        items_folder: Where the user has the items, for a family whose items are read from files.

    Raises:
        RnnzooError: The items cannot be found or read, or the family is not as it has to be.
    """
    plan = ZooPlan(config, config.make_family(items_folder))
    check_family(plan, config.make_family(items_folder))
    return plan


def check_family(plan: ZooPlan, again: TaskFamily[Any] | None = None) -> None:
    """Look at all that a build, and what comes after it, asks of a family.

    Args:
        plan: Of a zoo that is about to be built.
        again: The plan's family, loaded a second time. None asks the first one twice.

    Raises:
        RnnzooError: Something is not as `TaskFamily` asks for it; the message says what. What a method of the
            family raised is the error's cause.
    """
    name, spec = plan.family.name, plan.spec  # a config without RNNs is no slip of its family
    try:
        with blaming("contract"):
            check_attributes(type(plan.family))
            _check(plan, spec, cast(TaskFamily[Any], Asked(plan.family)))
            _check_alike(plan, plan.family if again is None else again)
    except RnnzooError as error:
        raise RnnzooError(f"family {name!r}: {error}") from error.__cause__ or error


def _check(plan: ZooPlan, spec: RNNSpec, family: TaskFamily[Any]) -> None:
    check_place(plan.family)
    check_origin(plan.config.zoo, plan.family.zoos[plan.config.zoo])
    check_encoding(plan.family)
    check_columns(family, spec)
    tasks = distinct_tasks(family, plan.config.runs, plan.config.seed, LOOKED_AT)
    some = tasks[:LOOKED_AT]
    check_tasks(family, tasks, some)
    check_targets(family)
    check_ood(family, tasks, some)
    check_items(family)
    check_numbers(family, some)
    check_views(family, some)
    check_reading(family, some)
    check_scores(family, some)
    if not family.generates:
        check_shown(family, some, plan.config.rollouts)
    check_pictures(family, some)


def _check_alike(plan: ZooPlan, again: TaskFamily[Any]) -> None:
    """A zoo is a function of its config: what a family gives it has to be the same whenever it is asked."""
    found = ZooPlan(plan.config, again).fingerprints
    if names := differing(found, plan.fingerprints):
        raise RnnzooError(
            f"{names[0]}: found others when the family was loaded and asked a second time, expected the same: "
            "what is drawn at random needs a seed, and sets an order"
        )

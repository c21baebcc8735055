"""Runs a task for each of many items on a cluster, a bounded number at a time."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import rnnzoo
from rnnzoo.zoo_builder.cluster.connection import DEATHS, Cluster
from rnnzoo.zoo_builder.errors import ParameterError

Item = TypeVar("Item")

MOST_QUEUED = 1000
"""Tasks handed to the cluster ahead of their time: enough to keep it busy, few enough to take back."""

LOOK_SECONDS = 0.5

SHARES = {
    "auto": (0, 1, "a share of a GPU, from 0 to 1"),
    "cpu": (0, 0, "none"),
    "cuda": (0.001, 1, "a share of a GPU, above 0 and up to 1"),
}
"""By device: the least and the most of a GPU that a task may ask for."""


@dataclass(frozen=True)
class Resources:
    """What a task holds while it runs: CPUs, one thread each, and GPUs, of which several tasks may share one."""

    cpus: int
    gpus: float

    @classmethod
    def asked_for(cls, threads: int | None, device: str, gpus: float | None) -> Resources:
        """From threads (default 1), device and GPUs a task (default: 1 with device cuda, else none)."""
        if device not in SHARES:
            raise ParameterError("device", f"found {device!r}, expected one of {', '.join(SHARES)}")
        gpus = float(device == "cuda") if gpus is None else gpus
        least, most, expected = SHARES[device]
        if not least <= gpus <= most:
            raise ParameterError("gpus_per_task", f"found {gpus:g} with device {device}, expected {expected}")
        return cls(threads or 1, gpus)

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    def options(self) -> dict[str, Any]:
        """For `.options` of a Ray function. Only deaths are worth another try: an error would come again."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "max_retries": DEATHS,
            "retry_exceptions": False,
        }


@dataclass(frozen=True)
class TaskEnvironment:
    """What a task takes over from the process that sent it."""

    threads: int
    folder: Path = field(default_factory=Path.cwd)
    version: str = rnnzoo.__version__

    def take_over(self) -> None:
        """Use its number of threads, and stand where it stands, so that relative paths mean the same."""
        if self.version != rnnzoo.__version__:
            raise ParameterError(
                "ray", f"node {platform.node()} has rnnzoo {rnnzoo.__version__}, expected {self.version}"
            )
        import torch  # the commands import this room before they need torch

        torch.set_num_threads(self.threads)
        if self.folder.is_dir():
            os.chdir(self.folder)


def check_shared(path: Path, parameter: str) -> None:
    """In a task: raise RnnzooError, naming a parameter, unless this node sees what its sender left at `path`."""
    if not path.exists():
        raise ParameterError(
            parameter,
            f"node {platform.node()} finds no {path.absolute()}, which its sender has just written; "
            "expected a folder that all nodes share",
        )


def as_finished(
    cluster: Cluster,
    items: deque[Item],
    submit: Callable[[Item], Any],
    meanwhile: Callable[[], None] = lambda: None,
) -> Generator[tuple[Item, Any], None, None]:
    """Submit a task for each item, and yield items with results as they come; `items` may grow on the way.

    meanwhile: called about twice a second. The first error, RnnzooError where it is the user's to mend, stops
    everything: tasks still running end with the connection, or are cancelled where that stays, as when the caller
    stops listening.
    """
    ray = cluster.ray
    running: dict[Any, Item] = {}
    try:
        while items or running:
            while items and len(running) < MOST_QUEUED:
                item = items.popleft()
                running[submit(item)] = item
            finished, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
            meanwhile()
            for reference in finished:
                item = running.pop(reference)
                yield item, cluster.get(reference, str(item))
    finally:
        if cluster.borrowed and running:
            # Ray ends this whole process when it cancels a task that is just ending (2.60: "Tried to complete task
            # that was not pending"): those that fail for the same reason get the time to do so by themselves.
            _, running_on = ray.wait(list(running), num_returns=len(running), timeout=LOOK_SECONDS)
            for reference in running_on:
                ray.cancel(reference, force=True)

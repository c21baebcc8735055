"""Reaches a Ray cluster, or starts one on this machine for as long as it is needed.

Ray reports its use to its makers unless told not to; it is told here, before it is imported.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError

LOCAL = "local"
"""The address of a cluster that is started on this machine."""

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster started here: room for the images of a zoo, which is all that goes there."""

STARTS = 3
"""How often to try to start a cluster."""

DEATHS = 10
"""How often a task is begun again when its worker or node dies, before it is given up."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # the first error of a task is raised; the others would be shown too
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning at every start of a task without a GPU
}
UNHEARD = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to. ray: the module. started: by us, for this work alone.

    borrowed: the connection was there before and stays. Else leaving `connect` ends it, and Ray ends our tasks.
    """

    ray: ModuleType
    started: bool
    borrowed: bool

    def __str__(self) -> str:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        return f"a Ray cluster ({len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs)"

    def check_room(self, cpus: float, gpus: float) -> None:
        """Raise RnnzooError, or warn where nodes may still join, if no node has room for a task."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
            return
        most = max((node.get("CPU", 0) for node in nodes), default=0)
        message = (
            f"no node has room for a task of {cpus:g} CPUs (threads) and {gpus:g} GPUs; "
            f"found {len(nodes)} nodes, of {most:g} CPUs at most, and {sum(n.get('GPU', 0) for n in nodes):g} GPUs"
        )
        if self.started:
            raise ParameterError("ray", message)
        logging.getLogger(__name__).warning("ray: %s; waiting for one that has", message)

    def get(self, reference: Any, name: str = "this process") -> Any:
        """The result of a task of this name. Raises RnnzooError where the user can mend what went wrong."""
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, RnnzooError):
                raise cause from None
            if "failed to import on the worker" in str(error):
                raise RnnzooError(
                    "ray: a node could not import rnnzoo; expected it, as installed here, on every node"
                ) from error
            if isinstance(error, exceptions.RayTaskError):
                raise
            last = str(error).strip().partition("\n")[0]
            raise ParameterError("ray", f"{name}: given up after {DEATHS + 1} deaths: {last}") from error


@contextlib.contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """The cluster at `address` ("local": a new one here), left, or stopped if it was started, at the end.

    A connection that the process has already is used as it is. Raises RnnzooError where there is no Ray or no
    cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield Cluster(ray, started=False, borrowed=True)
        return
    try:
        if address == LOCAL:
            _start(ray)
        else:
            _knock(address)
            ray.init(address=address, **UNHEARD)
    except Exception as error:  # Ray raises exceptions of many kinds here, also plain ones
        raise ParameterError("ray", f"found {address!r}, but no Ray cluster was reached there: {error}") from error
    try:
        yield Cluster(ray, started=address == LOCAL, borrowed=False)
    finally:
        ray.shutdown()


def _start(ray: Any) -> None:
    """Start a cluster on this machine. Ray gives up where one is slow to start: on a busy machine, try again."""
    for left in reversed(range(STARTS)):
        try:
            ray.init(LOCAL, object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, **UNHEARD)
            return
        except Exception:  # a plain one after 30 seconds
            ray.shutdown()
            if not left:
                raise


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at HOST:PORT: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def import_ray() -> ModuleType:
    """Ray, told to be quiet.

    Raises:
        ParameterError: It is not installed.
    """
    os.environ.update(QUIET)
    try:
        import ray
    except ImportError as error:
        raise ParameterError("ray", f"Ray is not installed ({error}); pip install rnnzoo[ray]") from error
    return ray

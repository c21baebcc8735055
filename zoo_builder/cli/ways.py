"""How `zoo-builder build` builds: in its own process, in several, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rnnzoo.zoo_builder.cluster import Resources, connect
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.pipeline.build import InThisProcess, Way
from rnnzoo.zoo_builder.pipeline.local.workers import Workers
from rnnzoo.zoo_builder.pipeline.ray.executor import OnCluster
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig


@dataclass(frozen=True)
class Means:
    """What was asked for, by the options of these names."""

    save_every: float
    device: str
    kernel: str
    threads: int | None
    workers: int | None
    ray: str | None
    gpus_per_task: float | None
    store: str | None

    @contextmanager
    def way(self, config: ZooConfig) -> Iterator[tuple[Way, str]]:
        """The way to build, and words for it. Raises RnnzooError for options that do not go together."""
        if self.ray is not None:
            self._refuse("with", "--workers", self.workers)
            resources = Resources.asked_for(self.threads, self.device, self.gpus_per_task)
            with connect(self.ray) as cluster:
                yield OnCluster(cluster, resources, self.kernel, self.save_every, self.store), f"on {cluster}"
            return
        self._refuse("without", "--gpus-per-task", self.gpus_per_task)
        self._refuse("without", "--store", self.store)
        kernel = choose_kernel(config.spec, config.encoding, self.device, self.kernel, self.threads)
        if self.workers in (None, 1):
            yield InThisProcess(kernel, self.save_every), f"with kernel {kernel.name}"
        else:
            way = Workers(self.workers, kernel, self.save_every, self.threads)
            yield way, f"with kernel {kernel.name} in {self.workers} processes"

    def _refuse(self, how: str, option: str, value: object) -> None:
        if value is not None:
            raise RnnzooError(f"{option}: found {value} {how} --ray")

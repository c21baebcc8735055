"""Where `zoo-builder build` builds: in its own process, in several, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rnnzoo.zoo_builder.cluster import Resources, connect
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.pipeline.build import Executor
from rnnzoo.zoo_builder.pipeline.local.in_process import InProcess
from rnnzoo.zoo_builder.pipeline.local.workers import Workers
from rnnzoo.zoo_builder.pipeline.ray.executor import OnCluster
from rnnzoo.zoo_builder.training.kernels import choose_kernel
from rnnzoo.zoo_builder.zoos import ZooConfig


@dataclass(frozen=True)
class ExecutionOptions:
    """What was asked for, by the options of these names."""

    save_every: float
    device: str
    kernel: str
    threads: int | None
    workers: int | None
    ray: str | None
    gpus_per_task: float | None
    store: str | None

    def __post_init__(self) -> None:
        if not self.save_every >= 0:
            raise ParameterError("save_every", f"found {self.save_every}, expected a number of seconds from 0 on")
        if self.ray is not None:
            self._refuse("workers", self.workers, "together with ray, which spreads the shards by itself")
        else:
            self._refuse("gpus_per_task", self.gpus_per_task, "without ray, whose tasks alone are given shares")
            self._refuse("store", self.store, "without ray, whose nodes alone write to a store")

    @contextmanager
    def executor(self, config: ZooConfig) -> Iterator[tuple[Executor, str]]:
        """The executor, and words for it. Raises RnnzooError for what cannot be had."""
        if self.ray is not None:
            resources = Resources.asked_for(self.threads, self.device, self.gpus_per_task)
            with connect(self.ray) as cluster:
                yield OnCluster(cluster, resources, self.kernel, self.save_every, self.store), f"on {cluster}"
            return
        kernel = choose_kernel(config.spec, config.encoding, self.device, self.kernel, self.threads)
        if self.workers in (None, 1):
            yield InProcess(kernel, self.save_every), f"with kernel {kernel.name}"
        else:
            workers = Workers(self.workers, kernel, self.save_every, self.threads)
            yield workers, f"with kernel {kernel.name} in {self.workers} processes"

    def _refuse(self, parameter: str, value: object, how: str) -> None:
        if value is not None:
            raise ParameterError(parameter, f"found {value} {how}")

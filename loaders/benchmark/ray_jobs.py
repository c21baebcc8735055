"""The jobs of a benchmark as tasks of a Ray cluster. Their results are files, so the nodes share the folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnzoo.loaders.benchmark.jobs import Job
from rnnzoo.zoo_builder.cluster import Cluster, Resources, TaskEnvironment, as_finished, check_shared


def run_jobs(
    cluster: Cluster, resources: Resources, landmark: Path, do: Callable[[Job], None], jobs: list[Job]
) -> Iterator[Job]:
    """Do the jobs on the cluster's nodes; yields each when it is done.

    landmark: a file of this command in the results folder, by which a node knows that it sees that folder.
    """
    task = cluster.ray.remote(_do).options(**resources.options())
    shared = cluster.ray.put(do)  # holds the rows of every partition, once for all jobs
    environment = TaskEnvironment(resources.cpus)
    for job, _ in as_finished(cluster, deque(jobs), lambda job: task.remote(environment, landmark, shared, job)):
        yield job


def _do(environment: TaskEnvironment, landmark: Path, do: Callable[[Job], None], job: Job) -> None:
    environment.take_over()
    check_shared(landmark, "out")
    do(job)

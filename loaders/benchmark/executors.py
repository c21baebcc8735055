"""Jobs done in this process, in several, or as tasks of a Ray cluster.

Their results are files, so that processes and nodes need to share nothing but the folder. A process keeps the zoo
in memory from one job to the next.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rnnzoo.loaders.benchmark.jobs import Job, run_job
from rnnzoo.loaders.benchmark.request import Request, Setting, code_of_encoder
from rnnzoo.loaders.benchmark.results.files import ROWS
from rnnzoo.loaders.encoders.base import load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.cluster import Resources, TaskEnvironment, as_finished, check_shared, connect
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError


@lru_cache(maxsize=1)
def open_zoo(path: str, device: str) -> LoadedZoo:
    """A zoo in memory, kept for the next job of this process."""
    return LoadedZoo(path, device)


def choose_device(name: str) -> str:
    """The device of the trainings.

    Args:
        name: "cpu", "cuda", or "auto" for a GPU where there is one.

    Returns:
        "cpu" or "cuda".

    Raises:
        ParameterError: The name is none of these, or there is no GPU for "cuda".
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ParameterError("device", f"found {name!r}, expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device", "found 'cuda', but torch sees no GPU; expected auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def cluster_resources(request: Request) -> Resources | None:
    """What a task on a cluster holds.

    Args:
        request: What was asked for.

    Returns:
        The resources; None without a cluster.

    Raises:
        ParameterError: Parameters do not go together: several workers with ray, or `gpus_per_task` without it.
    """
    if request.ray is not None:
        if request.workers != 1:
            raise ParameterError(
                "workers", f"found {request.workers} together with ray, which spreads the jobs by itself"
            )
        return Resources.asked_for(request.threads, request.device, request.gpus_per_task)
    if request.gpus_per_task is not None:
        raise ParameterError("gpus_per_task", f"found {request.gpus_per_task:g} without ray")
    return None


def run_jobs(
    request: Request, resources: Resources | None, loaded: LoadedZoo, setting: Setting, jobs: list[Job]
) -> None:
    """Do all jobs where the request says; the first error stops the rest.

    Args:
        request: Says where.
        resources: Of a task on a cluster; None without a cluster.
        loaded: The zoo in this process.
        setting: What all jobs share.
        jobs: What to do.
    """
    if not jobs:
        return
    if resources is not None:
        _run_on_cluster(request, resources, setting, jobs)
    elif request.workers == 1 or len(jobs) == 1:
        with _threads(request.threads):
            for job in tqdm(jobs, desc=setting.encoder, unit="job", disable=len(jobs) < 2, leave=False):
                run_job(loaded, setting, job)
    else:
        _run_in_processes(request, setting, jobs)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_in_processes(request: Request, setting: Setting, jobs: list[Job]) -> None:
    """Share the jobs among processes."""
    workers = min(request.workers, len(jobs))
    threads = request.threads or max(1, torch.get_num_threads() // workers)
    context = get_context("spawn")  # a forked process cannot use CUDA, nor torch's threads
    lock = context.RLock()
    with ProcessPoolExecutor(workers, context, _begin_worker, (threads, lock)) as pool:
        pending = [
            pool.submit(_run_in_worker, request.zoo, choose_device(request.device), setting, job) for job in jobs
        ]
        try:
            with tqdm(total=len(jobs), desc=setting.encoder, unit="job", leave=False) as bar:
                for future in as_completed(pending):
                    future.result()
                    bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_on_cluster(request: Request, resources: Resources, setting: Setting, jobs: list[Job]) -> None:
    """Share the jobs among the nodes of a Ray cluster."""
    # A file of this command in the results folder, by which a node knows that it sees that folder.
    landmark = setting.board / ROWS
    with connect(str(request.ray)) as cluster:
        cluster.check_room(resources.cpus, resources.gpus)
        task = cluster.ray.remote(_run_on_node).options(**resources.options())
        # Holds the rows of every partition, once for all jobs.
        do = cluster.ray.put(partial(_run_in_worker, request.zoo, resources.device, setting))
        environment = TaskEnvironment(resources.cpus)
        done = as_finished(cluster, deque(jobs), lambda job: task.remote(environment, landmark, do, job))
        for _ in tqdm(done, desc=setting.encoder, unit="job", total=len(jobs), leave=False):
            pass


def _run_on_node(environment: TaskEnvironment, landmark: Path, do: Callable[[Job], None], job: Job) -> None:
    environment.take_over()
    check_shared(landmark, "out")
    do(job)


def _begin_worker(threads: int, lock: Any) -> None:
    torch.set_num_threads(threads)
    tqdm.set_lock(lock)


def _run_in_worker(zoo: str, device: str, setting: Setting, job: Job) -> None:
    loaded = open_zoo(zoo, device)
    _check_code(loaded, setting)
    run_job(loaded, setting, job, quiet=True)


def _check_code(loaded: LoadedZoo, setting: Setting) -> None:
    """Raise RnnzooError where this process runs other code than the one that began the benchmark."""
    encoder = load_encoder(setting.encoder, loaded.population)
    code, _ = code_of_encoder(setting.encoder, encoder, loaded)
    here = setting.key.model_copy(update={"code": code})
    if here != setting.key:
        raise RnnzooError(
            f"{setting.encoder}: edited while the benchmark ran, or other code on this machine: "
            f"{here.difference(setting.key)}"
        )

"""Jobs done in this process, in several, or as tasks of a Ray cluster.

Their results are files, so that processes and nodes need to share nothing but the folder. A process keeps the zoo
in memory from one job to the next.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from rnnzoo.loaders.benchmark.code import code_here
from rnnzoo.loaders.benchmark.jobs import Job, run_job
from rnnzoo.loaders.benchmark.protocol import zoo_digest
from rnnzoo.loaders.benchmark.request import Request, Setting
from rnnzoo.loaders.benchmark.results.files import ROWS
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.cluster import Resources, TaskEnvironment, as_finished, check_shared, connect, import_ray
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError


@lru_cache(maxsize=1)
def _open_zoo(path: str, device: str, revision: str | None, digest: str) -> LoadedZoo:
    """A zoo in the memory of a worker, kept for its next job.

    Raises RnnzooError where another one stands there than the one that the benchmark began with.
    """
    loaded = LoadedZoo(path, device, revision)
    if (found := zoo_digest(loaded.zoo.manifest)) != digest:
        raise RnnzooError(f"{path}: found the zoo {found}, expected {digest}, with which the benchmark began")
    return loaded


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
        ParameterError: Parameters do not go together: several workers with ray, or `gpus_per_task` without it;
            or Ray is not installed.
    """
    if request.ray is not None:
        if request.workers != 1:
            raise ParameterError(
                "workers", f"found {request.workers} together with ray, which spreads the jobs by itself"
            )
        resources = Resources.asked_for(request.threads, request.device, request.gpus_per_task)
        import_ray()  # a missing Ray is told before a zoo is read
        return resources
    if request.gpus_per_task is not None:
        raise ParameterError(
            "gpus_per_task", f"found {request.gpus_per_task:g} without ray, whose tasks alone are given shares"
        )
    return None


Work = list[tuple[Setting, Job]]


def run_jobs(request: Request, resources: Resources | None, loaded: LoadedZoo, work: Work) -> None:
    """Do all jobs where the request says; the first error stops the rest.

    Args:
        request: Says where.
        resources: Of a task on a cluster; None without a cluster.
        loaded: The zoo in this process.
        work: The jobs, each with what all jobs on its track share.
    """
    if not work:
        return
    results = sum(len(job.targets) for _, job in work)
    name = work[0][0].encoder
    with tqdm(total=results, desc=name, unit="result", leave=False, disable=request.quiet) as bar:
        if resources is not None:
            _run_on_cluster(request, resources, work, bar)
        elif request.workers == 1 or len(work) == 1:
            with _threads(request.threads):
                for setting, job in work:
                    run_job(loaded, setting, job, request.quiet, bar.update)
        else:
            _run_in_processes(request, work, bar)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Torch may use so many threads, or as many as before; NumPy, SciPy and scikit-learn one.

    What readouts are fitted on is too small for more. Threads that wait for each other spin, and where another
    program holds a core they wait for most of the time: boosted trees took four hundred times as long.
    """
    before = torch.get_num_threads()
    try:
        with threadpool_limits(1):  # of torch too
            torch.set_num_threads(count or before)
            yield
    finally:
        torch.set_num_threads(before)


def _run_in_processes(request: Request, work: Work, bar: tqdm) -> None:
    """Share the jobs among processes."""
    workers = min(request.workers, len(work))
    threads = request.threads or max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, nor torch's threads
    lock = context.RLock()
    others = set(multiprocessing.active_children())
    do = partial(_run_in_worker, request.zoo, request.revision, choose_device(request.device))
    with ProcessPoolExecutor(workers, context, _begin_worker, (threads, lock)) as pool:
        with _program_hidden():
            pending = {pool.submit(do, setting, job): len(job.targets) for setting, job in work}
        try:
            for future in as_completed(pending):
                future.result()
                bar.update(pending[future])
        except BrokenProcessPool as error:
            raise RnnzooError(
                "workers: a process ended before its work was done; it was killed, perhaps for want of memory"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # what it trains goes on from its saved state
            raise


@contextlib.contextmanager
def _program_hidden() -> Iterator[None]:
    """Processes that are spawned within the block do not import the program that Python was started with.

    What it defines is sent to them. It may be no file, or begin a benchmark when it is imported.
    """
    program = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: program[name] for name in ("__file__", "__spec__") if name in program}
    program["__spec__"] = None
    program.pop("__file__", None)
    try:
        yield
    finally:
        program.update(kept)


def _run_on_cluster(request: Request, resources: Resources, work: Work, bar: tqdm) -> None:
    """Share the jobs among the nodes of a Ray cluster."""
    # A file of this command in the results folder, by which a node knows that it sees that folder.
    landmark = work[0][0].board / ROWS
    with connect(str(request.ray)) as cluster:
        cluster.check_room(resources.cpus, resources.gpus)
        task = cluster.ray.remote(_run_on_node).options(**resources.options())
        do = partial(_run_in_worker, request.zoo, request.revision, resources.device)
        # They hold the rows of every partition, once for all jobs.
        shared = {setting.track: cluster.ray.put(partial(do, setting)) for setting, _ in work}
        environment = TaskEnvironment(resources.cpus)

        def start(named: tuple[str, Job]) -> Any:
            track, job = named
            return task.remote(environment, landmark, shared[track], job)

        jobs = deque((setting.track, job) for setting, job in work)
        for (_, job), _ in as_finished(cluster, jobs, start):
            bar.update(len(job.targets))


def _run_on_node(environment: TaskEnvironment, landmark: Path, do: Callable[[Job], None], job: Job) -> None:
    environment.take_over()
    check_shared(landmark, "out")
    do(job)


def _begin_worker(threads: int, lock: Any) -> None:
    torch.set_num_threads(threads)
    tqdm.set_lock(lock)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that began it is gone, however it ended: nobody waits for its jobs any more.

    What it was writing is not whole, and the next run removes it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(zoo: str, revision: str | None, device: str, setting: Setting, job: Job) -> None:
    _check_code(setting)
    with _threads(None):
        run_job(_open_zoo(zoo, device, revision, setting.zoo_digest), setting, job, quiet=True)


def _check_code(setting: Setting) -> None:
    """Raise RnnzooError where this process runs other code than the one that began the benchmark."""
    here = setting.key.model_copy(update={"code": code_here(setting.recipe.location, setting.key.code)})
    if here != setting.key:
        raise RnnzooError(
            f"{setting.encoder}: edited while the benchmark ran, or other code on this machine: "
            f"{here.difference(setting.key)}"
        )

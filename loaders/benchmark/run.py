"""Benchmarks an encoder: what has to be done, done job by job, resumable, in as many processes as asked for.

A job is one seed of one encoder: in the features track its readouts, in the frozen track a training by emulation
and then the readouts, in the supervised track a training for each target. Its results are files (`results.py`);
what is there already is not done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import rnnzoo
from rnnzoo.loaders.benchmark.jobs import Job, Setting, run_job
from rnnzoo.loaders.benchmark.leakage import measure_leakage
from rnnzoo.loaders.benchmark.protocol import partition, zoo_digest
from rnnzoo.loaders.benchmark.ray_jobs import run_jobs
from rnnzoo.loaders.benchmark.results import (
    LEAKAGE,
    ROWS,
    Leakage,
    Rows,
    SplitRows,
    board_folder,
    read_result,
    read_rows,
    write_leakage,
    write_rows,
)
from rnnzoo.loaders.benchmark.targets import choose_targets, truth_of, zoo_targets
from rnnzoo.loaders.encoders.base import check_encoder, declared, is_learned, load_encoder
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training_config import PRESETS, TRACKS, TrainingConfig
from rnnzoo.zoo_builder.cluster import Resources, connect
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.tasks.target import Target


@dataclass(frozen=True)
class Request:
    """What `zoo-bench run` was asked for.

    track: None takes "features" for an encoder without parameters, else "frozen". targets: see `choose_targets`.
    overrides: fields of the preset's `TrainingConfig`, changed. workers: processes that share the jobs; threads:
    of each, None to share the cores. device: of the trainings. ray: address of a cluster whose nodes share the
    jobs instead, each with one thread unless `threads` are given, and `gpus_per_task` of a GPU.
    """

    zoo: str
    encoder: str
    out: Path
    track: str | None = None
    protocol: str = "strict"
    targets: tuple[str | Target, ...] = ()
    seeds: int = 5
    preset: str = "quick"
    overrides: tuple[tuple[str, Any], ...] = ()
    workers: int = 1
    threads: int | None = None
    device: str = "auto"
    ray: str | None = None
    gpus_per_task: float | None = None
    command: str = ""


def run_benchmark(request: Request) -> list[Path]:
    """Benchmark one encoder; returns the paths of its results, one for each target and seed.

    Raises RnnzooError before any work for what cannot be done, and for results in the folder that were made
    otherwise.
    """
    resources = _cluster_resources(request)
    if request.seeds < 1:
        raise ParameterError("seeds", f"found {request.seeds}, expected at least 1")
    loaded = open_zoo(request.zoo, choose_device("cpu" if resources else request.device))
    setting, targets = _resolve(request, loaded)
    jobs = _jobs(request, setting, targets)
    _write_board(loaded, setting, targets)
    wanted = [path for job in jobs for path in job.paths(setting)]
    _check_existing(setting, wanted)
    missing = [left for job in jobs if (left := job.without_finished(setting)) is not None]
    done = len(wanted) - sum(len(job.targets) for job in missing)
    if done:
        tqdm.write(f"{done} of {len(wanted)} results are there already")
    if resources is not None:
        _run_on_cluster(request, resources, setting, missing)
    elif request.workers == 1 or len(missing) <= 1:
        with _threads(request.threads):
            for job in tqdm(missing, desc=setting.encoder, unit="job", disable=len(missing) < 2, leave=False):
                run_job(loaded, setting, job)
    else:
        _run_in_processes(request, setting, missing)
    return wanted


def _cluster_resources(request: Request) -> Resources | None:
    """What a task on a cluster holds; None without a cluster."""
    if request.ray is not None:
        if request.workers != 1:
            raise ParameterError(
                "workers", f"found {request.workers} together with ray, which spreads the jobs by itself"
            )
        return Resources.asked_for(request.threads, request.device, request.gpus_per_task)
    if request.gpus_per_task is not None:
        raise ParameterError("gpus_per_task", f"found {request.gpus_per_task:g} without ray")
    return None


@lru_cache(maxsize=1)
def open_zoo(path: str, device: str) -> LoadedZoo:
    """A zoo in memory, kept for the next job of this process."""
    return LoadedZoo(path, device)


def choose_device(name: str) -> str:
    """ "auto" is a GPU where there is one."""
    if name not in ("auto", "cpu", "cuda"):
        raise ParameterError("device", f"found {name!r}, expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device", "found 'cuda', but torch sees no GPU; expected auto or cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _resolve(request: Request, loaded: LoadedZoo) -> tuple[Setting, list[Target]]:
    """Check a request against its zoo and encoder, and fill in what it leaves open."""
    encoder = load_encoder(request.encoder, loaded.population)
    width = check_encoder(encoder, loaded.population)
    learned = is_learned(encoder)
    track = request.track or ("frozen" if learned else "features")
    if track not in TRACKS:
        raise ParameterError("track", f"found {track!r}, expected one of {', '.join(TRACKS)}")
    if track != "features" and not learned:
        raise ParameterError(
            "track", f"found {track!r}, but {request.encoder} has no parameters; expected features"
        )
    parts = partition(loaded, request.protocol)
    targets = choose_targets(loaded, request.targets)
    known = declared(encoder, "targets")
    for target in targets:
        if known is not None and target.name not in known and request.targets:
            raise ParameterError(
                "target",
                f"found {target.name!r}, but {request.encoder} can only say something of {', '.join(known)}",
            )
    targets = [target for target in targets if known is None or target.name in known]
    if not targets:
        raise ParameterError(
            "encoder", f"found {request.encoder}, which says something of {', '.join(known)}, which this zoo lacks"
        )
    manifest = loaded.zoo.manifest
    setting = Setting(
        encoder=request.encoder,
        group=declared(encoder, "group"),
        published=declared(encoder, "published"),
        uses_data=declared(encoder, "uses_data"),
        columns=tuple(declared(encoder, "columns")),
        readouts=tuple(declared(encoder, "readouts")),
        track=track,
        protocol=request.protocol,
        parts=parts,
        preset=None if track == "features" else request.preset,
        training=None if track == "features" else _training(request, track),
        parameters=sum(p.numel() for p in getattr(encoder, "parameters", list)()),
        embedding_size=width,
        zoo=manifest.zoo,
        zoo_digest=zoo_digest(manifest.config),
        board=board_folder(request.out, manifest.zoo, request.protocol),
        versions={
            "rnnzoo": rnnzoo.__version__,
            "torch": torch.__version__,
            "scikit-learn": version("scikit-learn"),
        },
        command=request.command,
    )
    return setting, targets


def _training(request: Request, track: str) -> TrainingConfig:
    presets = PRESETS[track]
    if request.preset not in presets:
        raise ParameterError("preset", f"found {request.preset!r}, expected one of {', '.join(presets)}")
    return replace(presets[request.preset], **dict(request.overrides))


def _jobs(request: Request, setting: Setting, targets: list[Target]) -> list[Job]:
    """One job a seed, or a seed and target; a fixed encoder with readouts that draw nothing has one seed."""
    seeds = range(request.seeds)
    if setting.track == "features" and setting.parameters == 0 and "mlp" not in setting.readouts:
        seeds = range(1)
    if setting.track == "supervised":
        return [Job(seed, (target,)) for seed in seeds for target in targets]
    return [Job(seed, tuple(targets)) for seed in seeds]


def _check_existing(setting: Setting, wanted: list[Path]) -> None:
    for path in wanted:
        if not path.exists():
            continue
        found = read_result(path)
        expected = None if setting.training is None else setting.training.to_dict()
        if (found.zoo_digest, found.training) != (setting.zoo_digest, expected):
            raise RnnzooError(
                f"{path}: found a result of the training {found.training} on zoo {found.zoo_digest}, expected "
                f"{expected} on zoo {setting.zoo_digest}; choose another folder, or delete it"
            )


def _write_board(loaded: LoadedZoo, setting: Setting, targets: list[Target]) -> None:
    """What the results are about, and the leakage that splits by task avoid: once for each results folder."""
    every = _known_targets(loaded, setting, targets)
    rows = Rows(
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        zoo_config=loaded.zoo.manifest.config,
        protocol=setting.protocol,
        targets=every,
        splits={name: _split_rows(loaded, chosen, every) for name, chosen in setting.parts.reported.items()},
    )
    write_rows(setting.board, rows)
    if not (setting.board / LEAKAGE).exists():
        task = every[0]
        leakage = Leakage(
            zoo_digest=setting.zoo_digest,
            encoder="flat weights",
            target=task.name,
            readout="nearest neighbour",
            scores=measure_leakage(loaded, task),
        )
        write_leakage(setting.board, leakage)


def _known_targets(loaded: LoadedZoo, setting: Setting, asked: list[Target]) -> list[Target]:
    """The zoo's targets, those of the user's own that the board has already, and those asked for."""
    found = read_rows(setting.board) if (setting.board / ROWS).exists() else None
    before = found.targets if found is not None and found.zoo_digest == setting.zoo_digest else []
    known: dict[str, Target] = {}
    for target in (*zoo_targets(loaded), *before, *asked):
        if known.setdefault(target.name, target) != target:
            raise RnnzooError(
                f"{setting.board / ROWS}: found {known[target.name]}, expected {target}; choose another folder"
            )
    return list(known.values())


def _split_rows(loaded: LoadedZoo, rows: Any, targets: list[Target]) -> SplitRows:
    return SplitRows(
        run=loaded.column("run_id")[rows].tolist(),
        task=loaded.column("task_id")[rows].tolist(),
        step=loaded.column("step")[rows].tolist(),
        targets={target.name: truth_of(loaded, target, rows).tolist() for target in targets},
    )


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_in_processes(request: Request, setting: Setting, jobs: list[Job]) -> None:
    """Share the jobs among processes; the first error stops the rest."""
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
    """Share the jobs among the nodes of a Ray cluster; the first error stops the rest."""
    if not jobs:
        return
    with connect(str(request.ray)) as cluster:
        cluster.check_room(resources.cpus, resources.gpus)
        do = partial(_run_in_worker, request.zoo, resources.device, setting)
        with tqdm(total=len(jobs), desc=setting.encoder, unit="job", leave=False) as bar:
            for _ in run_jobs(cluster, resources, setting.board / ROWS, do, jobs):
                bar.update()


def _begin_worker(threads: int, lock: Any) -> None:
    torch.set_num_threads(threads)
    tqdm.set_lock(lock)


def _run_in_worker(zoo: str, device: str, setting: Setting, job: Job) -> None:
    run_job(open_zoo(zoo, device), setting, job, quiet=True)

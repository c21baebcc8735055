"""From a request to results: this is the whole story; each step of it has a module of its own.

The request is checked against zoo and encoder (`request.py`), what will be reported on is written down
(`rows.py`), and what has to be done is done job by job (`executors.py`, `jobs.py`). A job is one seed of one
encoder: in the features track its readouts, in the frozen track a training by emulation and then the readouts, in
the supervised track a training for each target (`tracks/`). Its results are files (`results/`); what is there
already is not done again, if the same code, data and settings made it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from rnnzoo.loaders.benchmark.executors import choose_device, cluster_resources, run_jobs
from rnnzoo.loaders.benchmark.fresh import build_fresh
from rnnzoo.loaders.benchmark.jobs import Job
from rnnzoo.loaders.benchmark.request import Request, Setting, resolve
from rnnzoo.loaders.benchmark.results.other_keys import check_keys
from rnnzoo.loaders.benchmark.rows import describe_rows
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training import STATE
from rnnzoo.zoo_builder.errors import ParameterError, check_whole_number
from rnnzoo.zoo_builder.storage.writing import TEMPORARY_FILES, clear_abandoned
from rnnzoo.zoo_builder.tasks.target import Target

MOST_SEEDS = 10_000
WHOLE_NUMBERS = {
    "seeds": (1, MOST_SEEDS),
    "first_seed": (0, MOST_SEEDS - 1),
    "workers": (1, None),
    "threads": (1, None),
    "fresh_seed": (0, 2**63 - 1),
}
"""Fields of a request -> the least and the greatest value; None is a value where it is the usual one."""


def run_benchmark(request: Request) -> list[Path]:
    """Benchmark one encoder. Results that are in the folder already are kept, and only the others are made.

    Args:
        request: What to do.

    Returns:
        The paths of its results, one for each track, target and seed.

    Raises:
        ParameterError: The folder has results of this encoder and track that other code, data or settings made.
        RnnzooError: Before any work, the request cannot be done, or the folder has results of another zoo. Later
            on, a training fails.
    """
    for name, ends in WHOLE_NUMBERS.items():
        value = getattr(request, name)
        if not (value is None is getattr(Request, name)):
            check_whole_number(name, value, *ends)
    resources = cluster_resources(request)
    device = choose_device("cpu" if resources else request.device)
    loaded = LoadedZoo(request.zoo, device, request.revision)
    settings, targets = resolve(request, loaded)
    if request.fresh_seed is not None:
        _check_numbers(loaded, targets)
    describe_rows(loaded, settings[0], targets)
    clear_abandoned(request.out.rglob(TEMPORARY_FILES))
    removed = sum(
        check_keys(setting.board, setting.encoder, setting.track, setting.key, request.overwrite)
        for setting in settings
    )
    if removed:
        _tell(request, f"removed, as made otherwise: {removed} files of {settings[0].encoder}")
    if request.fresh_seed is not None:
        out = request.out.absolute()
        home = out.with_name(f"{out.name}-fresh")
        parts, protocol = settings[0].parts, settings[0].protocol
        making = home, request.items_folder, request.threads, request.quiet
        folder = build_fresh(loaded, parts, protocol, request.fresh_seed, *making)
        settings = [replace(setting, fresh=folder, fresh_seed=request.fresh_seed) for setting in settings]
    jobs = [(setting, job) for setting in settings for job in _jobs(request, setting, targets)]
    wanted = [path for setting, job in jobs for path in job.paths(setting)]
    missing = [(setting, left) for setting, job in jobs if (left := job.without_finished(setting)) is not None]
    done = len(wanted) - sum(len(job.targets) for _, job in missing)
    if done:
        _tell(request, f"{done} of {len(wanted)} results are there already")
    for path in wanted:
        if path.exists():  # whoever was killed before it removed the state of the training has left it
            path.with_suffix(STATE).unlink(missing_ok=True)
    run_jobs(request, resources, loaded, missing)
    return wanted


def _check_numbers(loaded: LoadedZoo, targets: list[Target]) -> None:
    """Raise ParameterError for a target of texts: they are counted zoo by zoo, and a fresh one may lack some."""
    for target in targets:
        if loaded.column(target.column).dtype.kind == "U":
            raise ParameterError("targets", f"found {target.name}, texts, expected numbers for a fresh zoo")


def _tell(request: Request, message: str) -> None:
    if not request.quiet:
        tqdm.write(message)


def _jobs(request: Request, setting: Setting, targets: list[Target]) -> list[Job]:
    """One job a seed, or a seed and target; a fixed encoder with readouts that draw nothing has one seed."""
    seeds = range(request.first_seed, request.first_seed + request.seeds)
    if setting.track == "features" and setting.parameters == 0 and "mlp" not in setting.readouts:
        seeds = range(1)
    if setting.track == "supervised":
        return [Job(seed, (target,)) for seed in seeds for target in targets]
    return [Job(seed, tuple(targets)) for seed in seeds]

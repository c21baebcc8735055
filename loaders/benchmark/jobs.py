"""One job of a benchmark: a seed of an encoder, from training to the files of its results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnnzoo.loaders.benchmark.request import Setting
from rnnzoo.loaders.benchmark.results.content import Result, Untrained
from rnnzoo.loaders.benchmark.results.files import read_result, result_path, write_result
from rnnzoo.loaders.benchmark.tracks.embedding import embed_fresh, embed_parts, read_out
from rnnzoo.loaders.benchmark.tracks.emulation import emulated_encoder
from rnnzoo.loaders.benchmark.tracks.supervised import predict_end_to_end
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training import STATE
from rnnzoo.zoo_builder.tasks.target import Target


@dataclass(frozen=True)
class Job:
    """A seed, and the targets to predict with what is trained from it.

    Attributes:
        seed: Counted from 0.
        targets: One target for the track "supervised", else all of them.
    """

    seed: int
    targets: tuple[Target, ...]

    def path(self, setting: Setting, target: Target) -> Path:
        """Where the result for one of the targets is written."""
        return result_path(setting.board, setting.encoder, setting.track, target.name, self.seed)

    def paths(self, setting: Setting) -> list[Path]:
        """Where all its results are written, in the order of the targets."""
        return [self.path(setting, target) for target in self.targets]

    def without_finished(self, setting: Setting) -> Job | None:
        """The job with only the targets that have no result yet, or none on the fresh zoo; None when all have."""
        left = tuple(target for target in self.targets if not self._is_finished(setting, target))
        return replace(self, targets=left) if left else None

    def _is_finished(self, setting: Setting, target: Target) -> bool:
        path = self.path(setting, target)
        if not path.exists() or setting.fresh is None:
            return path.exists()
        fresh = read_result(path).fresh
        return fresh is not None and fresh.seed == setting.fresh_seed


def run_job(
    loaded: LoadedZoo,
    setting: Setting,
    job: Job,
    quiet: bool = False,
    on_result: Callable[[], object] = lambda: None,
) -> None:
    """Do a job and write its results.

    An encoder before its training is a function of the seed: the twin of the trained one is made anew from it.

    Args:
        loaded: The zoo.
        setting: What all jobs share.
        job: The job.
        quiet: Whether to show no progress bar.
        on_result: Called after each result.

    Raises:
        RnnzooError: A training fails.
    """
    began = time.perf_counter()
    encoder = setting.recipe.make(loaded.population, job.seed)
    initial = embedded_parts = embed_parts(loaded, setting, encoder, job.seed)
    if setting.track == "frozen":
        encoder = emulated_encoder(loaded, setting, job.seed, quiet)
        embedded_parts = embed_parts(loaded, setting, encoder, job.seed)
    fresh = None if setting.fresh is None else LoadedZoo(setting.fresh, loaded.device)
    shown = embed_fresh(fresh, setting, encoder)
    embedded = time.perf_counter() - began
    for target in job.targets:
        began, seconds = time.perf_counter(), {"embedding": embedded}
        found = read_out(loaded, setting, target, embedded_parts, job.seed, shown)
        if setting.track == "frozen":
            found["twin"] = _twin(read_out(loaded, setting, target, initial, job.seed))
        seconds["readouts"] = time.perf_counter() - began
        state = job.path(setting, target).with_suffix(STATE)
        if setting.track == "supervised":
            end_to_end = predict_end_to_end(loaded, setting, target, job.seed, state, quiet, fresh)
            found = {**end_to_end, "twin": _twin(found)}
            seconds["training"] = time.perf_counter() - began - seconds["readouts"]
        write_result(setting.board, _result(setting, target, job.seed, seconds=seconds, **found))
        state.unlink(missing_ok=True)
        on_result()


def _twin(found: dict[str, Any]) -> Untrained:
    """What was read out of an encoder before its training."""
    return Untrained(**{name: found[name] for name in Untrained.model_fields if name in found})


def _result(setting: Setting, target: Target, seed: int, **fields: Any) -> Result:
    return Result(
        key=setting.key,
        zoo=setting.zoo,
        zoo_digest=setting.zoo_digest,
        encoder=setting.encoder,
        group=setting.group,
        published=setting.published,
        uses_data=setting.uses_data,
        track=setting.track,
        protocol=setting.protocol,
        target=target.name,
        seed=seed,
        preset=setting.preset,
        training=None if setting.training is None else setting.training.to_dict(),
        parameters=setting.parameters,
        embedding_size=setting.embedding_size,
        command=setting.command,
        **{"curve": [], **fields},
    )

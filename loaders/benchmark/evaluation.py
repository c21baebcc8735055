"""The benchmark from a program or a notebook: `evaluate`, and what it found.

`zoo-bench run` is this function, with options for its parameters.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import pandas as pd
import torch
from torch import nn

from rnnzoo.loaders.benchmark.report import format_table, make_report
from rnnzoo.loaders.benchmark.report.formats import score_rows
from rnnzoo.loaders.benchmark.report.tables import target_tables
from rnnzoo.loaders.benchmark.request import Options, Request, resolve
from rnnzoo.loaders.benchmark.results.content import Result
from rnnzoo.loaders.benchmark.results.files import read_result, read_rows
from rnnzoo.loaders.benchmark.results.kept import read_encoder
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard
from rnnzoo.loaders.benchmark.run import run_benchmark
from rnnzoo.loaders.encoders.base import Encoder
from rnnzoo.loaders.encoders.recipe import make_learned, recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.loaders.training_config import TrainingConfig
from rnnzoo.loaders.zoo import Zoo
from rnnzoo.zoo_builder.errors import ParameterError
from rnnzoo.zoo_builder.rnn import Weights
from rnnzoo.zoo_builder.tasks.target import Target

NUMBERS = ("mean", "low", "high", "untrained", "chance", "ceiling")
"""Columns of a table where a number may be missing."""
CALLED = ("tracks", "targets", "seeds", "first_seed", "protocol", "preset", "fresh_seed", "revision")
"""Fields of a request that the text of a call has."""
AnyEncoder = str | Encoder | Callable[..., Encoder] | Callable[[Weights], Any]


def evaluate(
    encoder: AnyEncoder,
    zoo: str | Path | Zoo,
    tracks: str | Sequence[str] | None = (),
    targets: str | Target | Sequence[str | Target] | None = (),
    seeds: int = 5,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Train or fit an encoder on the training tasks of a zoo, and score it on unseen ones.

    Args:
        encoder: A name of `zoo-bench list`, "module:Class" or "module.py:Class", with options in brackets;
            a class, or a function that makes an encoder of a `Population`: every seed initialises its own;
            a module of torch, of which every seed trains a copy, and which is scored as it is if none of its
            parameters requires a gradient;
            a function from named weights, name -> [N, *shape], to an array or tensor [N, E].
        zoo: A folder, "org/name" of a repository on the hub, or an open `Zoo`.
        tracks: Of "features" (a fixed encoder), "frozen" (it learns by emulation) and "supervised" (it learns each
            target); none stands for "features" if nothing is to be trained, else "frozen".
        targets: Targets of the zoo, columns of its metadata as "COLUMN" or "COLUMN:KIND", or your own; none stands
            for all that the zoo has.
        seeds: How many seeds; they are counted from 0, or from the option `first_seed`.
        settings: Fields of the training's preset that have another value, such as {"steps": 5000}.
        out: Folder of the results, where what the same code, data and settings made is not made again; None keeps
            them as long as the `Evaluation` lives.
        name: What results call an encoder that is an object; None takes its name in the program.
        options: Further fields of `Request`, such as `workers=2` (objects of a notebook are sent to them), or
            `revision`, of a zoo on the hub.

    Returns:
        The scores: a table with intervals, and a report.

    Raises:
        ParameterError: A value is unknown, or does not fit encoder or zoo; or `out` has other results of it.
        RnnzooError: The encoder does not keep to what an encoder is, or a training fails.
    """
    for unknown in sorted(options.keys() - Options.__annotations__.keys()):
        known = f"one of {', '.join(Options.__annotations__)}"
        expected = f"settings={{{unknown!r}: ...}}" if unknown in TrainingConfig.__annotations__ else known
        raise ParameterError(unknown, f"found as an option, expected {expected}")
    if name is not None and name.endswith(".json"):
        raise ParameterError("name", f"found {name!r}, expected a name that is none of a file of results")
    if isinstance(zoo, Zoo):
        options["revision"] = options.get("revision", zoo.revision)
    temporary = TemporaryDirectory(prefix="rnnzoo-results-") if out is None else None
    request = Request(
        zoo=str(zoo.path_or_repo if isinstance(zoo, Zoo) else zoo),
        encoder=encoder,
        out=Path(temporary.name, "results") if temporary is not None else Path(str(out)),
        tracks=(tracks,) if isinstance(tracks, str) else tuple(tracks or ()),
        targets=(targets,) if isinstance(targets, str | Target) else tuple(targets or ()),
        seeds=seeds,
        overrides=tuple((settings or {}).items()),
        name=name,
        **options,
    )
    request = replace(request, command=request.command or _call(request))
    return Evaluation(request.out, run_benchmark(request), request, temporary)


def _call(request: Request) -> str:
    """The call of `evaluate` that a request comes from, with what decides scores, for the results."""
    encoder = recipe_of(request.encoder, request.name)
    given = [repr(encoder.name) if isinstance(request.encoder, str) else encoder.name, repr(request.zoo)]
    for one in fields(Request):
        value = getattr(request, one.name)
        if one.name in CALLED and value != one.default:
            given.append(f"{one.name}={value!r}")
    if request.overrides:
        given.append(f"settings={dict(request.overrides)}")
    return f"rnnzoo.evaluate({', '.join(given)})"


@dataclass(frozen=True)
class Report:
    """A report that shows as a page in a notebook, and as text elsewhere.

    Attributes:
        text: Its tables.
        page: The page, HTML.
    """

    text: str
    page: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        style = "width: 100%; height: 80vh; border: 0; background: white"
        return f'<iframe title="report" style="{style}" srcdoc="{html.escape(self.page)}"></iframe>'


@dataclass(frozen=True)
class Evaluation:
    """What was found out about an encoder; a notebook shows its table.

    Attributes:
        folder: The results, among them those that were there before.
        paths: The files of this encoder's results, one for each track, target and seed.
    """

    folder: Path
    paths: list[Path]
    _request: Request = field(repr=False)
    _temporary: TemporaryDirectory[str] | None = field(default=None, repr=False)

    @property
    def _board(self) -> Path:
        """The folder of the zoo and protocol."""
        return self.paths[0].parents[2]

    @cached_property
    def results(self) -> list[Result]:
        """All results, with predictions."""
        return [read_result(path) for path in self.paths]

    def encoder_of(self, result: Result) -> nn.Module:
        """The encoder that was trained for a result: it maps named weights, name -> [N, *shape], to [N, E].

        Args:
            result: One of `results`, of the track "frozen" or "supervised".

        Returns:
            The encoder, on the CPU.

        Raises:
            ParameterError: Nothing was trained for this result.
            RnnzooError: What was trained is missing, or was damaged.
        """
        if result.track == "features":
            raise ParameterError("result", "found the track 'features', which trains nothing; expected another")
        loaded = LoadedZoo(self._request.zoo, torch.device("cpu"), self._request.revision)
        settings, _ = resolve(self._request, loaded)
        encoder = make_learned(settings[0].recipe, loaded.population, result.seed)
        encoder.load_state_dict(read_encoder(self._board, result))
        return encoder.eval()

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a track, target, split and score, the main score of a target first.

        The mean over seeds with the ends of its 95 % interval, for other tasks and other seeds (where one
        of several was scored, for other tasks alone); the main score before the training, if there was one; what
        the best constant answer scores, and a perfect encoder; the readout that was chosen, and how many seeds,
        tasks and checkpoints there are.
        """
        board = Leaderboard(read_rows(self._board), tuple(self.results), ())
        tables = target_tables(board, None)
        rows = [row for table in tables for line in table.lines for row in score_rows(table, line)]
        return pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, float))

    def report(self, against: str | None = None, baselines: bool = True) -> Report:
        """The report of all results in the folder, which is written there too, as report.md and report.html.

        Args:
            against: The encoder that differences are taken to; None for a baseline that is there.
            baselines: Whether committed results on the same zoo stand beside.

        Returns:
            The report.

        Raises:
            RnnzooError: The results in the folder do not fit together.
        """
        text = make_report(self.folder, self.folder, against, baselines)
        return Report(text, (self.folder / "report.html").read_text(encoding="utf-8"))

    def __repr__(self) -> str:
        return format_table(self.results, read_rows(self._board))

    def _repr_html_(self) -> str:
        return self.table.to_html(index=False, float_format="{:.3f}".format, na_rep="–", border=0)

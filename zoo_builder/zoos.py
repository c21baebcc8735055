"""The presets of the named zoos, and the configs that they come to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from annotated_types import Ge, Le, Lt, MaxLen
from pydantic import (
    AllowInfNan,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.storage.schema import MOST_CHECKPOINTS, NAME, metadata_schema
from rnnzoo.zoo_builder.tasks import ZOOS, find_family, load_family
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import TaskFamily

if TYPE_CHECKING:  # torch takes seconds; the names of zoos and the fields of a config are asked for without it
    from rnnzoo.zoo_builder.rnn import RNNSpec
    from rnnzoo.zoo_builder.rollouts import EvaluationSettings
    from rnnzoo.zoo_builder.training.loop import Schedule

PAPER_CHECKPOINTS = (0, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
"""The steps at which the paper keeps weights; a shorter build keeps those before its last, and its last."""

IMPORTED = "imported"
"""The preset in the manifest of a zoo that was imported, not built: its config is no `ZooConfig`."""

DRAWN_FIELDS = (
    *("learning_rate_scales", "weight_decays"),
    *("batch_size_scales", "initial_scales", "data_fractions"),
)
"""Fields of which a run draws one value. A field's place here decides by which random number: never change it."""
MOST = 1_000_000
"""Sequences, and what rates, decays and factors may come to."""
MOST_VALUES = 1000
"""In a list that runs draw from, and knots of a learning rate."""
Name = Annotated[str, StringConstraints(pattern=NAME)]
Count = Annotated[int, Ge(1), Le(MOST)]
Runs = Annotated[int, Ge(1), Le(10_000_000)]
Step = Annotated[int, Ge(0), Lt(2**31)]
Size = Annotated[int, Ge(1), Le(2**15 - 1)]
Rollouts = Annotated[int, Ge(1), Le(10_000)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Rate = Annotated[float, Ge(0), Le(MOST), AllowInfNan(False)]
Factor = Annotated[float, Ge(1e-6), Le(MOST), AllowInfNan(False)]
Share = Annotated[float, Ge(1e-6), Le(1), AllowInfNan(False)]
Values = MaxLen(MOST_VALUES)


def _constant_rate(value: Any) -> Any:
    """A rate stands for the schedule that keeps it."""
    return ((0, value), (1, value)) if isinstance(value, Real | str) else value


Knots = Annotated[tuple[tuple[Annotated[float, Ge(0), Le(1)], Rate], ...], BeforeValidator(_constant_rate), Values]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ZooConfig:
    """Everything that a zoo's bytes depend on, apart from the arithmetic of the kernel that trains it.

    Attributes:
        zoo: Name of the zoo.
        preset: Name of the preset that it was made from.
        family: Name of the task family: see `rnnzoo.zoo_builder.tasks`.
        source: Which items, for a family that has several sources.
        runs: How many RNNs are trained.
        steps: Training steps (updates) of each run.
        checkpoints: Updates taken when weights are kept. 0 is the initialisation, the last equals `steps`.
        weight_decays: A run draws one of them from its seed.
        learning_rate: (fraction of `steps`, rate) knots of a piecewise linear schedule. A number is a
            constant rate.
        learning_rate_scales: Factors of the learning rate. A run draws one of them from its seed.
        batch_size: Sequences of a training step, times the run's batch scale.
        batch_size_scales: Whole factors of the batch size. A run draws one of them from its seed.
        initial_scales: Factors of the initial weights. A run draws one of them from its seed.
        data_fractions: Shares of its task's training items that a run trains on. It draws a share from its seed,
            and then which items these are.
        seed: The seed of the zoo.
        cell: Name of the recurrent cell.
        num_layers: L, recurrent layers.
        hidden_size: H, hidden units of each layer.
        evaluation_items: See `EvaluationSettings`.
        sampled_strings: See `EvaluationSettings`.
        rollouts: See `EvaluationSettings`. Where fewer sequences are evaluated, so many are kept.
        runs_per_shard: How many runs of a split share a file. A shard has one row for each of their checkpoints.
    """

    zoo: Name
    preset: Name
    family: str
    source: str | None
    runs: Runs
    steps: Annotated[Step, Ge(1)]
    checkpoints: Annotated[tuple[Step, ...], MaxLen(MOST_CHECKPOINTS)]
    weight_decays: Annotated[tuple[Rate, ...], Values] = (1e-4,)
    learning_rate: Knots = ((0, 0.01), (0.5, 0.003), (1, 0.0003))
    learning_rate_scales: Annotated[tuple[Factor, ...], Values] = (1.0,)
    batch_size: Count = 32
    batch_size_scales: Annotated[tuple[Count, ...], Values] = (1,)
    initial_scales: Annotated[tuple[Factor, ...], Values] = (1.0,)
    data_fractions: Annotated[tuple[Share, ...], Values] = (1.0,)
    seed: Seed = 0
    cell: str = "lstm"
    num_layers: Size = 2
    hidden_size: Size = 32
    evaluation_items: Count = 1000
    sampled_strings: Count = 1000
    rollouts: Rollouts = 100
    runs_per_shard: Count = 64

    @model_validator(mode="after")
    def _consistent(self) -> ZooConfig:
        family = find_family(self.family)
        if self.zoo not in family.zoos:
            raise ValueError(f"zoo: found {self.zoo!r}, expected one of {', '.join(family.zoos)}")
        if self.source != (source := family.zoos[self.zoo].source):
            raise ValueError(f"source: found {self.source!r}, expected {source or 'none'}, that of {self.zoo}")
        knots = [fraction for fraction, _ in self.learning_rate]
        if not knots or knots[0] != 0 or knots[-1] != 1 or knots != sorted(set(knots)):
            raise ValueError(f"learning_rate: found knots at {knots}, expected rising fractions from 0 to 1")
        steps = list(self.checkpoints)
        if not steps or steps != sorted(set(steps)) or steps[-1] != self.steps:
            raise ValueError(f"checkpoints: found {steps}, expected rising steps that end at {self.steps}")
        for name in DRAWN_FIELDS:
            if not getattr(self, name):
                raise ValueError(f"{name}: found none, expected at least one value")
        if self.preset == IMPORTED:
            raise ValueError(f"preset: found {IMPORTED!r}, which zoos have that were not built")
        if self.largest_batch > MOST:
            raise ValueError(
                f"batch_size: found {self.batch_size}, of which runs take {max(self.batch_size_scales)} times, "
                f"expected at most {MOST} sequences of a step"
            )
        if self.rollouts > (most := max(self.sampled_strings, self.evaluation_items)):
            raise ValueError(f"rollouts: found {self.rollouts}, expected at most {most}, the sequences evaluated")
        return self

    @property
    def largest_batch(self) -> int:
        """The most sequences that a run may take at a step."""
        return self.batch_size * max(self.batch_size_scales)

    @property
    def schedule(self) -> Schedule:
        from rnnzoo.zoo_builder.training.loop import Schedule

        return Schedule(self.steps, self.batch_size, self.checkpoints, self.learning_rate)

    @property
    def evaluation(self) -> EvaluationSettings:
        from rnnzoo.zoo_builder.rollouts import EvaluationSettings

        return EvaluationSettings(self.evaluation_items, self.sampled_strings, self.rollouts)

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON values, for `config_of`: from there they come back as the same text."""
        knots = tuple(
            (int(fraction) if fraction in (0, 1) else fraction, rate) for fraction, rate in self.learning_rate
        )
        return asdict(self) | {"learning_rate": knots}

    def make_family(self, items_folder: Path | None = None) -> TaskFamily[Any]:
        """The task family with its items.

        Args:
            items_folder: Where the user has the items, if they are read from files.

        Raises:
            RnnzooError: The items cannot be found or read.
        """
        return load_family(find_family(self.family), self.source, items_folder)

    @property
    def encoding(self) -> Encoding:
        return find_family(self.family).encoding

    @property
    def spec(self) -> RNNSpec:
        from rnnzoo.zoo_builder.rnn import RNNSpec

        return RNNSpec(
            input_size=self.encoding.input_size,
            hidden_size=self.hidden_size,
            output_size=find_family(self.family).output_size,
            num_layers=self.num_layers,
            cell=self.cell,
        )


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"runs": 64, "steps": 1000, "evaluation_items": 300, "sampled_strings": 300},
    "small": {
        "runs": 256,
        "steps": 2000,
        "runs_per_shard": 32,
        "evaluation_items": 4000,
        "sampled_strings": 500,
    },
    "paper": {"runs": 1000, "steps": 20_000, "evaluation_items": 60_000},
}


def resolve_config(zoo: str, preset: str, overrides: Mapping[str, Any] | None = None) -> ZooConfig:
    """The config of a named zoo at a preset, with fields overridden.

    Args:
        zoo: A name in `ZOOS`.
        preset: A name in `PRESETS`.
        overrides: Fields of the config. They always win over the zoo's and the preset's.

    Returns:
        The config, checked.

    Raises:
        RnnzooError: The zoo, the preset or a field is unknown, or a value does not fit.
    """
    for kind, name, known in (("zoo", zoo, ZOOS), ("preset", preset, PRESETS)):
        if name not in known:
            raise ParameterError(kind, f"found {name!r}, expected one of {', '.join(known)}")
    family, named = ZOOS[zoo]
    values: dict[str, Any] = {"zoo": zoo, "preset": preset, "family": family.name, "source": named.source}
    values |= {**named.defaults, **PRESETS[preset], **(overrides or {})}
    if "checkpoints" not in values:
        steps = _whole(values["steps"])
        values["checkpoints"] = (*(step for step in PAPER_CHECKPOINTS if step < steps), steps)
    if "rollouts" not in values:
        evaluated = "sampled_strings" if family.generates else "evaluation_items"
        values["rollouts"] = min(100, _whole(values.get(evaluated, 100)))
    _check_names(values, "config")
    try:
        return ZooConfig(**values)
    except ValidationError as error:
        raise ParameterError(*_first_mistake(error)) from error


def _whole(value: Any) -> int:
    """A value as a config would take it, to work out others from it; 1 for what is no whole number."""
    try:
        return TypeAdapter(int).validate_python(value)
    except ValidationError:  # which the config will say
        return 1


def config_of(values: Mapping[str, Any], where: str) -> ZooConfig:
    """A config from plain values, such as the JSON of a manifest.

    Args:
        values: Fields of a config.
        where: What the error names as the place of these values.

    Raises:
        RnnzooError: A field is unknown, or missing, or a value does not fit; or the zoo was imported, not built.
    """
    if values.get("preset") == IMPORTED:
        raise RnnzooError(f"{where}: was imported, expected a zoo that was built, whose runs can be repeated")
    _check_names(values, where)
    try:
        return ZooConfig(**values)
    except ValidationError as error:
        raise RnnzooError(f"{where}: {': '.join(filter(None, _first_mistake(error)))}") from error


def _check_names(values: Mapping[str, Any], where: str) -> None:
    known = {field.name for field in dataclasses.fields(ZooConfig)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise RnnzooError(f"{where}: found unknown field {unknown[0]!r}, expected one of {sorted(known)}")


def _first_mistake(error: ValidationError) -> tuple[str, str]:
    """The field, which may have a place in it, and what is wrong with it."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # of the whole config: the message begins with a field
        field, _, problem = message.partition(": ")
        return field, problem
    found = "nothing" if first["type"] == "missing" else f"{first['input']!r:.80}"
    return ".".join(map(str, first["loc"])), f"found {found}: {message}"


def metadata_columns(config: Mapping[str, Any]) -> pa.Schema:
    """The metadata columns of a zoo.

    Args:
        config: The config in the zoo's manifest. The zoo may be one that was imported.
    """
    family = find_family(config["family"])
    imported = family.published if config["preset"] == IMPORTED else None
    return metadata_schema(pa.schema([*family.columns(config["source"]), *(imported.columns if imported else [])]))

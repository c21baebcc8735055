"""The contract of a family of tasks: all that is special about it, so that no other room has to know.

A family is one class in one folder. What the class itself says (attributes and class methods) needs no data, so
that a zoo can be read, drawn and benchmarked anywhere; an instance holds the items that RNNs train on. A family
of your own is registered in `FAMILIES`, or from another package by an entry point of the group `rnnzoo.families`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.tasks.data import Bytes, LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.exact import Estimate, exact_mean
from rnnzoo.zoo_builder.tasks.published import PublishedForm
from rnnzoo.zoo_builder.tasks.target import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from torch import nn


class Task(Protocol):
    """What one RNN learned: a language, an angle. Hashable; equal tasks have equal ids."""

    @property
    def task_id(self) -> str: ...

    def columns(self) -> dict[str, Any]:
        """The task's values in the metadata, by column name."""
        ...


HEAT_MAP_CAPTION = "Time runs from left to right, one row an input; brighter is more."
TaskT = TypeVar("TaskT", bound=Task)


@dataclass(frozen=True)
class NamedZoo:
    """A zoo that can be built by name.

    Attributes:
        title: Title of its card.
        source: Which items, for a family that has several sources; otherwise None.
        defaults: Fields of the config that differ from the defaults of `ZooConfig`.
        licenses: Licences of the release, beside that of the weights, as the hub calls them.
        notice: Who owns the items in a release, and their licence; "" for items that nobody owns.
        tags: Tags on the hub.
    """

    title: str
    source: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    licenses: tuple[str, ...] = ()
    notice: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Colouring:
    """How the tasks of a family are told apart in a picture.

    Attributes:
        label: Label of the colour scale, with the unit.
        column: The metadata column that decides the colour.
        palette: A colour map of matplotlib.
        value: Values of the column [M] or [M, K] -> numbers [M].
        limits: Least and greatest number of the scale. None takes them from the data.
    """

    label: str
    column: str
    palette: str = "turbo"
    value: Callable[[NDArray[Any]], NDArray[np.float64]] = lambda values: values.astype(np.float64)
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Example:
    """A checkpoint to be drawn.

    Attributes:
        row: Its metadata.
        inputs: Its rollouts, uint8 [R, F].
        labels: uint8 [R], where they are known.
        outputs: Items uint8 [B, F] -> the RNN's log-probabilities [B, T, O].
    """

    row: Mapping[str, Any]
    inputs: Bytes
    labels: Bytes | None
    outputs: Callable[[Bytes], NDArray[np.float32]]


class TaskFamily(ABC, Generic[TaskT]):
    """All tasks of one kind, with the items they are made of.

    Attributes:
        name: Its name in `FAMILIES`.
        zoos: The named zoos of this family.
        encoding: How items become inputs and targets.
        output_size: O.
        output_names: What each of the O outputs says, for pictures. None at all numbers them.
        generates: Whether RNNs write sequences themselves, reading what they wrote. Then accuracy is that of the
            strings they write, and the rollouts of a checkpoint are such strings. Otherwise RNNs answer to given
            items, and are judged by the last answer or by all (`Encoding.every_answer`); rollouts are items, the
            same for all checkpoints of a run.
        task_columns: Metadata columns that say the task, those of `Task.columns`.
        score_columns: Further scores of a checkpoint, those of `score_words` and `score_strings`, or of
            `score_answers`.
        source_column: The metadata column that says `source`, for a family that has several sources.
        targets: What can be predicted beside `COMMON_TARGETS`. The first target is the task itself.
        colouring: How tasks are told apart in pictures.
        probing_length: T' of learned probes. None makes them as long as the items.
        inputs_caption: What `draw_inputs` shows, a sentence or two for people.
        published: How the family stands in the arrays of the original release; None for one that is not in it.
        items_text: What the bytes of an item are, for people.
        labels_text: What a label is, for people.
        items: uint8 [I, F], the raw material of every task.
        labels: uint8 [I], where an item has a label.
        source: Where the items come from, for a family that has several sources.
    """

    name: ClassVar[str]
    zoos: ClassVar[Mapping[str, NamedZoo]]
    encoding: ClassVar[Encoding]
    output_size: ClassVar[int]
    output_names: ClassVar[tuple[str, ...]] = ()
    generates: ClassVar[bool]
    task_columns: ClassVar[pa.Schema]
    score_columns: ClassVar[pa.Schema] = pa.schema([])
    source_column: ClassVar[pa.Field | None] = None
    targets: ClassVar[tuple[Target, ...]] = ()
    colouring: ClassVar[Colouring | None] = None
    probing_length: ClassVar[int | None] = None
    inputs_caption: ClassVar[str] = HEAT_MAP_CAPTION
    published: ClassVar[PublishedForm | None] = None
    items_text: ClassVar[str] = "bytes"
    labels_text: ClassVar[str] = "what the RNN has to answer"
    source: str | None = None
    items: Bytes
    labels: Bytes | None = None

    # What a build needs: of an instance, with its items.

    @classmethod
    @abstractmethod
    def load(cls, source: str | None, folder: Path | None = None) -> Self:
        """The family with its items.

        Args:
            source: Which items, as a `NamedZoo` says.
            folder: Where the user has them, for items that are not generated.

        Raises:
            RnnzooError: The items cannot be found or read.
        """

    @abstractmethod
    def tasks(self, runs: int, seed: int) -> list[TaskT]:
        """The task of each run. The task of run r does not depend on how many runs there are.

        Args:
            runs: How many runs.
            seed: The seed of the zoo.

        Returns:
            One task for each run, in order.
        """

    def view(self, task: TaskT) -> NDArray[np.int16] | None:
        """int16 [F']: which byte of an item stands at each place of the task's view of it; -1 for zero."""
        return None

    def source_value(self) -> dict[str, Any]:
        """The value of `source_column`, by its name."""
        return {} if self.source_column is None else {self.source_column.name: self.source}

    @abstractmethod
    def training_items(self, task: TaskT) -> NDArray[np.int32]:
        """The numbers of the items that training draws from, uniformly."""

    @abstractmethod
    def evaluation_items(self, task: TaskT) -> NDArray[np.int32]:
        """The numbers of the items that the evaluation loss is about."""

    # What belongs to the family itself.

    @classmethod
    def columns(cls, source: str | None) -> pa.Schema:
        """All its metadata columns, in zoos of a source. Their names are the same for all sources."""
        of_source = [] if cls.source_column is None else [cls.source_column]
        return pa.schema([*cls.task_columns, *of_source, *cls.score_columns])

    @classmethod
    @abstractmethod
    def task_of(cls, row: Mapping[str, Any]) -> TaskT:
        """The task that a row of metadata is about: the inverse of `Task.columns`."""

    @classmethod
    @abstractmethod
    def out_of_distribution(cls, tasks: Sequence[TaskT]) -> list[TaskT]:
        """The tasks of the `ood` split: about 15 % of `tasks`, further out than all others."""

    @classmethod
    def paper_rank(cls, task: TaskT) -> tuple[Any, ...]:
        """Sorts tasks for `paper_split`: those that come last are out of distribution. No two are equal."""
        return (task.task_id,)

    @classmethod
    def words(cls, task: TaskT) -> Bytes | None:
        """All strings that are right, for a family whose tasks have few: accuracy is then exact.

        Args:
            task: What the RNN learned.

        Returns:
            uint8 [W, F]. None where there are too many: accuracy is then that of sampled strings.
        """
        return None

    @classmethod
    def score_words(cls, task: TaskT, losses: NDArray[np.float64]) -> dict[str, Any]:
        """Scores that follow from the probabilities of a task's `words`. Nothing is drawn for them.

        Args:
            task: What the RNN learned.
            losses: -log of the probability that the RNN gives to each byte of each word after the first, once it
                has written those before, in nats, [W, T].

        Returns:
            Scores by column, "accuracy" among them.
        """
        raise NotImplementedError(f"{cls.name} has no list of its words")

    @classmethod
    def score_strings(cls, task: TaskT, strings: Bytes) -> dict[str, float]:
        """Scores of the strings that an RNN wrote, for a family that generates.

        Args:
            task: What the RNN learned.
            strings: uint8 [M, F].

        Returns:
            Scores by column; without `words`, "accuracy" is among them, the share of strings that are right.
        """
        raise NotImplementedError(f"{cls.name} writes no strings")

    @classmethod
    def score_answers(
        cls, task: TaskT, right: NDArray[np.bool_], eval_loss: Estimate, train_loss: Estimate
    ) -> dict[str, float]:
        """Scores of the answers that an RNN gave, for a family that does not generate.

        Args:
            task: What the RNN learned.
            right: Which answers to evaluation items were right, bool [M].
            eval_loss: Mean cross-entropy over evaluation items, in nats.
            train_loss: Mean cross-entropy over training items, in nats.

        Returns:
            Scores by column, "accuracy" among them, the share of answers that are right.
        """
        return {"accuracy": exact_mean(right)}

    # What encoders and the benchmark may ask.

    @classmethod
    def reference_items(
        cls, tasks: Sequence[TaskT], inputs: Bytes, labels: Bytes | None, count: int
    ) -> LabelledItems:
        """At most `count` items that any RNN of the family might be shown, whatever its task.

        Args:
            tasks: of G runs in training.
            inputs: their rollouts uint8 [G, R, F].
            labels: uint8 [G, R], where they are known.
            count: how many to give.
        """
        import torch

        runs = np.arange(count) % len(inputs) if len(inputs) else np.arange(0)
        entries = np.arange(len(runs)) // max(1, len(inputs)) % max(1, inputs.shape[1])
        given = None if labels is None else torch.from_numpy(labels[runs, entries].copy())
        return LabelledItems(torch.from_numpy(inputs[runs, entries].copy()), given)

    @classmethod
    def behaviour_statistics(cls, steps: int, reference: LabelledItems | None) -> nn.Module:
        """A module from the named weights of N RNNs to [N, E]: statistics of what they do.

        It runs the RNNs, and looks at no weight. The module's attribute `uses_data` says whether it needed
        labelled data.

        Args:
            steps: T, steps of the sequences.
            reference: Items for the RNNs to answer, where there are some.

        Raises:
            RnnzooError: The family has no such statistics.
        """
        raise RnnzooError(f"behaviour_statistics: the family {cls.name!r} has none")

    @classmethod
    def task_reader(cls, steps: int) -> nn.Module:
        """A module from the named weights of N RNNs to the first target [N, K].

        It reads the target from what the RNNs do, without learning.

        Args:
            steps: T, steps of the sequences.

        Raises:
            RnnzooError: The family has no rule that reads a task from behaviour.
        """
        raise RnnzooError(f"greedy_decode: the family {cls.name!r} has no rule that reads a task from behaviour")

    # What people see.

    @classmethod
    def card(cls) -> str | None:
        """The template of the body of its zoos' cards: `card.md` beside the family; None for the general one."""
        package = files(cls.__module__.rpartition(".")[0] or cls.__module__)
        path = package.joinpath("card.md")
        return path.read_text(encoding="utf-8") if path.is_file() else None

    @classmethod
    def describe(cls, sequence: Bytes) -> str:
        """A sequence uint8 [F] as text."""
        return " ".join(map(str, sequence.tolist()))

    @classmethod
    def draw_examples(cls, figure: Figure, where: SubplotSpec, runs: Sequence[Sequence[Example]]) -> None:
        """Draw what some runs do, each as a list of its checkpoints by step: by default the sequences as text."""
        from rnnzoo.zoo_builder.tasks.drawing import draw_sequences

        draw_sequences(figure, where, runs, cls.describe)

    @classmethod
    def draw_inputs(cls, inputs: NDArray[np.float64]) -> Figure:
        """Input sequences [K, T, D], such as learned probes: by default a heat map D x T each."""
        from rnnzoo.zoo_builder.tasks.drawing import draw_heat_maps

        return draw_heat_maps(inputs)

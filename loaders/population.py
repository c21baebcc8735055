"""What an encoder may know of the RNNs it is made for, besides their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import TaskFamily


@dataclass(frozen=True)
class Population:
    """What an encoder knows of the RNNs it is made for.

    Attributes:
        spec: Their sizes and parameters.
        encoding: What their inputs mean.
        steps: T of the sequences they were trained on.
        reference: Items that any of them might be shown, whatever its task; None where there are none. A zoo's
            are of tasks that train under every protocol.
        family: The family of their tasks; None where it is not known.

    Raises:
        RnnzooError: The encoding is not that of the family.
    """

    spec: RNNSpec
    encoding: Encoding
    steps: int
    reference: LabelledItems | None = None
    family: type[TaskFamily[Any]] | None = None

    def __post_init__(self) -> None:
        if self.family is not None and self.encoding != self.family.encoding:
            raise RnnzooError(
                f"population: found RNNs that read {self.encoding}, expected those of {self.family.name}, "
                f"{self.family.encoding}"
            )

    @property
    def generates(self) -> bool:
        """Whether RNNs write sequences themselves: each reads its own last output as its next input."""
        return self.family is not None and self.family.generates

    @property
    def probing_length(self) -> int:
        """T' of learned probes, in steps, where the user names none: the family's choice, or else `steps`."""
        named = None if self.family is None else self.family.probing_length
        return self.steps if named is None else named

    def known_family(self, encoder: str) -> type[TaskFamily[Any]]:
        """The family, for an encoder that needs it.

        Args:
            encoder: Its name, for the error.

        Returns:
            The family of the RNNs' tasks.

        Raises:
            RnnzooError: The family is not known.
        """
        if self.family is None:
            raise RnnzooError(
                f"{encoder}: found RNNs of no known family of tasks, expected one that describes them"
            )
        return self.family

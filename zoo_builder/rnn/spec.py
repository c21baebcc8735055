"""What an RNN of a zoo looks like: its cell, sizes, and named parameters with labelled axes.

The axis labels say which axis of which tensor runs over which layer's hidden units. Symmetries,
permutation augmentation and equivariant encoders are derived from them, so nothing else in the project
needs to know where a gate starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.rnn.cells import CELLS

AxisKind = Literal["hidden", "input", "output"]
MOST_PARAMETERS = 2**31 - 1
"""Of a model: what the metadata's int32 column holds."""
LARGEST_SIZE = 2**15 - 1
"""Of layers, units, inputs and outputs: what the metadata's int16 columns hold."""


@dataclass(frozen=True)
class Axis:
    """What one axis of a parameter runs over.

    Attributes:
        kind: "hidden" (the hidden units of `layer`), "input" (the network's inputs) or "output".
        layer: The layer whose hidden units they are; None for inputs and outputs.
        gates: How many blocks of units are stacked along the axis, gate after gate; 1 for a plain axis.
    """

    kind: AxisKind
    layer: int | None = None
    gates: int = 1


@dataclass(frozen=True)
class Parameter:
    """One named tensor of a model.

    Attributes:
        name: PyTorch's own name, such as "lstm.weight_ih_l0".
        shape: The shape in one model.
        axes: An `Axis` for every dimension.
        offset: The position of its first value in the flat row.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    offset: int

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class RNNSpec:
    """A stack of recurrent layers with a linear head: sizes, and every parameter in its fixed order.

    The order is that of the parameters of torch's own module for the cell, followed by the head's weight and bias;
    it is also the order of the flat rows of the zoo.

    Attributes:
        input_size: D, inputs at each step.
        hidden_size: H, hidden units of each layer.
        output_size: O, outputs at each step.
        num_layers: L, recurrent layers.
        cell: A name in `CELLS`.

    Raises:
        RnnzooError: The cell is unknown, a size is no whole number from 1 to `LARGEST_SIZE`, or the parameters are
            more than `MOST_PARAMETERS`.
    """

    input_size: int
    hidden_size: int
    output_size: int
    num_layers: int = 2
    cell: str = "lstm"

    def __post_init__(self) -> None:
        if not isinstance(self.cell, str) or self.cell not in CELLS:
            raise ParameterError("cell", f"found {self.cell!r}, expected one of {', '.join(CELLS)}")
        for name in ("input_size", "hidden_size", "output_size", "num_layers"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= LARGEST_SIZE:
                raise RnnzooError(f"{name}: found {value!r}, expected a whole number from 1 to {LARGEST_SIZE}")
        if self.num_parameters > MOST_PARAMETERS:
            raise RnnzooError(
                f"hidden_size: found {self.hidden_size} with {self.num_layers} layers, which make "
                f"{self.num_parameters} parameters, expected at most {MOST_PARAMETERS}"
            )

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter, in order."""
        gates = len(CELLS[self.cell].gates)
        rows, hidden = gates * self.hidden_size, self.hidden_size
        described: list[tuple[str, tuple[int, ...], tuple[Axis, ...]]] = []
        for layer in range(self.num_layers):
            units = Axis("hidden", layer)
            gated = Axis("hidden", layer, gates)
            below, width = (Axis("input"), self.input_size) if layer == 0 else (Axis("hidden", layer - 1), hidden)
            described += [
                (f"{self.cell}.weight_ih_l{layer}", (rows, width), (gated, below)),
                (f"{self.cell}.weight_hh_l{layer}", (rows, hidden), (gated, units)),
                (f"{self.cell}.bias_ih_l{layer}", (rows,), (gated,)),
                (f"{self.cell}.bias_hh_l{layer}", (rows,), (gated,)),
            ]
        last = Axis("hidden", self.num_layers - 1)
        described += [
            ("head.weight", (self.output_size, hidden), (Axis("output"), last)),
            ("head.bias", (self.output_size,), (Axis("output"),)),
        ]
        parameters, offset = [], 0
        for name, shape, axes in described:
            parameter = Parameter(name, shape, axes, offset)
            parameters.append(parameter)
            offset += parameter.size
        return tuple(parameters)

    @property
    def num_parameters(self) -> int:
        last = self.parameters[-1]
        return last.offset + last.size

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the parameter called `name`, in one model.

        Raises:
            RnnzooError: There is no such parameter.
        """
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter.shape
        raise RnnzooError(f"parameter: found {name!r}, expected one of {[p.name for p in self.parameters]}")

    def gate_rows(self, gate: str) -> slice:
        """The rows of a gate along a gated axis.

        Args:
            gate: One of the gates of the cell, such as "g".

        Returns:
            A slice of H rows: `slice(2H, 3H)` for the g of an LSTM.

        Raises:
            ValueError: The cell has no such gate.
        """
        index = CELLS[self.cell].gates.index(gate)
        return slice(index * self.hidden_size, (index + 1) * self.hidden_size)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values; `RNNSpec(**spec.to_dict()) == spec`."""
        return {
            "cell": self.cell,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "output_size": self.output_size,
            "num_layers": self.num_layers,
        }

    @classmethod
    def of_weights(cls, shapes: Mapping[str, tuple[int, ...]]) -> RNNSpec:
        """The spec that has exactly these parameters.

        Args:
            shapes: name -> shape of the parameter in one model.

        Returns:
            The spec. Its cell is read from the names, its sizes from the shapes.

        Raises:
            RnnzooError: No spec has these parameters. The error names a parameter that differs.
        """
        cell = next((name.split(".")[0] for name in shapes if name.endswith(".weight_ih_l0")), "")
        if cell not in CELLS or "head.weight" not in shapes:
            raise RnnzooError(
                f"weights: found parameters {sorted(shapes)}, expected '<cell>.weight_ih_l0', ..., "
                f"'head.weight', 'head.bias' with <cell> one of {sorted(CELLS)}"
            )
        spec = cls(
            cell=cell,
            input_size=shapes[f"{cell}.weight_ih_l0"][-1],
            hidden_size=shapes["head.weight"][-1],
            output_size=shapes["head.weight"][0],
            num_layers=sum(name.startswith(f"{cell}.weight_ih_l") for name in shapes),
        )
        expected = {parameter.name: parameter.shape for parameter in spec.parameters}
        for name in expected.keys() | shapes.keys():
            if tuple(shapes.get(name, ())) != expected.get(name, ()):
                raise RnnzooError(
                    f"weights: parameter {name!r} has shape {shapes.get(name)}, expected {expected.get(name)}"
                )
        return spec

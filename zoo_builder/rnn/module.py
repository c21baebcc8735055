"""One model of a zoo as a living `torch.nn` module."""

from __future__ import annotations

from torch import Tensor, nn

from rnnzoo.zoo_builder.rnn.cells import CELLS, State
from rnnzoo.zoo_builder.rnn.functional import Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.private_parts import is_inside_transform
from rnnzoo.zoo_builder.rnn.spec import RNNSpec


class RNNModule(nn.Module):
    """The layers of `nn.LSTM`, `nn.GRU` or `nn.RNN` and a linear head, with the parameter names of the zoo.

    Attributes:
        spec: The cell and the sizes.
        head: The linear layer from the H hidden units of the last layer to O outputs.

    >>> spec = RNNSpec(input_size=6, hidden_size=32, output_size=6)
    >>> [name for name, _ in RNNModule(spec).named_parameters()][0]
    'lstm.weight_ih_l0'
    """

    def __init__(self, spec: RNNSpec) -> None:
        super().__init__()
        self.spec = spec
        cell = CELLS[spec.cell]
        sizes = (spec.input_size, spec.hidden_size, spec.num_layers)
        layers = cell.torch_module(*sizes, batch_first=True, **cell.torch_options)
        self.add_module(spec.cell, layers)
        self.head = nn.Linear(spec.hidden_size, spec.output_size)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run the model over B sequences.

        Args:
            inputs: [B, T, D].
            state: The state variables of the cell before the first step, each [L, B, H]. None starts from zero.

        Returns:
            The logits [B, T, O], and the state after the last step, each variable [L, B, H].
        """
        if is_inside_transform():
            return self._forward_by_steps(inputs, state)
        cell = CELLS[self.spec.cell]
        hidden, final = self.get_submodule(cell.name)(inputs, cell.to_torch(state))
        return self.head(hidden), cell.from_torch(final)

    def _forward_by_steps(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The same inside `torch.func` transforms: torch has no batching rule for its recurrent layers."""
        stacked = {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}
        stacked_state = None if state is None else tuple(variable.unsqueeze(1) for variable in state)
        logits, final = rnn_forward(stacked, inputs, stacked_state)
        return logits.squeeze(0), tuple(variable.squeeze(1) for variable in final)

    @classmethod
    def of_weights(cls, weights: Weights) -> RNNModule:
        """A module with the weights of one model.

        Args:
            weights: name -> tensor of the shape that the parameter has in one model. Values are copied.

        Returns:
            A module whose spec follows from the names and shapes.

        Raises:
            RnnzooError: No spec has exactly these parameters.
        """
        spec = RNNSpec.of_weights({name: tuple(tensor.shape) for name, tensor in weights.items()})
        module = cls(spec)
        module.load_state_dict(dict(weights))
        return module

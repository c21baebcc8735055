"""A cell that the product does not have, written as one is added: no sign flip of its units leaves it in place."""

import torch
from torch import Tensor, nn

from rnnzoo.zoo_builder.rnn import Cell, State


def relu_step(input_part: Tensor, recurrent_part: Tensor, state: State) -> State:
    """h' = max(0, h), of the one gate h; state (h,)."""
    return (torch.relu(input_part + recurrent_part),)


RELU = Cell(
    name="relu",
    title="ReLU RNN",
    gates=("h",),
    state_variables=("h",),
    odd_gates=(),
    split_bias_gates=("h",),
    torch_module=nn.RNN,
    torch_options={"nonlinearity": "relu"},
    step=relu_step,
)

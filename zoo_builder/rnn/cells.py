"""The recurrent cells: each one its equation, and as data what else depends on it.

A cell sees the two parts of its pre-activations, W_ih x + b_ih and W_hh h + b_hh, which are [N, B, G * H] with
its G gates in PyTorch's order. `CELLS` has every cell; nothing outside `rnn` asks for one by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Recurrent state, one tensor a state variable, h first: [N, B, H] for a layer, [L, N, B, H] for N models."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its step, and what parameters, symmetries and encoders derive from it.

    Attributes:
        name: The first part of the names of its parameters, `<name>.weight_ih_l0`.
        title: What people call such a network.
        gates: Names of the blocks along the first axis of every recurrent parameter, in PyTorch's order.
        state_variables: Names of what a layer carries from step to step, h first.
        odd_gates: Gates whose pre-activation changes sign when the state of a unit does; empty where the cell
            admits no sign flip.
        split_bias_gates: Gates in which only the sum b_ih + b_hh matters.
        torch_module: The module of torch that computes the same.
        step: (input part, recurrent part, state) -> next state.
        step_from_sum: The same from the sum of the two parts, for cells that only need the sum: one matrix product
            then adds up both. None where the cell needs them apart.
        torch_options: Options with which `torch_module` is made.
    """

    name: str
    title: str
    gates: tuple[str, ...]
    state_variables: tuple[str, ...]
    odd_gates: tuple[str, ...]
    split_bias_gates: tuple[str, ...]
    torch_module: type[nn.Module]
    step: Callable[[Tensor, Tensor, State], State]
    step_from_sum: Callable[[Tensor, State], State] | None = None
    torch_options: Mapping[str, Any] = field(default_factory=dict)

    def to_torch(self, state: State | None) -> State | Tensor | None:
        """A state as `torch_module` takes it: a tuple for several variables, a tensor for one."""
        return state if state is None or len(self.state_variables) > 1 else state[0]

    def from_torch(self, state: State | Tensor) -> State:
        """A state as `torch_module` returns it, as a tuple."""
        return (state,) if isinstance(state, Tensor) else state


def lstm_step(input_part: Tensor, recurrent_part: Tensor, state: State) -> State:
    """One step of an LSTM from the two parts of its pre-activations: see `lstm_step_from_sum`.

    Args:
        input_part: W_ih x + b_ih, [N, B, 4 * H], gates i, f, g, o.
        recurrent_part: W_hh h + b_hh, [N, B, 4 * H].
        state: (h, c), each [N, B, H].

    Returns:
        The next state (h', c'), each [N, B, H].
    """
    return lstm_step_from_sum(input_part + recurrent_part, state)


def lstm_step_from_sum(gates: Tensor, state: State) -> State:
    """c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c').

    Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Args:
        gates: Pre-activations [N, B, 4 * H], gates i, f, g, o.
        state: (h, c), each [N, B, H].

    Returns:
        The next state (h', c'), each [N, B, H].
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(input_part: Tensor, recurrent_part: Tensor, state: State) -> State:
    """n = tanh(n_input + sigmoid(r) n_recurrent);  h' = (1 - sigmoid(z)) n + sigmoid(z) h.

    Cho et al. (2014), with the reset gate after the recurrent product, as in torch: r and z see the sum of the
    two parts, n sees them apart.

    Args:
        input_part: W_ih x + b_ih, [N, B, 3 * H], gates r, z, n.
        recurrent_part: W_hh h + b_hh, [N, B, 3 * H].
        state: (h,), [N, B, H].

    Returns:
        The next state (h',), [N, B, H].
    """
    r_input, z_input, n_input = input_part.chunk(3, dim=-1)
    r_recurrent, z_recurrent, n_recurrent = recurrent_part.chunk(3, dim=-1)
    n = torch.tanh(n_input + torch.sigmoid(r_input + r_recurrent) * n_recurrent)
    return (torch.lerp(n, state[0], torch.sigmoid(z_input + z_recurrent)),)


def tanh_step(input_part: Tensor, recurrent_part: Tensor, state: State) -> State:
    """One step of a tanh RNN from the two parts of its pre-activations: see `tanh_step_from_sum`.

    Args:
        input_part: W_ih x + b_ih, [N, B, H]: its one gate is h.
        recurrent_part: W_hh h + b_hh, [N, B, H].
        state: (h,), [N, B, H].

    Returns:
        The next state (h',), [N, B, H].
    """
    return tanh_step_from_sum(input_part + recurrent_part, state)


def tanh_step_from_sum(gates: Tensor, state: State) -> State:
    """h' = tanh(h), of the one gate h, after Elman (1990).

    Args:
        gates: Pre-activations [N, B, H].
        state: (h,), [N, B, H].

    Returns:
        The next state (h',), [N, B, H].
    """
    return (torch.tanh(gates),)


LSTM = Cell(
    name="lstm",
    title="LSTM",
    gates=("i", "f", "g", "o"),
    state_variables=("h", "c"),
    odd_gates=("g",),
    split_bias_gates=("i", "f", "g", "o"),
    torch_module=nn.LSTM,
    step=lstm_step,
    step_from_sum=lstm_step_from_sum,
)
GRU = Cell(
    name="gru",
    title="GRU",
    gates=("r", "z", "n"),
    state_variables=("h",),
    odd_gates=("n",),
    split_bias_gates=("r", "z"),
    torch_module=nn.GRU,
    step=gru_step,
)
TANH = Cell(
    name="tanh",
    title="tanh RNN",
    gates=("h",),
    state_variables=("h",),
    odd_gates=("h",),
    split_bias_gates=("h",),
    torch_module=nn.RNN,
    step=tanh_step,
    step_from_sum=tanh_step_from_sum,
)

CELLS: dict[str, Cell] = {cell.name: cell for cell in (LSTM, GRU, TANH)}

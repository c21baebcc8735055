"""How RNNs write: each token is drawn from what the RNN gives, and read as its next input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""One-hot inputs [..., D] and a state, None at the first step -> logits [..., O] and the next state."""


def write_tokens(
    step: Step, begin: int, inputs: int, uniforms: Tensor, given: Sequence[int] = ()
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sequences that RNNs write at temperature 1: the first input is `begin`, each later one the token before it.

    Args:
        step: One step of the RNNs, on all their sequences.
        begin: The token that opens a sequence.
        inputs: D, inputs at each step.
        uniforms: [..., T] in [0, 1), which decide the draws. Inputs get their dtype and their device.
        given: The first tokens of all sequences, which are not drawn.

    Yields:
        For each of T steps the tokens, int64 [...], and the logits [..., O] that they were drawn from.
    """
    token = torch.full(uniforms.shape[:-1], begin, device=uniforms.device)
    state = None
    for place, draws in enumerate(uniforms.unbind(dim=-1)):
        logits, state = step(one_hot(token, inputs).to(uniforms), state)
        is_given = place < len(given)
        token = torch.full_like(token, given[place]) if is_given else draw_tokens(logits, draws, begin)
        yield token, logits


def draw_tokens(logits: Tensor, uniforms: Tensor, otherwise: int) -> Tensor:
    """Draw tokens from the softmax of logits, by the inverse of the cumulative distribution function.

    Args:
        logits: [..., O].
        uniforms: [...] in [0, 1), which decide the draws.
        otherwise: The token where not all logits are finite.

    Returns:
        Tokens, int64 [...].
    """
    cumulated = logits.softmax(dim=-1).cumsum(dim=-1)
    token = (cumulated <= uniforms.unsqueeze(-1)).sum(dim=-1).clamp_max(logits.shape[-1] - 1)
    return torch.where(logits.isfinite().all(dim=-1), token, otherwise)

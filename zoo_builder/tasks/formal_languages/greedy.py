"""Greedy decoding: begin a word, let the RNN finish it, and count. No learning at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rnnzoo.zoo_builder.rnn import Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.chunks import in_chunks
from rnnzoo.zoo_builder.tasks.formal_languages.language import BEGIN, END, LETTERS, OFFSETS

A, B, C, D = range(len(LETTERS))
PREFIXES = range(4, 9)
"""n of the forced a^n: from 4 on every language has a word of that n, and 8 is seen in training."""


class GreedyReader(nn.Module):
    """Offsets (m_b, m_c, m_d) [N, 3] of the language a^n b^(n+m_b) c^(n+m_c) d^(n+m_d) that an RNN writes.

    BEGIN a^n is forced for n = 4 to 8; from there on the likeliest letter but a is written, until END. Each offset
    is the median of (#letter - n) over n, clipped to -3..2. steps: T of a string.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    @torch.no_grad()
    def forward(self, weights: Weights) -> Tensor:
        """name -> [N, *shape] to [N, 3], whole numbers."""
        decoded = in_chunks(lambda some: decode_greedily(some, self.steps), weights)
        return read_offsets(decoded).to(weights["head.bias"])


def decode_greedily(weights: Weights, steps: int) -> Tensor:
    """What N models write after BEGIN a^n, n in PREFIXES: tokens [N, 5, steps], the forced a^n among them."""
    models = len(weights["head.bias"])
    like = weights["head.bias"]
    lengths = torch.tensor(PREFIXES, device=like.device).expand(models, -1)
    token = torch.full_like(lengths, BEGIN)
    state, written = None, []
    for t in range(steps):
        inputs = one_hot(token, like.shape[1]).to(like).unsqueeze(2)
        logits, state = rnn_forward(weights, inputs, state)
        logits[..., A] = -torch.inf
        token = torch.where(t < lengths, A, logits[:, :, 0].argmax(dim=-1))
        written.append(token)
    return torch.stack(written, dim=-1)


def read_offsets(tokens: Tensor) -> Tensor:
    """Tokens [N, K, T] of K strings each, BEGIN left out, to the median offsets [N, 3].

    Letters count up to the first END: aabbbcdd is m = (1, -1, 0).
    """
    before_end = (tokens == END).cumsum(dim=-1) == 0
    counts = torch.stack([((tokens == letter) & before_end).sum(dim=-1) for letter in (A, B, C, D)], dim=-1)
    offsets = (counts[..., 1:] - counts[..., :1]).median(dim=1).values
    return offsets.clamp(OFFSETS[0], OFFSETS[-1])

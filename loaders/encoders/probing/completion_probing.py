"""Completion probing: RNNs that write are given beginnings, and go on by themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE
from rnnzoo.loaders.encoders.probing.base import PROBE_NOISE, ProbingEncoder, sum_over_steps
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs, Walk
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Weights

SOFTNESS = 0.02
"""Share of a beginning's token that is spread over all tokens: RNNs that count must not lose count."""


class CompletionProbing(ProbingEncoder):
    """K learned beginnings; each RNN completes them, its likeliest token being its next input.

    The embedding is a linear map of how often each token follows each other one, as the RNN expects it: see
    `sum_over_steps`.

    Beginnings start from strings that training RNNs wrote, up to the first change of token: from there on a word
    is determined. Gradients reach the beginnings through what the RNN predicts, not through which tokens it chose.

    Args:
        population: What it is made from.
        probes: K.
        length: T' of beginning and completion together, in steps; None takes that of the strings in the zoo.

    Raises:
        RnnzooError: The RNNs do not read what they write, or `probes` or `length` is no whole number of at least
            1.
    """

    group = "hand-made"
    lengths: Tensor

    def __init__(self, population: Population, probes: int = 8, length: int | None = None) -> None:
        spec = population.spec
        if not population.generates or spec.input_size != spec.output_size:
            raise RnnzooError(
                f"completion_probing: found RNNs that read {population.encoding} and have {spec.output_size} "
                "outputs, expected ones that read the tokens they write"
            )
        super().__init__(population, probes, population.steps if length is None else length)
        items, lengths = self._beginnings()
        self.register_buffer("lengths", lengths)
        hard = one_hot(items, spec.input_size)
        soft = (1 - SOFTNESS) * hard + SOFTNESS / spec.input_size
        self.scores = nn.Parameter(soft.log() + PROBE_NOISE * torch.randn(soft.shape))
        self.head = nn.Linear(probes * spec.input_size * spec.output_size, EMBEDDING_SIZE)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E]."""
        rnns = FrozenRNNs(weights)
        inputs = self.asked(rnns)
        return self.head(sum_over_steps(inputs, rnns.run(inputs).softmax(dim=-1)))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: each RNN's own, the beginnings and what it writes after them."""
        beginnings = self.input_range.forward(self.scores).expand(rnns.models, -1, -1, -1)
        with torch.no_grad():
            walk = Walk(rnns, self.length, self.probes)
            written = torch.empty_like(beginnings, memory_format=torch.contiguous_format)
            written[:, :, 0] = beginnings[:, :, 0]
            for t in range(self.length - 1):
                chosen = one_hot(walk.step(written[:, :, t], t).argmax(dim=-1), beginnings.shape[-1])
                given = (t + 1 < self.lengths)[:, None]
                written[:, :, t + 1] = torch.where(given, beginnings[:, :, t + 1], chosen.to(written))
        given = torch.arange(self.length, device=written.device) < self.lengths[:, None]
        return torch.where(given[..., None], beginnings, written)

    def _beginnings(self) -> tuple[Tensor, Tensor]:
        """Tokens [K, T'] of which lengths [K] are beginnings, of the middle half of strings by length."""
        reference = self.population.reference
        if reference is None:
            items = torch.randint(self.population.spec.input_size, (self.probes, self.length))
            return items, torch.full((self.probes,), -(-self.length // 4))
        items = reference.items.long()
        changes = items[:, 2:] != items[:, 1:-1]  # after the token that opens every string, and the one after it
        lengths = torch.where(changes.any(dim=1), changes.int().argmax(dim=1) + 3, items.shape[1])
        quarter = len(lengths) // 4  # the longest words may not fit into T'
        order = lengths.argsort()[quarter : len(lengths) - quarter]
        chosen = order[torch.linspace(0, len(order) - 1, self.probes).round().long()]
        room = items.new_zeros(self.probes, max(self.length, items.shape[1]))
        room[:, : items.shape[1]] = items[chosen]
        return room[:, : self.length], lengths[chosen].clamp_max(self.length)

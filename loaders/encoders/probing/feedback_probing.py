"""Feedback probing: what an RNN answered is part of what it is asked next, by a linear map that is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE
from rnnzoo.loaders.encoders.probing.base import ProbingEncoder, centred, read_logits, sum_over_steps
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs, Walk
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

PROBE_GAIN = 8.0
"""Of the sequences: by an update alone their numbers would hardly move."""
FEEDBACK_GAIN = 16.0
"""Of the feedback, likewise: its map starts at zero, and takes long to be heard without it."""


class FeedbackProbing(ProbingEncoder):
    """K learned sequences; to each input a learned linear map of the RNN's last answer is added.

    The map starts at zero: before training all RNNs are asked the same. Where RNNs write what they read, it
    becomes the way from an output to the next input, and an RNN goes on by itself; nothing tells it to. Its
    gradient is that of what it adds to the inputs: how an answer came about is not followed back.

    The embedding is a linear map of the sums over all steps of input times answer: see `sum_over_steps`.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes that of the RNNs' own sequences.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"

    def __init__(self, population: Population, probes: int = 8, length: int | None = None) -> None:
        super().__init__(population, probes, population.steps if length is None else length)
        spec = population.spec
        self.scores = nn.Parameter(self.open_probes() / PROBE_GAIN)
        self.feedback = nn.Parameter(torch.zeros(spec.input_size, spec.output_size))
        self.head = nn.Linear(probes * spec.input_size * spec.output_size, EMBEDDING_SIZE)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E]."""
        rnns = FrozenRNNs(weights)
        inputs = self.asked(rnns)
        return self.head(sum_over_steps(inputs, rnns.run(inputs).softmax(dim=-1)))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: each RNN's own. It is run once to hear its answers, which then are constants."""
        shape = rnns.models, self.probes, self.length, rnns.spec.output_size
        heard = self.scores.new_zeros(shape)  # before each step; nothing before the first
        with torch.no_grad():
            walk = Walk(rnns, self.length, self.probes)
            for t in range(self.length - 1):
                heard[:, :, t + 1] = centred(read_logits(walk.step(self._shown(heard[:, :, t], t), t)))
        return self._shown(heard, slice(None))

    def _shown(self, heard: Tensor, steps: int | slice) -> Tensor:
        """Inputs [N, K, ..., D] at some steps, after what was heard [N, K, ..., O] before them."""
        return self.input_range.forward(
            PROBE_GAIN * self.scores[:, steps] + heard @ (FEEDBACK_GAIN * self.feedback).T
        )

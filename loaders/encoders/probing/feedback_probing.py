"""Feedback probing: what an RNN answered is part of what it is asked next, by a linear map that is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE
from rnnzoo.loaders.encoders.probing.base import ProbingEncoder, centred, read_logits
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs, Walk
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

GAIN = 16.0
"""Of the feedback: its map starts at zero, and takes long to be heard without it."""
HIDDEN = 256
SUM_SCALE = 1 / 8


class FeedbackProbing(ProbingEncoder):
    """K learned sequences; to each input a learned linear map of the RNN's last answer is added.

    The map starts at zero: before training all RNNs are asked the same. Where RNNs write what they read, it can
    become the way from an output to the next input, and an RNN goes on by itself; nothing tells it to. Its
    gradient is that of what it adds to the inputs: how an answer came about is not followed back.

    Read are the log-probabilities of all steps, and for each probe the sums over all steps of input times answer,
    [D, O]. A linear map and a small MLP of both are added up. Unlike the paper's readers these have no state of
    their own to train, and the sums grow with whatever an RNN counts.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"

    def __init__(self, population: Population, probes: int = 8, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        self.scores = nn.Parameter(self.open_probes())
        self.feedback = nn.Parameter(torch.zeros(spec.input_size, spec.output_size))
        width = probes * spec.output_size * (self.length + spec.input_size)
        self.linear = nn.Linear(width, EMBEDDING_SIZE)
        self.mlp = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EMBEDDING_SIZE))

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        rnns = FrozenRNNs(weights)
        inputs = self._asked(rnns)
        answers = read_logits(rnns.run(inputs))
        sums = SUM_SCALE * (inputs.mT @ answers.exp())
        read = torch.cat([centred(answers).flatten(1), sums.flatten(1)], dim=1)
        return nn.functional.normalize(self.linear(read) + self.mlp(read), dim=-1)

    @torch.no_grad()
    def probing_inputs(self, weights: Weights) -> Tensor:
        """See `ProbingEncoder`: each RNN's own."""
        return self._asked(FrozenRNNs(weights))

    def _asked(self, rnns: FrozenRNNs) -> Tensor:
        """Inputs [N, K, T', D]: the RNNs are run once to hear their answers, which then are constants."""
        shape = rnns.models, self.probes, self.length, rnns.spec.output_size
        heard = self.scores.new_zeros(shape)  # before each step; nothing before the first
        with torch.no_grad():
            walk = Walk(rnns, self.length, self.probes)
            for t in range(self.length - 1):
                heard[:, :, t + 1] = centred(read_logits(walk.step(self._shown(heard[:, :, t], t), t)))
        return self._shown(heard, slice(None))

    def _shown(self, heard: Tensor, steps: int | slice) -> Tensor:
        """Inputs [N, K, ..., D] at some steps, after what was heard [N, K, ..., O] before them."""
        return self.input_range.forward(self.scores[:, steps] + heard @ (GAIN * self.feedback).T)

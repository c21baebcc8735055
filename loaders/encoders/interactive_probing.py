"""Interactive probing: what an RNN is asked next depends on what it has answered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loaders.encoders.base import Population
from loaders.encoders.frozen_rnn import FrozenRNNs
from loaders.encoders.probing import (
    READER_SIZE,
    ProbingEncoder,
    ReadOut,
    open_probes,
    read_in,
    read_logits,
    reader_lstm,
)
from loaders.encoders.stepwise_lstm import StepwiseLSTM
from zoo_builder.rnn import Weights


class InteractiveProbing(ProbingEncoder):
    """A 2-layer LSTM of 256 reads the outputs of a step and writes the K inputs of the next one.

    (Herrmann et al. 2024, whose form trains unstably.) Here the inputs are free sequences, as in non-interactive
    probing, plus a linear map of the reader's state that begins at zero: training starts from an open loop and
    closes it as far as that helps.
    """

    published = True

    def __init__(self, population: Population, probes: int = 1, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        self.scores = nn.Parameter(open_probes(probes, self.length, spec.input_size))
        self.correction = nn.Parameter(torch.zeros(probes * spec.input_size, READER_SIZE))
        self.read_in = read_in(probes * spec.output_size)
        self.lstm = reader_lstm()
        self.read_out = ReadOut()

    def forward(self, weights: Weights) -> Tensor:
        """name -> [N, *shape] to [N, E]."""
        hidden, _ = self._interrogate(weights)
        return self.read_out(hidden)

    @torch.no_grad()
    def probing_inputs(self, weights: Weights) -> Tensor:
        """See `ProbingEncoder`: each RNN's own."""
        return self._interrogate(weights)[1]

    def _interrogate(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """The reader's hidden states [T', N, 256] and the inputs [N, K, T', D]."""
        rnns = FrozenRNNs(weights)
        state = rnns.zero_state(self.probes, self.scores)
        reader = StepwiseLSTM(self.lstm, rnns.models, self.length)
        shown: list[Tensor] = []
        hidden: list[Tensor] = []
        for open_scores in self.scores.unbind(1):
            scores = open_scores.expand(rnns.models, -1, -1)
            if hidden:
                # A sum over 256 units that learn in step: the scale keeps it from outrunning the free sequences.
                correction = hidden[-1] @ self.correction.T / READER_SIZE**0.5
                scores = scores + correction.view_as(scores)
            inputs = self.as_inputs(scores)
            logits, state = rnns.step(inputs, state)
            shown.append(inputs)
            hidden.append(reader.step(self.read_in(read_logits(logits).flatten(1))))
        return torch.stack(hidden), torch.stack(shown, dim=2)

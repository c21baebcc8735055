"""Interactive probing: what an RNN is asked next depends on what it has answered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.probing.base import READER_SIZE, ProbingEncoder, Reader, ReadOut
from rnnzoo.loaders.encoders.probing.closed_loop import ClosedLoop, closed_loop_reference
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.probing.recurrence import in_full_precision
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class InteractiveProbing(ProbingEncoder):
    """A 2-layer LSTM of 256 reads the outputs of a step and writes the K inputs of the next one.

    From Herrmann et al. (2024), in another form, because training is unstable in theirs. Here the inputs are free
    sequences, as in non-interactive probing, plus a linear map of the reader's state that begins at zero. So at
    first the inputs do not depend on the answers, and training makes them depend on the answers as far as that
    helps.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"
    published = True

    def __init__(self, population: Population, probes: int = 8, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        self.scores = nn.Parameter(self.open_probes())
        self.correction = nn.Parameter(torch.zeros(probes * spec.input_size, READER_SIZE))
        self.reader = Reader(probes * spec.output_size)
        self.read_out = ReadOut(self.length)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        return self.read_out(self._interrogate(FrozenRNNs(weights))[0])

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: each RNN's own."""
        return self._interrogate(rnns)[1].permute(1, 2, 0, 3)

    def _interrogate(self, rnns: FrozenRNNs) -> tuple[Tensor, Tensor]:
        """The reader's hidden states [T', N, 256] and the inputs [T', N, K, D]."""
        loop = in_full_precision(ClosedLoop.apply if rnns.is_fast else closed_loop_reference)
        # A sum over 256 units that learn in step: the scale keeps it from outrunning the free sequences.
        correction = self.correction / READER_SIZE**0.5
        return loop(
            rnns, self.input_range, self.scores.transpose(0, 1), correction, *self.reader.composed_weights()
        )

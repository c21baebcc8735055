"""Non-interactive probing: the same learned sequences for every RNN, and an LSTM that reads the answers."""

from __future__ import annotations

from torch import Tensor, nn

from rnnzoo.loaders.encoders.probing.base import ProbingEncoder, Reader, ReadOut, read_logits
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights


class NoninteractiveProbing(ProbingEncoder):
    """K free sequences of T' steps; a 2-layer LSTM of 256 reads the K outputs of a step side by side.

    From Herrmann et al. (2024).

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
        self.reader = Reader(probes * spec.output_size)
        self.read_out = ReadOut(self.length)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        rnns = FrozenRNNs(weights)
        answers = read_logits(rnns.run(self.asked(rnns)))
        return self.read_out(self.reader(answers.permute(2, 0, 1, 3).flatten(2)))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: the same for all, [K, T', D]."""
        return self.input_range.forward(self.scores)

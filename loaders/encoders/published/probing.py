"""Both probing encoders as published: an LSTM with residuals, which BEGIN and END steps enclose."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead
from rnnzoo.loaders.encoders.probing.base import READER_SIZE, ProbingEncoder
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import State, Weights
from rnnzoo.zoo_builder.tasks.input_ranges import Interval

CODE_SIZE = 128
"""Numbers that a probing input is decoded from, and hidden units of the decoder and of the head."""
Reading = list[tuple[Tensor, Tensor]]
"""h and c of each of the reader's layers, [N, 256]."""


class PublishedProbing(ProbingEncoder):
    """What both published probing encoders share; R = 256 is the reader's width.

    The reader takes T' + 2 steps: BEGIN, the answers to T' probing inputs, END. Answers are raw logits, squashed
    by a sigmoid after a linear map, so that a shift of all logits does move the embedding. Every layer's input is
    added to its output; the output at END is the embedding's only source. A probing input is decoded by an MLP
    from R numbers: a step's learned ones, or the reader's output. Inputs sum to one where real ones do, else each
    lies in (0, 1), whatever range real ones have.

    Some parameters are counted in the published sizes and never used: the reader's initial states, and the learned
    sequence of the interactive encoder. They are there, and take no gradient.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"
    published = True
    invariant_to = frozenset({"permutation", "sign_flip", "bias_split"})

    def __init__(self, population: Population, probes: int = 1, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        if not self.input_range.sums_to_one:
            self.input_range = Interval(0.0, 1.0)
        self.reader = nn.ModuleList(nn.LSTMCell(READER_SIZE, READER_SIZE) for _ in range(2))
        self.begin = nn.Parameter(torch.zeros(1, READER_SIZE))
        self.end = nn.Parameter(torch.zeros(1, READER_SIZE))
        self.unused_hidden = nn.Parameter(torch.zeros(2, 1, READER_SIZE), requires_grad=False)
        self.unused_cell = nn.Parameter(torch.zeros(2, 1, READER_SIZE), requires_grad=False)
        self.sequence = nn.Parameter(torch.randn(self.length + 1, READER_SIZE))
        self.read_in = nn.Linear(spec.output_size * probes, READER_SIZE)
        self.spread = nn.Linear(READER_SIZE, CODE_SIZE * probes)
        self.decoder = nn.Sequential(
            nn.Linear(CODE_SIZE, CODE_SIZE), nn.ReLU(), nn.Linear(CODE_SIZE, spec.input_size)
        )
        self.head = EmbeddingHead(READER_SIZE, (CODE_SIZE,))

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        return {f"rnn_cells.{layer}.cell": f"reader.{layer}" for layer in range(2)} | {
            "bos": "begin",
            "eos": "end",
            "h0": "unused_hidden",
            "c0": "unused_cell",
            "probing_encodings": "sequence",
            "probing_output_transform.0": "read_in",
            "proj_up.0": "spread",
            "probing_input_decoder": "decoder",
            "output_transform": "head.layers",
        }

    def _inputs(self, source: Tensor) -> Tensor:
        """The K probing inputs of a step, [..., R] -> [..., K, D]."""
        codes = self.spread(source).relu().unflatten(-1, (self.probes, CODE_SIZE))
        return self.input_range.forward(self.decoder(codes))

    def _squashed(self, logits: Tensor) -> Tensor:
        """What the reader reads of a step's answers, [..., K, O] -> [..., R]."""
        return self.read_in(logits.flatten(-2)).sigmoid()

    def _read(self, below: Tensor, reading: Reading) -> tuple[Tensor, Reading]:
        """A step of the reader, [N, R] -> [N, R]."""
        states: Reading = []
        for cell, state in zip(self.reader, reading, strict=True):
            hidden, memory = cell(below, state)
            states.append((hidden, memory))
            below = below + hidden
        return below, states

    def _begun(self, models: int) -> tuple[Tensor, Reading]:
        """The reader after BEGIN."""
        zero = self.begin.new_zeros(models, READER_SIZE)
        return self._read(self.begin.expand(models, -1), [(zero, zero) for _ in self.reader])

    def _ended(self, reading: Reading) -> Tensor:
        """The reader's output at END, [N, R]."""
        return self._read(self.end.expand(len(reading[0][0]), -1), reading)[0]


class PublishedNoninteractiveProbing(PublishedProbing):
    """K sequences that are decoded from learned ones, the same for every RNN; a residual LSTM reads the answers.

    From the program of Herrmann et al. (2024), see `PublishedProbing`.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        rnns = FrozenRNNs(weights)
        read_in = self._squashed(rnns.run(self.asked(rnns)).transpose(1, 2))
        _, reading = self._begun(rnns.models)
        for answers in read_in.unbind(1):
            _, reading = self._read(answers, reading)
        return self.head(self._ended(reading))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: the same for all, [K, T', D]."""
        return self._inputs(self.sequence[: self.length]).transpose(0, 1)


class PublishedInteractiveProbing(PublishedProbing):
    """A residual LSTM reads the outputs of a step, and the K inputs of the next one are decoded from its output.

    From the program of Herrmann et al. (2024), see `PublishedProbing`.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    def __init__(self, population: Population, probes: int = 1, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        self.sequence.requires_grad_(False)

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        return self.head(self._interrogate(FrozenRNNs(weights))[0])

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: each RNN's own."""
        return self._interrogate(rnns)[1]

    def _interrogate(self, rnns: FrozenRNNs) -> tuple[Tensor, Tensor]:
        """The reader's output at END [N, R], and the inputs [N, K, T', D]."""
        read, reading = self._begun(rnns.models)
        state: State | None = None
        shown = []
        for _ in range(self.length):
            shown.append(self._inputs(read))
            logits, state = rnns.step(shown[-1], state)
            read, reading = self._read(self._squashed(logits), reading)
        return self._ended(reading), torch.stack(shown, dim=2)

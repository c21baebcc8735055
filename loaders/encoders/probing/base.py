"""What the probing encoders share: probes in the range of real inputs, and a reader of the RNN's answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EVERY_SYMMETRY, EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.probing.recurrence import LSTMStack, in_full_precision
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Weights
from rnnzoo.zoo_builder.tasks.input_ranges import InputRange

READER_SIZE = 256
STEP_FEATURES = 400
"""Numbers that the embedding is made of, shared by the steps of a probe."""
LEAST_LOG_PROBABILITY = -12.0
PROBE_SPREAD = 2.0
"""Deviation of a random probe's numbers before `InputRange`: at first most steps lean to one or two inputs."""
PROBE_NOISE = 0.3
SUM_SCALE = 5.0
CERTAINTY = 0.8
"""How far a probe that sets out from a real item is one: where an input range ends, its gradient does, too."""


class ProbingEncoder(RegisteredEncoder):
    """Runs N RNNs over K probes of T' steps that it learns; sees their outputs after a log-softmax alone.

    From Herrmann et al. (2024). Whatever leaves the RNN's function unchanged leaves the embedding unchanged, and
    so does a shift of all logits.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    invariant_to = EVERY_SYMMETRY

    def __init__(self, population: Population, probes: int, length: int | None) -> None:
        super().__init__()
        length = population.probing_length if length is None else length
        for name, value in (("probes", probes), ("length", length)):
            if not isinstance(value, int) or value < 1:
                raise RnnzooError(f"{name}: found {value!r}, expected a whole number of at least 1")
        self.population = population
        self.probes = probes
        self.length = length
        self.input_range: InputRange = population.encoding.input_range

    def open_probes(self) -> Tensor:
        """Initial free probes, before `input_range`: real items with a little noise; noise alone where there are
        no items.

        A string that training RNNs wrote leads an RNN to where its task shows, from the first update on. Where
        items are strings, only the longest quarter of them is used. Past the end of an item there is noise.

        Returns:
            Scores [K, T', D].
        """
        shape = self.probes, self.length, self.population.spec.input_size
        if self.population.reference is None:
            return PROBE_SPREAD * torch.randn(shape)
        items = self.population.reference.items
        if self.population.generates:
            length = (items != items[:, -1:]).sum(dim=-1)  # up to where a string only ends on
            items = items[length.argsort(descending=True)[: max(1, len(items) // 4)]]
        inputs = self.population.encoding.inputs(items)
        chosen = inputs[torch.randint(len(inputs), (self.probes,)), : self.length]
        scores = PROBE_NOISE * torch.randn(shape)
        scores[:, : chosen.shape[1]] += self.input_range.near(chosen, CERTAINTY)
        return scores

    @property
    def queries(self) -> int:
        """Steps that one RNN is run for, over all probes: K T'."""
        return self.probes * self.length

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """The inputs that N RNNs are shown.

        Args:
            rnns: The N models.

        Returns:
            Inputs [N, K, T', D], each RNN's own; or [K, T', D], the same for all.
        """
        raise NotImplementedError

    @torch.no_grad()
    def probing_inputs(self, weights: Weights) -> Tensor:
        """The inputs that each RNN is shown, to look at: no gradient.

        Args:
            weights: Name -> [N, *shape].

        Returns:
            Inputs [N, K, T', D].
        """
        rnns = FrozenRNNs(weights)
        return self.asked(rnns).expand(rnns.models, -1, -1, -1)


def read_logits(logits: Tensor) -> Tensor:
    """Logits [..., O] to log-probabilities, cut off below at -12: less than e^-12 is as good as nothing.

    The cut keeps the sharpest RNNs from drowning the reader.
    """
    return logits.log_softmax(dim=-1).clamp_min(LEAST_LOG_PROBABILITY)


def sum_over_steps(inputs: Tensor, answers: Tensor) -> Tensor:
    """The sums over all steps of input times answer, [N, K, T', D] and [N, K, T', O] to [N, K D O], times 5 / T'.

    Whatever an RNN counts is a number in these sums. They and linear maps of them are not brought to unit length:
    a linear readout then finds the number where RNNs count further than any training RNN did.
    """
    return SUM_SCALE / inputs.shape[-2] * (inputs.mT @ answers).flatten(1)


class Reader(nn.Module):
    """A linear map to 256 and a 2-layer LSTM of 256 over the answers of K probes side by side, [T', N, K O].

    At first, recurrent weights are orthogonal and the bias of the forget gates is 1, so that the state lasts.

    Args:
        width: K O.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read_in = nn.Linear(width, READER_SIZE)
        nn.init.normal_(self.read_in.weight, std=1 / math.sqrt(width))
        nn.init.zeros_(self.read_in.bias)
        self.lstm = nn.LSTM(READER_SIZE, READER_SIZE, 2)
        with torch.no_grad():
            for below, recurrent, bias_ih, bias_hh in self.lstm.all_weights:
                for gate in range(4):
                    nn.init.xavier_uniform_(below.chunk(4)[gate])
                    nn.init.orthogonal_(recurrent.chunk(4)[gate])
                bias_hh.zero_()
                bias_ih.zero_()[READER_SIZE : 2 * READER_SIZE] = 1

    def forward(self, answers: Tensor) -> Tensor:
        """Log-probabilities [T', N, K O] to the hidden states of the last layer [T', N, 256]."""
        if answers.is_cuda:  # there cuDNN wants the LSTM's own weights, in one piece
            return self.lstm(self.read_in(centred(answers)))[0]
        return in_full_precision(LSTMStack.apply)(answers, *self.composed_weights())

    def composed_weights(self) -> list[Tensor]:
        """[W, U, b] of both layers, the map to 256 multiplied into the first W.

        Two linear maps in a row are one, of 4 x 256 rows and K O columns: a quarter of the reader's work less.
        """
        (below, recurrent, bias_ih, bias_hh), (*second, second_ih, second_hh) = self.lstm.all_weights
        first = below @ self.read_in.weight
        # On answers as they are: that of `centred` is multiplied in, too.
        bias = torch.addmv(bias_ih + bias_hh, below, self.read_in.bias) + first.sum(dim=1)
        return [first / 3, recurrent, bias, *second, second_ih + second_hh]


def centred(answers: Tensor) -> Tensor:
    """Log-probabilities from [-12, 0] to [-3, 1]."""
    return answers / 3 + 1


class ReadOut(nn.Module):
    """The reader's hidden states [T', N, 256] to embeddings [N, E].

    One linear map makes a few numbers of each step. The numbers of all steps side by side go through one hidden
    layer. Unlike the last state, or a mean, this can tell from the first update on at which step an RNN gave which
    answer.

    Args:
        length: T', in steps.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        width = max(1, STEP_FEATURES // length)
        self.narrow = nn.Linear(READER_SIZE, width)
        self.head = EmbeddingHead(length * width, (READER_SIZE,))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [T', N, 256] to embeddings [N, E] of unit length."""
        return self.head(self.narrow(hidden).transpose(0, 1).flatten(1))

"""What the probing encoders share: probes in the range of real inputs, and a reader of the RNN's answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from loaders.encoders.base import EmbeddingHead, Population, RegisteredEncoder
from zoo_builder.errors import RnnzooError
from zoo_builder.rnn import Weights
from zoo_builder.tasks.base import TokenEncoding

TOKEN_LENGTH = 22
IMAGE_LENGTH = 50
READER_SIZE = 256
LEAST_LOG_PROBABILITY = -12.0


class ProbingEncoder(RegisteredEncoder):
    """Runs N RNNs over K probes of T' steps that it learns; sees their outputs after a log-softmax alone.

    (Herrmann et al. 2024.) What leaves the function in place leaves the embedding in place, and so does a
    shift of all logits. length: T', by default 22 for tokens and 50 for images.
    """

    group = "functionalist"
    invariant_to = frozenset({"permutation", "sign_flip", "bias_split", "head_gauge"})

    def __init__(self, population: Population, probes: int, length: int | None) -> None:
        super().__init__()
        default = TOKEN_LENGTH if population.reads_tokens else IMAGE_LENGTH
        for name, value in (("probes", probes), ("length", default if length is None else length)):
            if not isinstance(value, int) or value < 1:
                raise RnnzooError(f"{name}: found {value!r}, expected a whole number of at least 1")
        self.population = population
        self.probes = probes
        self.length = default if length is None else length

    @property
    def queries(self) -> int:
        """Steps that one RNN is asked for."""
        return self.probes * self.length

    def probing_inputs(self, weights: Weights) -> Tensor:
        """The inputs [N, K, T', D] that N RNNs are shown, without a gradient."""
        raise NotImplementedError

    def as_inputs(self, scores: Tensor) -> Tensor:
        """Unbounded numbers [..., D] to inputs: a distribution over tokens, or numbers in the range of pixels."""
        encoding = self.population.encoding
        if isinstance(encoding, TokenEncoding):
            return scores.softmax(dim=-1)
        return torch.sigmoid(scores) * (255 * encoding.scale) + encoding.shift


def read_logits(logits: Tensor) -> Tensor:
    """Logits [..., O] to log-probabilities, cut off below at -12 and scaled to [-3, 1].

    The cut keeps a confident RNN from drowning the reader: a probability below e^-12 is as good as none.
    """
    return logits.log_softmax(dim=-1).clamp_min(LEAST_LOG_PROBABILITY) / 3 + 1


def open_probes(probes: int, length: int, width: int) -> Tensor:
    """Initial free probes [K, T', D] before `as_inputs`: spread enough that each step leans to a few inputs."""
    return 2 * torch.randn(probes, length, width)


def reader_lstm() -> nn.LSTM:
    """The 2-layer LSTM of 256 that reads; orthogonal recurrent weights, forget gates that begin open."""
    lstm = nn.LSTM(READER_SIZE, READER_SIZE, 2)
    with torch.no_grad():
        for layer in range(lstm.num_layers):
            for block in getattr(lstm, f"weight_hh_l{layer}").chunk(4):
                nn.init.orthogonal_(block)
            for block in getattr(lstm, f"weight_ih_l{layer}").chunk(4):
                nn.init.xavier_uniform_(block)
            for side in ("bias_ih", "bias_hh"):
                nn.init.zeros_(getattr(lstm, f"{side}_l{layer}"))
            getattr(lstm, f"bias_ih_l{layer}")[READER_SIZE : 2 * READER_SIZE] = 1
    return lstm


def read_in(width: int) -> nn.Linear:
    """The linear map from K answers at a step, [..., K O], to the reader's 256 inputs."""
    linear = nn.Linear(width, READER_SIZE)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(width))
    nn.init.zeros_(linear.bias)
    return linear


class ReadOut(nn.Module):
    """The reader's hidden states [T', N, 256] to embeddings: the last and the mean one, then one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = EmbeddingHead(2 * READER_SIZE, (READER_SIZE,))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(torch.cat([hidden[-1], hidden.mean(dim=0)], dim=-1))

"""The emulator, and how far its outputs are from the RNN's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EMBEDDING_SIZE, declared
from rnnzoo.loaders.training_config import Condition, EmulatorForm, Precision, TrainingConfig
from rnnzoo.zoo_builder.rnn import RNNSpec, Weights

FORGET_BIAS = 2.0
EmulatorState = tuple[Tensor, Tensor]


class Emulator(nn.Module):
    """An LSTM that stands in for any RNN of a zoo: embedding [N, E], inputs [N, R, T, D] -> log-probabilities.

    A linear map of the embedding is added to the first (BEGIN) step alone, so the emulator's state has to carry
    what it knows of the RNN; or to every step. Herrmann et al. (2024) take 2 layers of 256, and the first step.

    Args:
        spec: Of the RNNs; D and O are taken from it.
        hidden: Units of a layer.
        layers: LSTM layers.
        embedding: E.
        form: How parameters start: "published" as torch's modules do; "own" so that the embedding is heard, and
            remembered, from the first update on.
        condition: The steps that the embedding is added to: "first" or "every".
        precision: "bfloat16" computes the products of the LSTM in bfloat16, in training mode alone; parameters and
            everything else are float32.
    """

    def __init__(
        self,
        spec: RNNSpec,
        hidden: int = 256,
        layers: int = 2,
        embedding: int = EMBEDDING_SIZE,
        form: EmulatorForm = "own",
        condition: Condition = "first",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.condition, self.precision = condition, precision
        self.read_inputs = nn.Linear(spec.input_size, hidden)
        self.read_embedding = nn.Linear(embedding, hidden)
        if form == "own":  # most embeddings have unit length: a map of torch's scale would be too quiet
            nn.init.normal_(self.read_embedding.weight)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, spec.output_size)
        if form == "own":  # what the embedding says has to last to the end: gates start out remembering
            for layer in range(layers):
                getattr(self.lstm, f"bias_ih_l{layer}").data[hidden : 2 * hidden] += FORGET_BIAS

    def forward(self, embedding: Tensor, inputs: Tensor) -> Tensor:
        """Run N emulations on R sequences each.

        Args:
            embedding: Of the RNNs, [N, E].
            inputs: [N, R, T, D].

        Returns:
            Log-probabilities in nats, [N, R, T, O].
        """
        models, rollouts = inputs.shape[:2]
        driven = self.read_inputs(inputs)
        heard = self.read_embedding(embedding)[:, None, None]
        if self.condition == "every":
            driven = driven + heard
        else:
            driven = torch.cat([driven[:, :, :1] + heard, driven[:, :, 1:]], dim=2)
        is_coarse = self.training and self.precision == "bfloat16"
        with torch.autocast(driven.device.type, torch.bfloat16, enabled=is_coarse):
            hidden, _ = self.lstm(driven.flatten(0, 1))
        return self.head(hidden.float()).log_softmax(dim=-1).unflatten(0, (models, rollouts))

    def step(self, inputs: Tensor, state: EmulatorState | None, embedding: Tensor) -> tuple[Tensor, EmulatorState]:
        """One step of M sequences.

        Args:
            inputs: [M, D].
            state: That of the step before; None at the first step.
            embedding: [M, E]; read at the steps of `condition`.

        Returns:
            Log-probabilities in nats, [M, O], and the next state.
        """
        driven = self.read_inputs(inputs)
        if state is None or self.condition == "every":
            driven = driven + self.read_embedding(embedding)
        hidden, state = self.lstm(driven[:, None], state)
        return self.head(hidden[:, 0]).log_softmax(dim=-1), state

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        return {
            "embedding_projection": "read_embedding",
            "input_projection": "read_inputs",
            "output_projection": "head",
        }


def make_emulator(spec: RNNSpec, config: TrainingConfig, embedding: int = EMBEDDING_SIZE) -> Emulator:
    """The emulator that a training's settings ask for, of embeddings of E numbers (`embedding`)."""
    return Emulator(
        spec,
        config.emulator_hidden,
        config.emulator_layers,
        embedding,
        form=config.emulator_form,
        condition=config.emulator_condition,
        precision=config.emulator_precision,
    )


class EncoderEmulator(nn.Module):
    """An encoder and an emulator, trained as one.

    Args:
        encoder: Weights of N RNNs, name -> [N, *shape], to embeddings [N, E].
        emulator: One of the same E.
    """

    def __init__(self, encoder: nn.Module, emulator: Emulator) -> None:
        super().__init__()
        self.encoder = encoder
        self.emulator = emulator

    @property
    def columns(self) -> tuple[str, ...]:
        """The metadata that the encoder reads besides the weights."""
        return tuple(declared(self.encoder, "columns"))

    def forward(self, weights: Weights, inputs: Tensor, **columns: Tensor) -> Tensor:
        """Emulate N RNNs.

        Args:
            weights: Of the RNNs, name -> [N, *shape].
            inputs: Their own inputs, [N, R, T, D].
            columns: Metadata that the encoder reads, name -> [N] or [N, K].

        Returns:
            Emulated log-probabilities in nats, [N, R, T, O].
        """
        return self.emulator(self.encoder(weights, **columns), inputs)


def total_variation(original: Tensor, emulated: Tensor) -> Tensor:
    """0.5 * sum |p - q|, log-probabilities [..., O] -> [...]."""
    return 0.5 * (original.exp() - emulated.exp()).abs().sum(dim=-1)


def forward_kl(original: Tensor, emulated: Tensor) -> Tensor:
    """KL(p || q) in nats, p the RNN's: log-probabilities [..., O] -> [...]."""
    return (original.exp() * (original - emulated)).sum(dim=-1)


def reverse_kl(original: Tensor, emulated: Tensor) -> Tensor:
    """KL(q || p) in nats, p the RNN's: log-probabilities [..., O] -> [...]."""
    return forward_kl(emulated, original)


def cross_entropy(original: Tensor, emulated: Tensor) -> Tensor:
    """-sum p log q in nats, p the RNN's: log-probabilities [..., O] -> [...]."""
    return -(original.exp() * emulated).sum(dim=-1)


def published_forward_kl(original: Tensor, emulated: Tensor) -> Tensor:
    """`forward_kl` divided by O, as the published program measures it."""
    return forward_kl(original, emulated) / original.shape[-1]


def published_reverse_kl(original: Tensor, emulated: Tensor) -> Tensor:
    """`reverse_kl` divided by O, as the published program measures it."""
    return reverse_kl(original, emulated) / original.shape[-1]


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "total_variation": total_variation,
    "reverse_kl": reverse_kl,
    "forward_kl": forward_kl,
    "cross_entropy": cross_entropy,
    "published_forward_kl": published_forward_kl,
    "published_reverse_kl": published_reverse_kl,
}
"""(original, emulated) log-probabilities [..., O] -> loss [...]. The paper's text has reverse KL, its published
configuration total variation."""

"""Probes from a deep linear generator (after Kahana et al. 2025, "Deep Linear Probe Generators for Weight Space
Learning"), and an MLP over all answers at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead
from rnnzoo.loaders.encoders.probing.base import PROBE_SPREAD, ProbingEncoder, centred, read_logits
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import Weights

LATENT_SIZE = 32
CHANNELS = 64


class FreeProbes(nn.Module):
    """K free sequences, called like a generator: () -> [K, T', D].

    Args:
        scores: The initial sequences [K, T', D].
    """

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self) -> Tensor:
        """The probes [K, T', D], before `input_range`."""
        return self.scores


class LinearGenerator(nn.Module):
    """K latents of 32 through linear layers and transposed convolutions, no activation between: () -> [K, T', D].

    It can produce the same probes as free parameters can, but gradient descent moves it differently: its probes
    share structure over time and among each other.

    Args:
        probes: K.
        length: T', in steps.
        width: D.
    """

    def __init__(self, probes: int, length: int, width: int) -> None:
        super().__init__()
        self.length = length
        quarter = -(-length // 4)
        self.latents = nn.Parameter(torch.randn(probes, LATENT_SIZE))
        self.layers = nn.Sequential(
            nn.Linear(LATENT_SIZE, 2 * CHANNELS),
            nn.Linear(2 * CHANNELS, CHANNELS * quarter),
            nn.Unflatten(1, (CHANNELS, quarter)),
            nn.ConvTranspose1d(CHANNELS, CHANNELS, kernel_size=4, stride=2, padding=1),
            nn.ConvTranspose1d(CHANNELS, CHANNELS, kernel_size=4, stride=2, padding=1),
        )
        self.to_inputs = nn.Conv1d(CHANNELS, width, kernel_size=3, padding=1, bias=False)
        with torch.no_grad():  # so many layers shrink what passes them: begin as wide as free probes do
            self.to_inputs.weight.mul_(PROBE_SPREAD / self().std().clamp_min(1e-6))

    def forward(self) -> Tensor:
        """The probes [K, T', D], before `input_range`."""
        return self.to_inputs(self.layers(self.latents)).mT[:, : self.length]


class ProbeGenerator(ProbingEncoder):
    """K generated probes; the log-probabilities of all steps and probes, flat, go through an MLP.

    After Kahana et al. (2025), "Deep Linear Probe Generators for Weight Space Learning".

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.
        free: Whether probes are free parameters instead: the ablation that shows what the generator is worth.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"

    def __init__(
        self, population: Population, probes: int = 8, length: int | None = None, free: bool = False
    ) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        self.generator = (
            FreeProbes(self.open_probes()) if free else LinearGenerator(probes, self.length, spec.input_size)
        )
        self.head = EmbeddingHead(self.queries * spec.output_size, (512, 256))

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        rnns = FrozenRNNs(weights)
        answers = read_logits(rnns.run(self.asked(rnns)))
        return self.head(centred(answers).flatten(1))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: the same for all, [K, T', D]."""
        return self.input_range.forward(self.generator())

"""Hidden probing: what every hidden unit does under the probes, read as a set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import EmbeddingHead
from rnnzoo.loaders.encoders.probing.base import ProbingEncoder, centred, read_logits
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.probing.probe_generator import LinearGenerator
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import CELLS, Weights

WIDTH = 128
HEADS = 4


class UnitSet(nn.Module):
    """The H units of a layer, each by its trajectory [N, H, F], to [N, 2 * 128]; in any order, of either sign.

    A trajectory u enters as phi(A u) + phi(-A u), A without a bias: a unit and its negative look the same. Then
    the units attend to each other (a block of the set transformer, Lee et al. 2019), and their mean and maximum
    are taken.

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, WIDTH, bias=False)
        self.even = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.attend = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, trajectories: Tensor) -> Tensor:
        """Trajectories [N, H, F] to [N, 2 * 128]."""
        odd = self.project(trajectories)
        units = self.attend(self.even(odd) + self.even(-odd))
        return torch.cat([units.mean(dim=1), units.amax(dim=1)], dim=-1)


class HiddenProbing(ProbingEncoder):
    """Generated probes; reads the outputs, and each unit's h, and tanh(c) if it has one, at all steps.

    For the other probing encoders an RNN is a black box; this one looks inside.

    Args:
        population: What it is made from.
        probes: K.
        length: T', in steps; None takes the population's `probing_length`.

    Raises:
        RnnzooError: `probes` or `length` is no whole number of at least 1.
    """

    group = "functionalist"

    def __init__(self, population: Population, probes: int = 4, length: int | None = None) -> None:
        super().__init__(population, probes, length)
        spec = population.spec
        self.generator = LinearGenerator(probes, self.length, spec.input_size)
        self.units = nn.ModuleList(
            UnitSet(len(CELLS[spec.cell].state_variables) * self.queries) for _ in range(spec.num_layers)
        )
        self.outputs = nn.Sequential(nn.Linear(self.queries * spec.output_size, 2 * WIDTH), nn.GELU())
        self.head = EmbeddingHead(2 * WIDTH * (spec.num_layers + 1), (256,))

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        rnns = FrozenRNNs(weights)
        logits, seen = rnns.run_observed(self.asked(rnns))
        read = [self.outputs(centred(read_logits(logits)).flatten(1))]
        for units, variables in zip(self.units, seen.by_layer(), strict=True):
            trajectories = torch.cat(variables, dim=2)  # [N, K, T' for each variable, H]
            read.append(units(trajectories.flatten(1, 2).mT))
        return self.head(torch.cat(read, dim=-1))

    def asked(self, rnns: FrozenRNNs) -> Tensor:
        """See `ProbingEncoder`: the same for all, [K, T', D]."""
        return self.input_range.forward(self.generator())

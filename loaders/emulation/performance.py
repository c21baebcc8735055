"""Emulated task performance: how well the emulator does the RNN's own task, beside the RNN itself."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import one_hot

from rnnzoo.loaders.emulation.emulator import Emulation
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.rnn import rnn_forward
from rnnzoo.zoo_builder.tasks.encodings import TokenEncoding
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.formal_languages.language import FormalLanguage

STRINGS = 32
IMAGES = 32


@torch.no_grad()
def emulated_performance(
    loaded: LoadedZoo, emulation: Emulation, rows: NDArray[np.int64], seed: int = 0
) -> dict[str, list[float]]:
    """Accuracies of checkpoints and of their emulations: {"original": [M], "emulated": [M]}.

    Languages: the share of strings in the language, the RNN's as the zoo has it, the emulator's of 32 that it
    writes at temperature 1. Images: the share of the first 32 rollouts named rightly at the last step, the same
    for both.
    """
    emulation.eval()
    if isinstance(loaded.zoo.encoding, TokenEncoding):
        return _writing(loaded, emulation, rows, loaded.zoo.encoding, seed)
    return _naming(loaded, emulation, rows)


def _writing(
    loaded: LoadedZoo, emulation: Emulation, rows: NDArray[np.int64], encoding: TokenEncoding, seed: int
) -> dict[str, list[float]]:
    embedding = emulation.encoder(loaded.weights(torch.from_numpy(rows)))
    strings = write_strings(emulation, embedding, encoding, loaded.population.steps, seed)
    offsets = loaded.column("offsets")[rows]
    emulated = [
        FormalLanguages.score_strings(FormalLanguage((int(b), int(c), int(d))), text)["accuracy"]
        for (b, c, d), text in zip(offsets, strings, strict=True)
    ]
    return {"original": loaded.column("accuracy")[rows].tolist(), "emulated": emulated}


def write_strings(
    emulation: Emulation, embedding: torch.Tensor, encoding: TokenEncoding, steps: int, seed: int
) -> NDArray[np.uint8]:
    """What the emulator writes for N embeddings [N, E]: uint8 [N, 32, T + 1], `begin` first."""
    models = len(embedding)
    condition = embedding.repeat_interleave(STRINGS, dim=0)
    generator = torch.Generator().manual_seed(seed)
    token = torch.full((models * STRINGS,), encoding.begin, device=embedding.device)
    written, state = [token], None
    for t in range(steps):
        inputs = one_hot(token, encoding.vocabulary).float()
        scores, state = emulation.emulator.step(inputs, state, condition if t == 0 else None)
        draws = torch.rand(len(token), 1, generator=generator).to(embedding.device)
        token = (scores.exp().cumsum(dim=-1) <= draws).sum(dim=-1).clamp_max(encoding.vocabulary - 1)
        written.append(token)
    return torch.stack(written, dim=1).to(torch.uint8).cpu().numpy().reshape(models, STRINGS, steps + 1)


def _naming(loaded: LoadedZoo, emulation: Emulation, rows: NDArray[np.int64]) -> dict[str, list[float]]:
    assert loaded.rollout_labels is not None
    groups = loaded.rollout_group[torch.from_numpy(rows)]
    inputs = loaded.zoo.encoding.inputs(loaded.rollouts[groups, :IMAGES])
    labels = loaded.rollout_labels[groups, :IMAGES].long()
    weights = loaded.weights(torch.from_numpy(rows))

    def share(outputs: torch.Tensor) -> list[float]:
        return (outputs[:, :, -1].argmax(dim=-1) == labels).float().mean(dim=1).tolist()

    return {"original": share(rnn_forward(weights, inputs)[0]), "emulated": share(emulation(weights, inputs))}

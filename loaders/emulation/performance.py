"""Emulated task performance: how well the emulator does the RNN's own task, beside the RNN itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.emulation.emulator import EmulatorState, EncoderEmulator
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.rnn import rnn_forward
from rnnzoo.zoo_builder.rnn.sampling import write_tokens

STRINGS = 32
ITEMS = 32


@torch.no_grad()
def emulated_performance(
    loaded: LoadedZoo, emulation: EncoderEmulator, rows: NDArray[np.int64], seed: int = 0
) -> dict[str, list[float]]:
    """Accuracies of checkpoints and of their emulations.

    RNNs that write are scored by the accuracy of strings: for the RNN the accuracy that the zoo has, for the
    emulator its own by the same rule, exact where tasks have `TaskFamily.words`; otherwise that of 32 strings that
    it writes at temperature 1. For other RNNs, the score is the share of the first 32 rollouts that are answered
    correctly at the last step, for both alike.

    Args:
        loaded: The zoo.
        emulation: A trained encoder and emulator; it is left in evaluation mode.
        rows: The M checkpoints, as rows of `loaded`.
        seed: For the strings that the emulator writes.

    Returns:
        {"original": [M], "emulated": [M]}.

    Raises:
        RnnzooError: The RNNs do not write, and the zoo has no labels of its rollouts.
    """
    emulation.eval()
    return (
        _writing(loaded, emulation, rows, seed) if loaded.family.generates else _answering(loaded, emulation, rows)
    )


def _writing(
    loaded: LoadedZoo, emulation: EncoderEmulator, rows: NDArray[np.int64], seed: int
) -> dict[str, list[float]]:
    chosen = torch.from_numpy(rows)
    embedding = emulation.encoder(loaded.weights(chosen), **loaded.columns(emulation.columns, chosen))
    tasks = loaded.tasks(rows)
    emulated = [
        _word_accuracy(loaded, emulation, task, of_one) for task, of_one in zip(tasks, embedding, strict=True)
    ]
    if None in emulated:
        begin = int(loaded.rollouts[loaded.rollout_group[chosen[:1]], 0, 0])  # every string opens with it
        strings = write_strings(emulation, embedding, begin, loaded.population.steps, seed)
        emulated = [
            loaded.family.score_strings(task, written)["accuracy"] if exact is None else exact
            for task, written, exact in zip(tasks, strings, emulated, strict=True)
        ]
    return {"original": loaded.column("accuracy")[rows].tolist(), "emulated": emulated}


def _word_accuracy(loaded: LoadedZoo, emulation: EncoderEmulator, task: Any, embedding: Tensor) -> float | None:
    """Of the emulator with an embedding [E], from the probabilities of a task's words; None without words."""
    words = loaded.family.words(task)
    if words is None:
        return None
    items = torch.from_numpy(words).to(embedding.device)
    encoding = loaded.zoo.encoding
    outputs = emulation.emulator(embedding[None], encoding.inputs(items)[None])[0]
    losses = -outputs.gather(-1, encoding.targets(items, None).unsqueeze(-1)).squeeze(-1)
    return float(loaded.family.score_words(task, losses.double().cpu().numpy())["accuracy"])


def write_strings(
    emulation: EncoderEmulator, embedding: Tensor, begin: int, steps: int, seed: int
) -> NDArray[np.uint8]:
    """What the emulator writes for N embeddings, at temperature 1.

    Args:
        emulation: The trained emulator, with its encoder.
        embedding: [N, E].
        begin: The token that opens every string.
        steps: T, tokens to write after it.
        seed: For the choice of tokens.

    Returns:
        32 strings for each embedding, uint8 [N, 32, T + 1], `begin` first.
    """
    models, emulator = len(embedding), emulation.emulator
    condition = embedding.repeat_interleave(STRINGS, dim=0)
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(steps, len(condition), generator=generator).T.to(embedding.device)

    def step(inputs: Tensor, state: EmulatorState | None) -> tuple[Tensor, EmulatorState]:
        return emulator.step(inputs, state, condition)

    written = [torch.full((len(condition),), begin, device=embedding.device)]
    written += [token for token, _ in write_tokens(step, begin, emulator.read_inputs.in_features, uniforms)]
    return torch.stack(written, dim=1).to(torch.uint8).cpu().numpy().reshape(models, STRINGS, steps + 1)


def _answering(loaded: LoadedZoo, emulation: EncoderEmulator, rows: NDArray[np.int64]) -> dict[str, list[float]]:
    chosen = torch.from_numpy(rows)
    groups = loaded.rollout_group[chosen]
    items, labels = loaded.rollouts[groups, :ITEMS], loaded.rollout_labels
    encoding = loaded.zoo.encoding
    targets = encoding.targets(items, None if labels is None else labels[groups, :ITEMS])
    inputs, weights = encoding.inputs(items), loaded.weights(chosen)
    emulated = emulation(weights, inputs, **loaded.columns(emulation.columns, chosen))

    def share(outputs: Tensor) -> list[float]:
        return encoding.judge(outputs.argmax(dim=-1) == targets).float().mean(dim=1).tolist()

    return {"original": share(rnn_forward(weights, inputs)[0]), "emulated": share(emulated)}

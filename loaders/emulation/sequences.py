"""What the emulator answers step by step along a sequence, beside what the RNN itself answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rnnzoo.loaders.emulation.emulator import EncoderEmulator
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.rnn import rnn_forward


@dataclass(frozen=True)
class EmulatedSequence:
    """An RNN and its emulation on one sequence.

    Attributes:
        item: The sequence as stored, uint8 [F].
        original: The RNN's probabilities, float32 [T, O].
        emulated: The emulator's, float32 [T, O].
    """

    item: NDArray[np.uint8]
    original: NDArray[np.float32]
    emulated: NDArray[np.float32]


@torch.no_grad()
def emulated_sequence(loaded: LoadedZoo, emulation: EncoderEmulator, row: int) -> EmulatedSequence:
    """A checkpoint and its emulation on the first of its rollouts.

    Args:
        loaded: The zoo.
        emulation: A trained encoder and emulator; it is left in evaluation mode.
        row: The checkpoint, as a row of `loaded`.

    Returns:
        The sequence, and what both answer.
    """
    emulation.eval()
    chosen = torch.tensor([row], device=loaded.device)
    items = loaded.rollouts[loaded.rollout_group[chosen], :1]
    inputs, weights = loaded.zoo.encoding.inputs(items), loaded.weights(chosen)
    original = rnn_forward(weights, inputs)[0].softmax(dim=-1)
    emulated = emulation(weights, inputs, **loaded.columns(emulation.columns, chosen)).exp()
    return EmulatedSequence(items[0, 0].cpu().numpy(), original[0, 0].cpu().numpy(), emulated[0, 0].cpu().numpy())

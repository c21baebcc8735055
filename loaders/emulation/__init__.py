"""Emulation, the self-supervised objective: from an embedding alone, do what the RNN does.

(Herrmann, Faccio & Schmidhuber 2024.) An encoder and an emulator train jointly; the emulator sees the embedding
and the RNN's inputs, and must reproduce its outputs.
"""

from rnnzoo.loaders.emulation.emulator import LOSSES, Emulation, Emulator
from rnnzoo.loaders.emulation.performance import emulated_performance
from rnnzoo.loaders.emulation.training import EMULATION_PRESETS, emulation_losses, train_emulation

__all__ = [
    "EMULATION_PRESETS",
    "LOSSES",
    "Emulation",
    "Emulator",
    "emulated_performance",
    "emulation_losses",
    "train_emulation",
]

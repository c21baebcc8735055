"""Emulation, the self-supervised objective: from an embedding alone, do what the RNN does.

(Herrmann, Faccio & Schmidhuber 2024.) An encoder and an emulator train jointly; the emulator sees the embedding
and the RNN's inputs, and must reproduce its outputs.
"""

from rnnzoo.loaders.emulation.emulator import LOSSES, Emulator, EncoderEmulator, make_emulator
from rnnzoo.loaders.emulation.performance import emulated_performance
from rnnzoo.loaders.emulation.sequences import EmulatedSequence, emulated_sequence
from rnnzoo.loaders.emulation.training import emulation_losses, train_emulation

__all__ = [
    "LOSSES",
    "EmulatedSequence",
    "Emulator",
    "EncoderEmulator",
    "emulated_performance",
    "emulated_sequence",
    "emulation_losses",
    "make_emulator",
    "train_emulation",
]

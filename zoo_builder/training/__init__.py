"""Trains many small RNNs at once."""

from rnnzoo.zoo_builder.training.loop import Checkpoint, Run, train_runs

__all__ = ["Checkpoint", "Run", "train_runs"]

"""Trains many small RNNs at once."""

"""Combination locks: an RNN names the next bit of a secret for as long as its inputs follow the secret."""

"""Checks of a zoo: files, metadata, hashes, and the scores of a sample of checkpoints, computed anew."""

from rnnzoo.zoo_builder.verify.zoo import AGAINST, FILES, verify_part, verify_zoo

__all__ = ["AGAINST", "FILES", "verify_part", "verify_zoo"]

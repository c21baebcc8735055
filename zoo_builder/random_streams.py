"""Random numbers that are a function of (seed, stream, block), and of nothing else.

A run's data at step k must not depend on which batch, worker or device the run trains on, nor on where a
build was interrupted. So there is no generator whose state travels along: every block of numbers is made
afresh from a counter-based generator (Philox, Salmon et al. 2011). Only the raw bits are taken from NumPy,
because NumPy promises those, and not its distributions, to stay the same from version to version.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What a block of random numbers is for. The numbers are part of the format: never reuse one."""

    RUN_SEEDS = 1
    RUN_TASKS = 2
    RUN_SETTINGS = 3
    SPLITS = 4
    INIT = 5
    TRAINING_ITEMS = 6
    EVALUATION_ITEMS = 7
    STRINGS = 8
    ENCODER_BATCHES = 9
    RUN_DATA = 10


def bits(seed: int, stream: Stream, block: int, count: int) -> NDArray[np.uint64]:
    """`count` random 64-bit words, the block numbered `block` of a stream."""
    key = np.array([seed, stream], dtype=np.uint64)
    # The lowest word of the counter counts within the block; the next one numbers the blocks.
    counter = np.array([0, block, 0, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def uniform(seed: int, stream: Stream, block: int, count: int) -> NDArray[np.float32]:
    """`count` floats in [0, 1), multiples of 2^-24."""
    return (bits(seed, stream, block, count) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def below(seed: int, stream: Stream, block: int, count: int, bound: int) -> NDArray[np.int64]:
    """`count` whole numbers in [0, bound), bound at most 2^31 (bias below 2^-32 * bound)."""
    high = bits(seed, stream, block, count) >> np.uint64(32)
    return ((high * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, stream: Stream, block: int, count: int) -> NDArray[np.int64]:
    """A permutation of range(count)."""
    return np.argsort(bits(seed, stream, block, count), kind="stable")

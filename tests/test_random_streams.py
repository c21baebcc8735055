"""Random numbers are a function of seed, stream and block alone, and stay what they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnzoo.zoo_builder.random_streams import Stream, below, bits, permutation, uniform


def test_the_numbers_are_part_of_the_format():
    assert bits(7, Stream.INIT, 3, 2).tolist() == [9329779444205576987, 18420927415426471703]
    assert below(7, Stream.TRAINING_ITEMS, 0, 5, 10).tolist() == [5, 4, 1, 3, 8]


def test_streams_seeds_and_blocks_do_not_share_numbers():
    drawn = [
        tuple(bits(seed, stream, block, 4)) for seed in (0, 1, 2**62) for stream in Stream for block in (0, 1, 2)
    ]
    assert len(set(drawn)) == len(drawn)


@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 50), bound=st.integers(1, 2**31))
def test_below_stays_below(seed, count, bound):
    drawn = below(seed, Stream.TRAINING_ITEMS, 0, count, bound)
    assert drawn.shape == (count,)
    assert ((drawn >= 0) & (drawn < bound)).all()


def test_a_shorter_block_is_a_prefix_of_a_longer_one():
    assert np.array_equal(uniform(5, Stream.STRINGS, 9, 10), uniform(5, Stream.STRINGS, 9, 100)[:10])


def test_uniform_is_uniform():
    drawn = uniform(1, Stream.STRINGS, 0, 100_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0]
    assert abs(counts - 10_000).max() < 5 * np.sqrt(9_000)


def test_permutation_has_every_number_once():
    assert sorted(permutation(3, Stream.SPLITS, 0, 216)) == list(range(216))

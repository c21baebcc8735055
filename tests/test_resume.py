"""A stream goes on from a state exactly, or says why it cannot."""

import json
from itertools import islice

import pytest

from rnnzoo import load_zoo
from rnnzoo.zoo_builder.errors import RnnzooError


@pytest.mark.parametrize("again", [None, 1, 2, 5])
@pytest.mark.parametrize("before", [None, 1, 2, 5])
@pytest.mark.parametrize("change", [lambda d: d, lambda d: d.map(lambda row: {"more": 1}), lambda d: d.take(20)])
def test_a_stream_goes_on_as_it_was_begun(language_zoo, before, again, change):
    """By rows, or by batches of one size."""

    def read(stream, batch_size, most=None):
        batches = stream if batch_size is None else stream.iter(batch_size)
        for batch in islice(batches, most):
            yield from [batch["sha256"]] if batch_size is None else batch["sha256"]

    def stream():
        return change(load_zoo(language_zoo, "train", streaming=True, columns=["sha256"], tensors=["head.bias"]))

    first, second = stream(), stream()
    fresh = first.state_dict()
    seen = list(read(first, before, most=3))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    if (before or 1) == (again or 1):
        assert [*seen, *read(second, again)] == list(read(stream(), None))
    else:
        message = f"batch_size: found {again or 1}, expected {before or 1}, that of the iteration whose state"
        with pytest.raises(RnnzooError, match=message):
            list(read(second, again))
    second.load_state_dict(fresh)
    assert list(read(second, again)) == list(read(stream(), None))
    second.set_epoch(1)
    assert len(list(read(second, again))) == len(list(read(stream(), None)))

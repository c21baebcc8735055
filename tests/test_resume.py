"""A stream goes on from a state exactly, or says why it cannot."""

import json
from itertools import islice

import pytest
from datasets import concatenate_datasets, interleave_datasets
from torch.utils.data import DataLoader, get_worker_info

from rnnzoo import load_zoo
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError


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


def rows_of(path, split="train", filters=None):
    return load_zoo(path, split, streaming=True, filters=filters, columns=["sha256"], tensors=[])


WRAPPERS = {
    "none": lambda stream: stream,
    "map": lambda stream: stream.map(lambda row: {"more": 1}),
    "filter": lambda stream: stream.filter(lambda row: True),
    "map, filter": lambda stream: stream.map(lambda row: {"more": 1}).filter(lambda row: True),
    "in NumPy": lambda stream: stream.with_format("numpy"),
    "batches": lambda stream: stream.map(lambda rows: rows, batched=True, batch_size=5),
    "skip": lambda stream: stream.skip(2),
    "shuffled": lambda stream: stream.shuffle(seed=1, buffer_size=1),
    "one of two": lambda stream: stream.shard(min(2, stream.num_shards), 0),
    "two together": lambda stream: concatenate_datasets([stream, stream]),
    "two in turn": lambda stream: interleave_datasets([stream, stream]),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_state_goes_on_in_a_stream_of_the_same_rows_alone(wrap, language_zoo, digits_zoo):
    """Whatever of `datasets` is around them."""
    whole = [row["sha256"] for row in wrap(rows_of(language_zoo))]
    first = wrap(rows_of(language_zoo))
    seen = [row["sha256"] for row in islice(first, 3)]
    state = json.loads(json.dumps(first.state_dict()))
    other = wrap(rows_of(language_zoo, filters=[("step", ">=", 0)]))  # the same rows by another way
    other.load_state_dict(state)
    assert sorted([*seen, *(row["sha256"] for row in other)]) == sorted(whole)

    others = [
        rows_of(language_zoo, "test"),
        rows_of(language_zoo, "ood"),
        rows_of(language_zoo, filters=[("step", ">", 0)]),
        rows_of(digits_zoo),
    ]
    for each in others:
        stream = wrap(each)
        stream.load_state_dict(state)
        with pytest.raises(RnnzooError, match=r"state_dict: found one of other rows \(fingerprint \w+\)"):
            list(stream)


def test_a_state_goes_on_with_the_same_columns_or_others(language_zoo):
    first = rows_of(language_zoo)
    seen = [row["sha256"] for row in islice(first, 3)]
    more = load_zoo(language_zoo, "train", streaming=True)
    more.load_state_dict(first.state_dict())
    assert [*seen, *(row["sha256"] for row in more)] == [row["sha256"] for row in rows_of(language_zoo)]


WRONG_EPOCH = {"epoch": "1", "examples_iterable": {}}


@pytest.mark.parametrize("state", ["x", 3, None, [], {"epoch": 0}, {"batch_size": 1}, WRONG_EPOCH])
def test_what_is_no_state(state, language_zoo):
    with pytest.raises(ParameterError, match=r"state_dict: found .*, expected what `state_dict\(\)` gave"):
        rows_of(language_zoo).load_state_dict(state)


@pytest.mark.parametrize("stop", [1, 12, 24])
@pytest.mark.parametrize("size", [None, 5])
def test_whole_epochs_follow_the_one_that_was_gone_on_with(language_zoo, size, stop):
    def read(stream):
        rows = stream if size is None else (row for rows in stream.iter(size) for row in _rows_of(rows))
        return [row["sha256"] for row in rows]

    first = rows_of(language_zoo)
    whole = read(rows_of(language_zoo))
    begun = first if size is None else first.iter(size)
    for _ in islice(begun, stop if size is None else -(-stop // size)):
        pass
    stream = rows_of(language_zoo)
    stream.load_state_dict(first.state_dict())
    if stop < 24:
        next(iter(stream) if size is None else stream.iter(size))  # a look at it is not the end of it
    rest = read(stream)
    assert 0 <= len(rest) < len(whole)
    assert rest == whole[len(whole) - len(rest) :]
    assert read(stream) == whole
    assert read(stream) == whole


def _rows_of(batch):
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def test_a_state_brings_its_epoch(language_zoo):
    def stream():
        return rows_of(language_zoo).shuffle(seed=0, buffer_size=1)

    first = stream()
    first.set_epoch(1)
    seen = [row["sha256"] for row in islice(first, 10)]
    second = stream()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert not {*seen} & {row["sha256"] for row in second}


BEFORE_THE_FIRST_ROW = {
    "nothing": lambda stream: None,
    "a loop that is not begun": iter,
    "batches that are not begun": lambda stream: stream.iter(1),
}


@pytest.mark.parametrize("begun", BEFORE_THE_FIRST_ROW.values(), ids=BEFORE_THE_FIRST_ROW)
@pytest.mark.parametrize("seen", [0, 3, 24])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_state_before_the_first_row_says_where_it_will_begin(language_zoo, epoch, seen, begun):
    first, second, third = (rows_of(language_zoo).shuffle(seed=0, buffer_size=1) for _ in range(3))
    first.set_epoch(epoch)
    whole = [row["sha256"] for row in first]
    list(islice(first, seen))
    if seen:
        second.load_state_dict(first.state_dict())
    else:
        second.set_epoch(epoch)
    begun(second)
    third.load_state_dict(json.loads(json.dumps(second.state_dict())))
    assert third.epoch == epoch
    assert [row["sha256"] for row in third] == whole[seen:]
    second.set_epoch(2)
    third.load_state_dict(second.state_dict())
    assert [row["sha256"] for row in third] == [row["sha256"] for row in second]


def _load_its_own_state(number):
    stream = get_worker_info().dataset
    stream.load_state_dict(stream.state_dict())


@pytest.mark.parametrize("seen", [0, 3])
def test_a_worker_goes_on_from_a_state_that_it_saved_before_its_first_row(language_zoo, seen):
    stream = rows_of(language_zoo)
    list(islice(stream, seen))  # which is no business of the workers
    loader = DataLoader(stream, batch_size=None, num_workers=2, worker_init_fn=_load_its_own_state)
    assert sorted(row["sha256"] for row in loader) == sorted(row["sha256"] for row in stream)


def test_an_empty_state_is_the_beginning(language_zoo):
    stream = rows_of(language_zoo)
    list(islice(stream, 3))
    stream.load_state_dict({})
    assert list(stream) == list(rows_of(language_zoo))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None, "4"])
@pytest.mark.parametrize("streaming", [False, True])
def test_rows_of_a_batch_are_a_whole_number(size, streaming, language_zoo):
    rows = load_zoo(language_zoo, "train", streaming=streaming)
    with pytest.raises(ParameterError, match=rf"batch_size: found {size!r}, expected a whole number from 1 on"):
        rows.iter(size)

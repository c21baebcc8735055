"""What an analyst asks of a `Zoo`: rows of every kind, strings, answers, scores anew."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset

from rnnzoo import Zoo, load_zoo, rnn
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.tasks import FAMILIES, find_family
from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE


@pytest.fixture(scope="module")
def zoo(language_zoo):
    return Zoo(language_zoo)


@pytest.fixture(scope="module")
def digits(digits_zoo):
    return Zoo(digits_zoo)


def test_one_checkpoint_is_its_metadata_and_its_weights(zoo, language_zoo):
    row = zoo[3]
    assert row["checkpoint_id"] == zoo.metadata["checkpoint_id"][3].as_py()
    assert torch.equal(row["head.bias"], zoo.batch([3])["head.bias"][0])
    assert zoo[row["checkpoint_id"]]["sha256"] == zoo[row]["sha256"] == row["sha256"]
    stored = load_zoo(language_zoo, "train")[3]
    assert row.keys() == stored.keys()
    assert all(torch.equal(row[p.name], stored[p.name]) for p in zoo.spec.parameters)
    assert [each["row"] for each in zoo] == zoo.metadata["row"].to_pylist()
    with pytest.raises(LookupError, match="checkpoint: found row 36, expected 0 to 35"):
        zoo[36]


def test_checkpoints_are_named_in_every_way(zoo, language_zoo):
    table = zoo.metadata.to_pandas()
    chosen = [30, 2, 2]
    some = table.iloc[chosen]
    expected = zoo.flat(chosen)
    ways = {
        "ids": some["checkpoint_id"],
        "ids under another name": some["checkpoint_id"].rename("id"),
        "list of ids": some["checkpoint_id"].tolist(),
        "data frame": some,
        "its index": some.index,
        "rows of pandas": [row for _, row in some.iterrows()],
        "named tuples": list(some.itertuples()),
        "pyarrow": zoo.metadata.take(chosen),
        "column of pyarrow": zoo.metadata.take(chosen)["checkpoint_id"],
        "array": np.array(chosen),
        "tensor": torch.tensor(chosen),
        "ids as an index": some.set_index("checkpoint_id"),
        "scores": zoo.evaluate(some),
        "dicts": zoo.metadata.take(chosen).to_pylist(),
        "rows of the zoo": [zoo[row] for row in chosen],
        "generator": (row for row in chosen),
    }
    for way, ids in ways.items():
        assert torch.equal(zoo.flat(ids), expected), way
    ood = load_zoo(language_zoo, "ood", tensors=[])
    assert torch.equal(zoo.flat(ood), zoo.flat(range(30, 36)))
    good = table["accuracy"] > table["accuracy"].median()
    for mask in (good, good.to_numpy(), good.tolist(), torch.tensor(good.to_numpy())):
        assert torch.equal(zoo.flat(mask), zoo.flat(np.flatnonzero(good)))
    labelled = some.set_index("checkpoint_id")
    one_of = [30, some.iloc[0], next(some.itertuples()), zoo[30], labelled.iloc[0], next(labelled.itertuples())]
    one_of += [np.int8(30), np.array(30), torch.tensor(30), pa.scalar(30), np.str_(some["checkpoint_id"].iloc[0])]
    one_of += [zoo.metadata["checkpoint_id"][30], {"checkpoint_id": zoo.metadata["checkpoint_id"][30]}]
    for checkpoint in one_of:
        assert checkpoint in zoo
        assert zoo[checkpoint]["sha256"] == zoo[30]["sha256"]
        assert torch.equal(zoo.model(checkpoint).head.bias, zoo.batch([30])["head.bias"][0])
        assert torch.equal(zoo.batch([checkpoint])["head.bias"], zoo.batch([30])["head.bias"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("run", "ids: found 'run', expected a list of checkpoints, or a table of them"),
        ({"checkpoint_id": "x"}, "ids: found .* expected a list of checkpoints"),
        (pd.DataFrame({"step": [1]}), r"ids: found a table with the columns \['step'\], expected 'checkpoint_id'"),
        ([True, False], "ids: found 2 truth values, expected one for each of 36"),
        ([False] * 36, "ids: found none, expected at least one"),
        ([], "ids: found none, expected at least one"),
        ([0, True], "checkpoint: found True, expected a row number"),
        ([0.5], r"checkpoint: found 0.5, expected a row number, a checkpoint_id such as 'run-"),
        (["no"], "checkpoint: found 'no'"),
        ([{"step": 3}], r"row: found no 'checkpoint_id' among its columns \['step'\]"),
        ([-1], "checkpoint: found row -1, expected 0 to 35"),
        ([SimpleNamespace(checkpoint_id="no")], "checkpoint: found 'no'"),
        (pd.Series([3, 4], name="step"), "ids: found the column 'step' of a table, expected 'checkpoint_id'"),
        (pd.Series({"checkpoint_id": "x", "step": 1}), "ids: found .* expected a list of checkpoints"),
        (3, "ids: found 3, expected a list of checkpoints"),
        (slice(3), r"ids: found slice\(None, 3, None\), expected a list of checkpoints"),
        *[
            (kind(b"run-000005-step-000000"), "ids: found .*run-000005.*, expected a list of checkpoints")
            for kind in (bytes, bytearray)
        ],
        (memoryview(b"run"), "ids: found <memory at .*>, expected a list of checkpoints"),
        *[
            (kind([0, 1]), "ids: found .*, whose order is arbitrary, expected a list of checkpoints")
            for kind in (set, frozenset)
        ],
        ([b"run-000005-step-000000"], "checkpoint: found b'run-000005-step-000000', expected a row number"),
    ],
)
def test_what_names_no_checkpoints_is_an_error(ids, message, zoo):
    with pytest.raises(RnnzooError, match=message):
        zoo.batch(ids)


def test_what_is_in_a_zoo(zoo, digits, language_zoo):
    """It is told by the metadata: no weights are read."""
    fresh = Zoo(language_zoo)
    table = fresh.metadata.to_pandas()
    row = fresh.metadata.to_pylist()[3]
    for checkpoint in (row["checkpoint_id"], row, table.iloc[3], 0, 35, np.int64(3)):
        assert checkpoint in fresh
    for other in ("id", "", 36, -1, True, None, 0.5, b"x", row | {"sha256": "0"}, digits.metadata.to_pylist()[3]):
        assert other not in fresh
    with pytest.raises(RnnzooError, match="row: found no 'checkpoint_id'"):
        _ = {"step": 3} in fresh
    assert "_files" not in vars(fresh)


def test_truth_values_of_a_sorted_table_stand_for_their_own_rows(zoo):
    """They are those of the labels of a Series, row numbers or ids, as pandas itself has it."""
    table = zoo.metadata.to_pandas()
    expected = zoo.flat(np.flatnonzero(table["accuracy"] > table["accuracy"].median()))
    for ordered in (table, table[::-1], table.sort_values("accuracy"), table.sample(frac=1, random_state=0)):
        for labelled in (
            ordered,
            ordered.set_index("checkpoint_id"),
            ordered.set_index("checkpoint_id", drop=False),
        ):
            good = labelled["accuracy"] > labelled["accuracy"].median()
            for mask in (good, good.astype("boolean"), good.astype(object)):
                assert torch.equal(zoo.flat(mask), expected)


@pytest.mark.parametrize(
    "labels",
    [range(1, 37), [0] * 36, np.arange(36) / 2, ["run"] * 36, pd.MultiIndex.from_product([range(6), range(6)])],
    ids=["from one", "all the same", "floats", "texts", "pairs"],
)
def test_truth_values_under_other_labels_are_an_error(zoo, labels):
    mask = pd.Series([True] * 36, index=labels)
    message = "ids: found truth values with the labels .* more, expected each row number from 0 to 35 once"
    with pytest.raises(RnnzooError, match=message):
        zoo.batch(mask)


@pytest.mark.parametrize("hashes", [["sha256"], ["rollout_sha256"], ["sha256", "rollout_sha256"]])
def test_rows_and_tables_of_another_zoo_are_an_error(zoo, digits, hashes):
    """Both zoos have the same ids."""
    of_other = digits.metadata.select(["checkpoint_id", "step", *hashes])
    table = of_other.to_pandas()
    name = table["checkpoint_id"][3]
    found, expected = digits[name][hashes[0]], zoo[name][hashes[0]]
    message = rf"checkpoint '{name}': found the {hashes[0]} {found}, expected {expected}"
    tables = [table[3:], of_other.slice(3), table[3:].set_index("checkpoint_id"), Dataset(of_other.slice(3))]
    rows = [*(one[3:].iloc[0] for one in (table, table.set_index("checkpoint_id"))), of_other.to_pylist()[3]]
    rows.append(next(table[3:].itertuples()))
    for ids in (*tables, *([row] for row in rows)):
        with pytest.raises(RnnzooError, match=message):
            zoo.batch(ids)
    for row in rows:
        with pytest.raises(RnnzooError, match=message):
            zoo.model(row)
    unknown = table[["checkpoint_id"]].assign(**dict.fromkeys(hashes, np.nan))  # as a join leaves them
    assert torch.equal(zoo.flat(unknown), zoo.flat(table["checkpoint_id"]))


def test_a_row_without_an_id_is_an_error_of_one_line(zoo):
    row = zoo.metadata.to_pandas().drop(columns="checkpoint_id").iloc[3]
    with pytest.raises(RnnzooError, match=r"checkpoint: found run_id .*, expected a row number") as raised:
        zoo.model(row)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("verb", ["model", "batch", "flat", "rollouts", "generate"])
def test_verbs_go_to_a_device(verb, zoo):
    given = 0 if verb == "model" else [0, 1]
    found = getattr(zoo, verb)(given, device="meta" if verb in ("model", "batch", "flat") else "cpu")
    tensors = {
        "model": lambda: list(found.parameters()),
        "batch": lambda: list(found.values()),
        "rollouts": lambda: list(found),
    }.get(verb, lambda: [found])()
    assert {each.device.type for each in tensors} == {"meta" if verb in ("model", "batch", "flat") else "cpu"}
    with pytest.raises(ParameterError, match="device: found 'gpu', expected one of torch"):
        getattr(zoo, verb)(given, device="gpu")


def is_missing(device):
    """Whether this machine lacks a device of which torch knows the name."""
    try:
        torch.empty(0, device=device)
    except Exception:
        return True
    return False


@pytest.mark.parametrize(
    "device", ["cuda", "cuda:99", "mps", "xla", "xpu", "hpu", "mtia", "ipu", "vulkan", 99, 1.5]
)
def test_a_device_that_is_not_there(device, zoo):
    if not is_missing(device):
        pytest.skip("it is there")
    with pytest.raises(
        ParameterError, match=f"device: found '?{device}'?, (but torch sees none here|expected one)"
    ):
        zoo.batch([0], device=device)


def test_strings_are_drawn_from_what_the_rnn_gives(zoo):
    """First letters come as often as the checkpoint says; the draws of one checkpoint depend on no other."""
    ids = zoo.metadata.to_pandas().query("step == 100").head(4)
    written = zoo.generate(ids, strings=200, seed=1)
    assert written.dtype == torch.uint8
    assert written.shape == (4, 200, zoo.rollouts([0])[0].shape[-1])
    assert torch.equal(zoo.generate(ids.iloc[[2]], strings=200, seed=1)[0], written[2])
    assert not torch.equal(zoo.generate(ids, strings=200, seed=2), written)
    assert (written[..., 0] == zoo.encoding.opening).all()
    first = torch.nn.functional.one_hot(written[:, :, 1].long(), 6).double().mean(dim=1)
    inputs = zoo.encoding.inputs(written[:, :1])
    expected = rnn.rnn_forward(zoo.batch(ids), inputs)[0][:, 0, 0].softmax(dim=-1)
    assert (first - expected).abs().max() < 5 * (0.25 / 200) ** 0.5
    begun = zoo.generate(ids, strings=3, beginning="aab", seed=1)
    assert all(text.startswith("aab") for of_rnn in zoo.family.decode(begun) for text in of_rnn)
    assert len(set(zoo.family.decode(zoo.generate(ids, 200, "aab"))[0])) > 3
    texts = zoo.family.decode(written)
    assert len(texts) == 4
    assert set("".join(texts[0])) <= set("abcd^$")


def test_strings_that_were_decoded_are_encoded_again(zoo):
    stored = zoo.rollouts(range(36))[0]
    texts = zoo.family.decode(stored)
    assert zoo.family.decode(zoo.family.encode(texts[7])) == texts[7]
    with_end = stored[7][(stored[7] == 5).any(dim=1)]
    for sequence, again in zip(with_end, zoo.family.encode(zoo.family.decode(with_end)), strict=True):
        end = int((sequence == 5).int().argmax())
        assert sequence[: end + 1].tolist() == again[: end + 1].tolist()


def test_images_and_locks_are_encoded_and_decoded():
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    family = find_family("sequential_images")
    assert np.array_equal(family.decode(family.encode(images)), images)
    assert np.array_equal(family.decode(torch.from_numpy(family.encode(images[0]))), images[0])
    locks = find_family("combination_locks")
    texts = ["011: 01xx", "000: 0xxx"]
    assert locks.decode(locks.encode(texts)) == texts
    assert locks.decode(locks.encode("010")) == "010: xxxx"


@pytest.mark.parametrize(
    ("family", "sequences", "message"),
    [
        ("formal_languages", "abe", "sequences: found 'abe', expected at most 41 of the letters abcd"),
        ("formal_languages", ["a$b"], r"sequences: found 'a\$b'"),
        ("formal_languages", "a" * 42, "expected at most 41"),
        ("formal_languages", [], "sequences: found 0 texts"),
        ("combination_locks", "012", "sequences: found '012', expected bits"),
        ("combination_locks", "011: 01x", "sequences: found '011: 01x'"),
        ("combination_locks", ["01", "011"], r"sequences: found 2 texts of the lengths \[6, 8\]"),
        ("sequential_images", np.zeros((2, 784), np.uint8), r"found uint8 of shape \[2, 784\], expected images"),
        ("sequential_images", np.zeros((28, 28)), r"found float64 of shape \[28, 28\]"),
        ("sequential_images", np.full((28, 28), 256), "found pixels from 256 to 256"),
    ],
)
def test_sequences_that_a_family_cannot_read(family, sequences, message):
    with pytest.raises(RnnzooError, match=message):
        find_family(family).encode(sequences)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_an_rnn_sees_is_the_view_of_its_task(name):
    made = find_family(name)
    zoo = next(zoo for zoo in made.zoos.values() if zoo.source != "mnist")
    family = made.load(zoo.source)
    task = family.tasks(1, 0)[0]
    items = family.items[:5]
    raw = made.encode(items.reshape(-1, SIDE, SIDE)) if name == "sequential_images" else items
    view = family.view(task)
    expected = items if view is None else np.where(view < 0, 0, items[:, np.maximum(view, 0)])
    assert np.array_equal(made.seen(task, raw), expected)


def test_rnns_answer_to_upright_images_as_to_their_own(digits):
    """Rollouts are turned images; what was stored of them is what turning them anew gives."""
    ids = digits.metadata.to_pandas().query("step == 100").head(3)
    family = digits.family.load("digits")
    images = family.items[:6].reshape(-1, SIDE, SIDE)
    found = digits.classify(ids, images)
    assert found.shape == (3, 6)
    for place, (checkpoint, task) in enumerate(zip(ids["checkpoint_id"], digits.tasks(ids), strict=True)):
        seen = torch.from_numpy(np.where(family.view(task) < 0, 0, family.items[:6][:, family.view(task)]))
        logits = digits.model(checkpoint)(digits.encoding.inputs(seen.to(torch.uint8)))[0]
        assert torch.equal(found[place], logits[:, -1].argmax(dim=-1))
    assert torch.equal(digits.classify(ids, images[0])[:, 0], found[:, 0])


def test_rnns_answer_to_stored_images_as_they_are(digits):
    ids = digits.metadata.to_pandas().query("step == 100").head(3)
    stored, labels = digits.rollout_tensor("inputs", ids), digits.rollout_tensor("labels", ids)
    found = digits.classify(ids, stored=stored)
    assert found.shape == labels.shape
    for place, checkpoint in enumerate(ids["checkpoint_id"]):
        logits = digits.model(checkpoint)(digits.encoding.inputs(torch.from_numpy(stored[place])))[0]
        assert torch.equal(found[place], logits[:, -1].argmax(dim=-1))
    assert torch.equal(digits.classify(ids, stored=stored[1])[1], found[1])
    for wrong in (stored[:2], stored.astype(int), stored[0, 0]):
        with pytest.raises(
            RnnzooError, match=r"stored: found .*, expected uint8 of shape \[B, F\], or \[3, B, F\]"
        ):
            digits.classify(ids, stored=wrong)
    for both in ({}, {"sequences": stored, "stored": stored}):
        with pytest.raises(RnnzooError, match="sequences: expected either these or `stored`"):
            digits.classify(ids, **both)


class OnGPU(torch.Tensor):
    """A tensor that NumPy cannot read before it was brought to the CPU."""

    def __array__(self, *_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def on_gpu(array):
    return torch.as_tensor(array).as_subclass(OnGPU)


def test_tensors_on_a_gpu_are_taken(digits):
    rows = on_gpu([3, 1])
    assert torch.equal(digits.flat(rows), digits.flat([3, 1]))
    stored = digits.rollout_tensor("inputs", [3, 1])
    found = digits.classify([3, 1], stored=on_gpu(stored))
    assert torch.equal(found, digits.classify([3, 1], stored=stored))
    images = np.zeros((2, SIDE, SIDE), np.uint8)
    assert torch.equal(digits.classify([3], on_gpu(images)), digits.classify([3], images))


def test_a_table_is_no_checkpoint(zoo):
    with pytest.raises(RnnzooError, match="checkpoint: found a table, expected one row"):
        zoo.model(zoo.metadata.to_pandas().head(1))


def test_who_writes_does_not_answer(zoo, digits):
    with pytest.raises(RnnzooError, match="its RNNs write strings; expected `generate`"):
        zoo.classify([0], ["ab"])
    with pytest.raises(RnnzooError, match="its RNNs answer and write nothing; expected `classify`"):
        digits.generate([0])
    with pytest.raises(RnnzooError, match="sequences: found 'xy', expected at most 41 of the letters"):
        zoo.generate([0], beginning="xy")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("strings", value) for value in (0, -1, 2.0, "3", None, 2**40)]
    + [("seed", value) for value in (-1, 2**64, 0.5, "0", None)]
    + [("beginning", value) for value in ("ab$", "$", "a" * 41 + "$", ["ab"], None, 3)],
)
def test_parameters_of_strings(parameter, value, zoo):
    with pytest.raises(
        ParameterError, match=f"^{parameter}: found .*, expected a (whole number from|text without)"
    ):
        zoo.generate([0], **{parameter: value})


def test_the_largest_seed_and_the_longest_beginning(zoo):
    written = zoo.generate([0], strings=np.int64(2), seed=2**64 - 1, beginning="ab" * 20 + "a")
    assert zoo.family.decode(written) == [["ab" * 20 + "a"] * 2]


@pytest.mark.parametrize("name", ["zoo", "digits"])
def test_scores_are_made_anew_from_the_weights(name, request):
    zoo = request.getfixturevalue(name)
    ids = zoo.metadata.to_pandas().iloc[[0, 8, 1, 35]]
    scores = zoo.evaluate(ids, kernel="torch")
    assert scores.index.tolist() == ids["checkpoint_id"].tolist()
    for column in ("accuracy", "eval_loss", "train_loss", "rollout_loss"):
        assert np.allclose(scores[column], ids[column], atol=1e-3), column
    others = zoo.evaluate(ids, weights=zoo.batch([8, 8, 8, 8]), kernel="torch")
    assert np.allclose(others["eval_loss"].iloc[1], scores["eval_loss"].iloc[1])
    assert not np.allclose(others["eval_loss"].iloc[0], scores["eval_loss"].iloc[0])
    with pytest.raises(
        RnnzooError, match=r"weights: .*: found the shape \[2, .*, expected \[4, .*, a model for each id"
    ):
        zoo.evaluate(ids, weights=zoo.batch([0, 1]))


def test_symmetries_change_no_score_and_a_line_begins_and_ends_at_its_models(zoo):
    first, second = zoo.batch([2]), zoo.batch([5])
    order = torch.randperm(zoo.spec.hidden_size, generator=torch.Generator().manual_seed(0)).unsqueeze(0)
    same = rnn.flip_signs(zoo.spec, rnn.permute_units(zoo.spec, first, 0, order), 1, 1 - 2 * (order % 2))
    path = rnn.interpolate(first, rnn.align(zoo.spec, same, first), torch.linspace(0, 1, 3))
    losses = zoo.evaluate([2, 2, 2], weights=path, kernel="torch")["eval_loss"]
    assert np.allclose(losses, losses.iloc[0])
    path = rnn.interpolate(first, rnn.align(zoo.spec, second, first), torch.linspace(0, 1, 3))
    ends = zoo.evaluate([2, 2, 2], weights=path, kernel="torch")["eval_loss"]
    alone = zoo.evaluate([2, 2], weights={n: torch.cat([first[n], second[n]]) for n in first}, kernel="torch")
    assert np.allclose(ends.iloc[[0, 2]], alone["eval_loss"], rtol=1e-4)


@pytest.mark.parametrize("value", [True, False, np.True_, 1.0, "1", None, 0, 2**31])
def test_how_many_strings_is_a_whole_number(zoo, value):
    message = rf"strings: found {re.escape(repr(value))}, expected a whole number from 1 to {2**31 - 1}"
    with pytest.raises(ParameterError, match=message):
        zoo.generate([1], strings=value)


@pytest.mark.parametrize("beginning", [3, None, np.array(["a", "b"]), ["a"]])
def test_what_strings_begin_with_is_a_text(zoo, beginning):
    with pytest.raises(ParameterError, match=r"beginning: found .*, expected a text without"):
        zoo.generate([1], beginning=beginning)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (np.zeros((0, SIDE, SIDE), np.uint8), rf"found the shape \[0, {SIDE}, {SIDE}\], expected one sequence"),
        (torch.zeros(0, SIDE, SIDE, dtype=torch.uint8), "found the shape .*, expected one sequence or more"),
        ([[[0]], [[0, 1]]], "found .*, which cannot be read"),
        (
            np.zeros((3, 1, SIDE, SIDE), np.uint8),
            rf"found the shape \[3, 1, {SIDE}, {SIDE}\], which has 1 axes too many; expected \[B, ...\] of B",
        ),
    ],
)
def test_sequences_that_are_none(digits, sequences, message):
    with pytest.raises(ParameterError, match=f"sequences: {message}"):
        digits.classify([0], sequences)


@pytest.mark.parametrize("stored", [np.zeros((0, 784), np.uint8), np.zeros((1, 0, 784), np.uint8), [[0], [0, 1]]])
def test_stored_sequences_that_are_none(digits, stored):
    with pytest.raises(ParameterError, match=r"stored: found .*, expected"):
        digits.classify([0], stored=stored)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], r"found \[1\], expected name -> \[1, \*shape\]"),
        ("all", "found 'all', expected name -> "),
        ("texts", r"head\.bias: found 'x', expected numbers of the shape"),
        ("nothing", r"head\.bias: found None, expected numbers of the shape"),
        ("ragged", r"head\.bias: found \[\[1\], \[1, 2\]\], expected numbers of the shape"),
    ],
)
def test_weights_that_are_none(zoo, weights, message):
    bad = {"texts": "x", "nothing": None, "ragged": [[1], [1, 2]]}
    given = zoo.batch([0]) | {"head.bias": bad[weights]} if str(weights) in bad else weights
    with pytest.raises(ParameterError, match=f"weights: {message}"):
        zoo.evaluate([0], weights=given)


def test_rollouts_without_such_a_tensor_are_named(zoo, digits, language_zoo):
    file = language_zoo / zoo.metadata["shard"][0].as_py().replace("weights", "rollouts")
    for tensor in ("labels", "x", None, ["inputs"]):
        message = f"tensor: found {tensor!r}, expected one of inputs, which {file} has"
        with pytest.raises(ParameterError, match=re.escape(message)):
            zoo.rollout_tensor(tensor, [0])
    with pytest.raises(ParameterError, match="tensor: found 'x', expected one of inputs, labels, which "):
        digits.rollout_tensor("x", [0])


@pytest.mark.parametrize(("room", "read"), [("weights", Zoo.batch), ("rollouts", Zoo.rollouts)])
def test_a_damaged_row_is_named_with_the_path_of_its_file(room, read, copied):
    file = copied / Zoo(copied).metadata["shard"][0].as_py().replace("weights", room)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    zoo = Zoo(copied, check="rows")
    rows = [row for row, name in enumerate(zoo.metadata["shard"].to_pylist()) if name.endswith(file.name)]
    with pytest.raises(RnnzooError, match=re.escape(f"{file}: ")):
        read(zoo, rows)

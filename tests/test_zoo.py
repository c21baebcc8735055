"""`Zoo`: metadata, batches of weights, and models that do what the builder measured."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from rnnzoo import Zoo, load_zoo
from rnnzoo.zoo_builder.rnn import RNNModule, flatten_weights
from rnnzoo.zoo_builder.storage.shards import row_sha256


def test_zoo(language_zoo, digits_zoo):
    zoo = Zoo(language_zoo)
    assert len(zoo) == zoo.metadata.num_rows == 36
    assert list(zoo.splits) == ["train", "validation", "test", "ood"]
    assert zoo.metadata.to_pandas()["checkpoint_id"].is_unique
    assert "36 checkpoints (24 train, 3 validation, 3 test, 6 ood)" in repr(zoo)
    assert "10 outputs" in repr(Zoo(digits_zoo))


def test_batch_keeps_the_order_of_ids(language_zoo):
    zoo = Zoo(language_zoo)
    order = np.random.default_rng(0).permutation(36)
    batch = zoo.batch(order)
    by_name = zoo.batch(zoo.metadata["checkpoint_id"].to_numpy()[order])
    flat = zoo.flat(zoo.metadata.to_pandas()["checkpoint_id"].iloc[order])
    assert torch.equal(flatten_weights(zoo.spec, batch), flat)
    assert torch.equal(flatten_weights(zoo.spec, by_name), flat)
    hashes = zoo.metadata["sha256"].to_pylist()
    assert [row_sha256(row.numpy()) for row in flat] == [hashes[i] for i in order]


def losses(logits, targets):
    """Mean cross-entropy of each model: logits [N, R, T, O], targets [N, R, T] -> [N]."""
    pairs = zip(logits.flatten(1, 2), targets.flatten(1), strict=True)
    return torch.stack([cross_entropy(*pair) for pair in pairs])


def rollout_losses(zoo, path, ids, outputs):
    """Stored losses on the rollouts, and those of logits or log-probabilities [N, R, T, O]."""
    rows = zoo.metadata.take(ids).to_pylist()
    shards = [load_file(path / row["shard"].replace("weights", "rollouts")) for row in rows]
    inputs = torch.stack([shard["inputs"][row["rollout_row"]] for shard, row in zip(shards, rows, strict=True)])
    labels = None
    if "labels" in shards[0]:
        labels = torch.stack(
            [shard["labels"][row["rollout_row"]] for shard, row in zip(shards, rows, strict=True)]
        )
    stored_losses = torch.tensor([row["rollout_loss"] for row in rows])
    return stored_losses, losses(outputs, zoo.encoding.targets(inputs, labels))


@pytest.mark.parametrize("zoo_name", ["language_zoo", "digits_zoo"])
def test_models_reproduce_the_stored_losses(request, zoo_name):
    path = request.getfixturevalue(zoo_name)
    zoo = Zoo(path)
    ids = [5, 0, 35, 23, 24, 11]
    inputs, log_probabilities = zoo.rollouts(ids)
    assert inputs.dtype == torch.uint8
    assert log_probabilities.exp().sum(-1).allclose(torch.ones(1), atol=1e-5)
    stored_losses, found = rollout_losses(zoo, path, ids, log_probabilities)
    assert torch.allclose(found, stored_losses, atol=1e-5)

    encoded = zoo.encoding.inputs(inputs)
    for place, row in enumerate(ids):
        model = zoo.model(row)
        assert isinstance(model, RNNModule)
        logits = model(encoded[place])[0]
        assert torch.allclose(logits.log_softmax(-1), log_probabilities[place], atol=1e-5)
    dataset_row = load_zoo(path, "ood")[-1]
    assert torch.equal(zoo.model(dataset_row).head.bias, zoo.model(35).head.bias)

    module = RNNModule(zoo.spec)
    logits = vmap(lambda weights, items: functional_call(module, weights, (items,))[0])(zoo.batch(ids), encoded)
    assert torch.allclose(logits.log_softmax(-1), log_probabilities, atol=1e-5)

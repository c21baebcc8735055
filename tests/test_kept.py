"""Encoders that trainings keep are whole, of their key, and as they were trained."""

import os

import pytest
import torch
from users_modules import SHORT

from rnnzoo.loaders.benchmark.evaluation import evaluate
from rnnzoo.loaders.benchmark.results.kept import read_kept, write_kept
from rnnzoo.loaders.result_key import ResultKey
from rnnzoo.zoo_builder.errors import RnnzooError

pytestmark = pytest.mark.usefixtures("short_readouts")


def test_a_kept_encoder_is_whole_and_of_its_key(tmp_path):
    path = tmp_path / "seed0.safetensors"
    key = ResultKey(
        code={"a.py": "1"}, versions={}, zoo_digest="z", settings={"steps": 1, "readouts": ("linear",)}
    )
    state = {"b": torch.arange(3.0), "a": torch.ones(2, 2).T}
    write_kept(path, state, key)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    for name, tensor in read_kept(path, key).items():
        assert torch.equal(tensor, state[name])
    contents = {path.read_bytes()}
    for _ in range(8):
        write_kept(path, state, key)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    with pytest.raises(RnnzooError, match=r"seed0.safetensors: key: found"):
        read_kept(path, key.model_copy(update={"code": {"a.py": "2"}}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RnnzooError, match=r"sha256: found"):
        read_kept(path, key)
    path.write_bytes(whole[:-4])
    with pytest.raises(RnnzooError, match="no safetensors file"):
        read_kept(path, key)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RnnzooError, match="found a pipe"):
        read_kept(path, key)


@pytest.mark.parametrize(
    "kind", ["bfloat16", "float16", "float64", "float8_e5m2", "bool", "int64", "uint8", "complex64"]
)
def test_tensors_of_any_kind_are_kept(kind, tmp_path):
    key = ResultKey(code={}, versions={}, zoo_digest="z", settings={})
    state = {"a": torch.arange(6).view(2, 3).T.to(getattr(torch, kind)), "b": torch.zeros((), dtype=torch.bool)}
    write_kept(tmp_path / "state.safetensors", state, key)
    found = read_kept(tmp_path / "state.safetensors", key)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_tied_weights_are_kept(tmp_path):
    key = ResultKey(code={}, versions={}, zoo_digest="z", settings={})
    numbers = torch.arange(6.0)
    state = {
        "whole": numbers,
        "again": numbers,
        "part": numbers[2:],
        "turned": numbers.view(2, 3).T,
        "none": numbers[:0],
    }
    write_kept(tmp_path / "state.safetensors", state, key)
    found = read_kept(tmp_path / "state.safetensors", key)
    assert found.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self, population):
        super().__init__()
        width = population.spec.hidden_size
        self.first, self.second = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, weights):
        return self.second(torch.relu(self.first(weights["head.weight"].mean(dim=1))))


@pytest.mark.parametrize("track", ["frozen", "supervised"])
def test_an_encoder_with_tied_weights_is_trained_and_given_back(track, language_zoo, tmp_path):
    found = evaluate(Tied, language_zoo, track, "step", 1, dict(SHORT), tmp_path, quiet=True)
    encoder = found.encoder_of(found.results[0])
    assert torch.equal(encoder.first.weight, encoder.second.weight)

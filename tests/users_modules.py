"""A user's encoder in files of their own, and cells of a notebook."""

import importlib
import linecache
import sys

from rnnzoo.loaders.benchmark.request import Request

ENCODER = """
import torch
from helper import scaled

class Mine(torch.nn.Module):
    def __init__(self, population, width=3):
        super().__init__()
        self.width = width

    def forward(self, weights):
        return scaled(weights["head.bias"][:, : self.width])

class Learned(Mine):
    def __init__(self, population):
        super().__init__(population)
        self.head = torch.nn.Linear(3, 16)

    def forward(self, weights):
        return self.head(super().forward(weights))
"""
SHORT = (("steps", 2), ("validate_every", 1), ("models", 4), ("emulator_hidden", 8))
"""Settings of a training of seconds."""


def in_a_new_process(monkeypatch):
    """Forget what is imported of the user's files."""
    for name in ("my_encoder", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()


def place_of(tmp_path, monkeypatch):
    """A folder with a user's encoder, in which they stand."""
    (tmp_path / "my_encoder.py").write_text(ENCODER)
    (tmp_path / "helper.py").write_text("def scaled(x):\n    return x * 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnnzoo.loaders.benchmark.request.FITTED", ("linear",))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a second edit within a second has the same time stamp
    in_a_new_process(monkeypatch)
    yield tmp_path
    in_a_new_process(monkeypatch)


def edit(path, old, new, monkeypatch):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    in_a_new_process(monkeypatch)


def asked_for(zoo, place, encoder="my_encoder:Mine", **fields):
    return Request(str(zoo), encoder, place / "results", **{"targets": ("step",), "seeds": 1, **fields})


def define_in_a_cell(main, number, text):
    """As IPython does: its own name for a cell, whose text stands in linecache."""
    name = f"<ipython-input-{number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), vars(main))

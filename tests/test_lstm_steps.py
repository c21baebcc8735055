"""One step of LSTM layers in place, compiled and by torch, against `lstm_step_from_sum` and autograd."""

from __future__ import annotations

import logging

import pytest
import torch
from compilers import skip_without_compiler
from torch import Tensor

from rnnzoo.zoo_builder.compiled import lstm_steps
from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable
from rnnzoo.zoo_builder.compiled.lstm_steps import activate, deactivate
from rnnzoo.zoo_builder.rnn.cells import lstm_step_from_sum


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """With the compiled functions, and without."""
    if request.param == "torch":
        monkeypatch.setattr(lstm_steps, "_library", lambda: None)
    else:
        skip_without_compiler()
        assert lstm_steps._library() is not None
    return request.param


def step(before: Tensor, previous: Tensor | None) -> tuple[Tensor, ...]:
    """gates, c, tanh(c), h by `activate`."""
    gates = before.clone()
    cell, squashed, hidden = (before.new_full((*before.shape[:-1], before.shape[-1] // 4), 7.0) for _ in "csh")
    activate(gates, previous, cell, squashed, hidden)
    return gates, cell, squashed, hidden


@pytest.mark.parametrize("shape", [(64, 256), (3, 2, 32), (5, 7), (1, 1), (2, 17), (0, 8)])
@pytest.mark.parametrize("first", [True, False])
def test_a_step_and_its_way_back_equal_autograds(way, shape, first):
    torch.manual_seed(0)
    before = (3 * torch.randn(*shape[:-1], 4 * shape[-1])).requires_grad_()
    previous = torch.randn(shape).requires_grad_()
    state = torch.zeros(shape) if first else previous
    hidden, cell = lstm_step_from_sum(before, (torch.zeros(shape), state))
    found = step(before.detach(), None if first else previous.detach())
    torch.testing.assert_close(found[1], cell)
    torch.testing.assert_close(found[2], cell.tanh())
    torch.testing.assert_close(found[3], hidden)

    d_hidden, d_cell = torch.randn(shape), torch.randn(shape)
    wanted = torch.autograd.grad([hidden, cell], [before, previous], [d_hidden, d_cell], allow_unused=True)
    d_gates = torch.full_like(before, 7.0)
    deactivate(found[0], None if first else previous.detach(), found[2], d_hidden, d_cell, d_gates)
    torch.testing.assert_close(d_gates, wanted[0])
    if not first:
        torch.testing.assert_close(d_cell, wanted[1])


def test_what_saturates_or_is_not_a_number_stays_so(way):
    gates, cell, _, hidden = step(torch.tensor([[1e30, -1e30, 1e30, 1e30], [float("nan")] * 4]), None)
    assert gates[0].tolist() == pytest.approx([1, 0, 1, 1])
    assert cell[0].item() == 1
    assert hidden[0].item() == pytest.approx(0.7615942)
    assert gates[1].isnan().all()
    assert hidden[1].isnan().all()


def test_views_and_doubles_go_to_torch():
    wide = torch.randn(4, 3, 80)
    kept, view = wide.clone(), wide[..., ::2]
    expected = step(view.contiguous(), None)
    activate(view, None, *(torch.empty(4, 3, 10) for _ in "csh"))
    torch.testing.assert_close(view, expected[0])
    assert wide[..., 1::2].equal(kept[..., 1::2])  # what lies between is left alone
    double = step(kept[..., ::2].double(), None)
    assert double[3].dtype == torch.float64
    torch.testing.assert_close(double[3].float(), expected[3])


def test_gradients_may_be_views():
    transposed = torch.randn(8, 5).T  # d_hidden as autograd may hand it over
    gates, _, squashed, _ = step(torch.randn(5, 32), None)
    answers = []
    for d_hidden in (transposed, transposed.contiguous()):
        d_cell, d_gates = torch.zeros(5, 8), torch.empty(5, 32)
        deactivate(gates, None, squashed, d_hidden, d_cell, d_gates)
        answers.append((d_cell, d_gates))
    torch.testing.assert_close(*answers)


def test_without_a_compiler_torch_serves_and_says_so(monkeypatch, caplog):
    def unavailable(source, definitions):
        raise KernelUnavailable("no C++ compiler was found")

    monkeypatch.setattr(lstm_steps, "load_library", unavailable)
    lstm_steps._library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="rnnzoo"):
            first, second = (step(torch.ones(2, 8), None) for _ in "12")
    finally:
        lstm_steps._library.cache_clear()
    assert torch.equal(first[3], second[3])
    assert [record.message for record in caplog.records] == [
        "probing with torch, some 1.2 times slower: no C++ compiler was found"
    ]

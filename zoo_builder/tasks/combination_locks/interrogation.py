"""Interrogators: how many sequences it takes to learn the secret of a lock.

From the theory in Herrmann et al. (2024): there are sets of functions that an interactive interrogator, who
chooses inputs as answers come in, tells apart with exponentially fewer questions than a non-interactive one, whose
questions are fixed beforehand. Locks are such a set. The interactive interrogator gives each answer back as the
next input: one sequence of d - 1 inputs. Two locks that differ in their last bit alone answer alike to all
sequences but one; so a fixed set needs all 2^(d - 1).

Locks here are exact, or RNNs that learned them. *Hard* answers are the likeliest symbols; soft ones are all
log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rnnzoo.zoo_builder.rnn import Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.chunks import in_chunks
from rnnzoo.zoo_builder.tasks.combination_locks.lock import BEGIN, WRONG, all_locks, all_sequences, answers
from rnnzoo.zoo_builder.tasks.data import Bytes

Machines = Callable[[Bytes], Bytes]
"""N locks, exact or learned: bits after BEGIN, uint8 [N, K, t], to hard answers, uint8 [N, K, t + 1]."""


def secrets_of(depth: int) -> Bytes:
    """The secrets of all locks of a depth, uint8 [2^d, d], as binary numbers."""
    return np.array([lock.secret for lock in all_locks(depth)], np.uint8)


def exact_locks(secrets: NDArray[Any]) -> Machines:
    """Exact locks with secrets [N, d]."""
    return lambda bits: answers(secrets[:, None], bits)


def learned_locks(weights: Weights) -> Machines:
    """RNNs, name -> [N, *shape], by their hard answers."""

    def answer(bits: Bytes) -> Bytes:
        begins = np.full((*bits.shape[:-1], 1), BEGIN, np.uint8)
        tokens = torch.from_numpy(np.concatenate([begins, bits], axis=-1)).long()
        found = log_probabilities(weights, one_hot(tokens, WRONG + 1).float())
        return found.argmax(dim=-1).to(torch.uint8).cpu().numpy()

    return answer


@torch.no_grad()
def log_probabilities(weights: Weights, inputs: Tensor) -> Tensor:
    """Soft answers of N RNNs.

    Args:
        weights: Name -> [N, *shape].
        inputs: [K, T, D], or [N, K, T, D] with other ones for each RNN.

    Returns:
        [N, K, T, O].
    """
    return rnn_forward(weights, inputs.to(weights["head.bias"]))[0].log_softmax(dim=-1)


def interrogate(machines: Machines, count: int, depth: int) -> Bytes:
    """One sequence for each lock, in which every input is the answer before it.

    Args:
        machines: N locks.
        count: N.
        depth: d.

    Returns:
        What they named, uint8 [N, d]. An x among it is not the secret of any lock.
    """
    named = np.empty((count, 0), np.uint8)
    for _ in range(depth):
        given = np.minimum(named, 1)  # x is no input
        named = np.append(named, machines(given[:, None])[:, 0, -1:], axis=1)
    return named


def chance_to_name(machines: Machines, secrets: NDArray[Any], sequences: Bytes) -> NDArray[np.float64]:
    """How likely a fixed set of sequences names each lock's secret.

    The interrogator knows what exact locks answer, and guesses one of those that answer as this one did.

    Args:
        machines: N locks.
        secrets: Their secrets [N, d].
        sequences: Bits [K, d - 1], the same for all locks.

    Returns:
        [N]: 1 / M where M exact locks answer so, the lock with this secret among them; 0 where it is not.
    """
    known = secrets_of(secrets.shape[1])
    if not len(sequences):
        return np.full(len(secrets), 1 / len(known))
    expected = _transcripts(exact_locks(known), len(known), sequences)
    found = _transcripts(machines, len(secrets), sequences)
    own = _transcripts(exact_locks(secrets), len(secrets), sequences)
    alike = (expected[None] == own[:, None]).all(axis=-1).sum(axis=1)
    return (found == own).all(axis=1) / alike


def _transcripts(machines: Machines, count: int, sequences: Bytes) -> Bytes:
    """Hard answers of N locks to K sequences, one after the other: uint8 [N, K d]."""
    return machines(np.broadcast_to(sequences, (count, *sequences.shape))).reshape(count, -1)


def spread_sequences(depth: int, count: int) -> Bytes:
    """Sequences that tell as many locks apart as any `count` do: bits [count, d - 1].

    They share as few beginnings as can be: number i is written with its lowest bit first. A smaller set is part of
    a larger one.
    """
    return (np.arange(count)[:, None] >> np.arange(depth - 1) & 1).astype(np.uint8)


def sequences_needed(depth: int) -> int:
    """The size of the smallest fixed set that tells all exact locks of a depth apart.

    Locks that differ in their last bit alone are told apart by some sequences. Where that is one sequence, it is
    in every such set. These sequences are counted; together they tell all locks apart, or ValueError is raised.
    """
    sequences, secrets = all_sequences(depth), secrets_of(depth)
    by_lock = exact_locks(secrets)(np.broadcast_to(sequences, (len(secrets), *sequences.shape)))
    ends_in_0, ends_in_1 = by_lock[0::2], by_lock[1::2]
    apart = (ends_in_0 != ends_in_1).any(axis=-1)  # [pairs, sequences]
    needed = apart[apart.sum(axis=1) == 1].any(axis=0)
    if len(np.unique(by_lock[:, needed].reshape(len(secrets), -1), axis=0)) < len(secrets):
        raise ValueError(f"depth {depth}: the sequences that every set needs do not tell all locks apart")
    return int(needed.sum())


def nearest(known: Tensor, secrets: NDArray[Any], found: Tensor) -> NDArray[Any]:
    """A reader of answers that learns from examples: the secret of the nearest one.

    Args:
        known: Answers of M locks as numbers [M, F].
        secrets: Their secrets [M, d].
        found: Answers of N others [N, F].

    Returns:
        [N, d].
    """
    return secrets[torch.cdist(found, known).argmin(dim=1).cpu().numpy()]


class SecretReader(nn.Module):
    """Weights of N models, name -> [N, *shape], to the secrets that they name when asked, [N, d]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def forward(self, weights: Weights) -> Tensor:
        named = interrogate(learned_locks(weights), len(weights["head.bias"]), self.depth)
        return torch.from_numpy(named).to(weights["head.bias"])


class FixedSequence(nn.Module):
    """Weights of N models, name -> [N, *shape], to their soft answers to one sequence, all zeros: [N, 3 d]."""

    uses_data = False
    inputs: Tensor

    def __init__(self, depth: int) -> None:
        super().__init__()
        tokens = torch.tensor([BEGIN, *[0] * (depth - 1)])
        self.register_buffer("inputs", one_hot(tokens, WRONG + 1).float()[None], persistent=False)

    def forward(self, weights: Weights) -> Tensor:
        return in_chunks(lambda some: log_probabilities(some, self.inputs).flatten(1), weights)

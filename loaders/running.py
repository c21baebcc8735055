"""What the RNNs of a zoo do, and where: what they answer to sequences, and what they write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, State, Weights, flatten_weights, rnn_forward
from rnnzoo.zoo_builder.rnn.sampling import write_tokens
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.family import TaskFamily

Device = str | torch.device | None
"""Where RNNs run, and tensors stand; None stands for the CPU."""
SEQUENCES_AT_ONCE = 8192
"""Sequences, of all models together, whose outputs are computed at once: more would only take more memory."""


def known_device(device: Device) -> torch.device:
    """The device that is meant. Raises ParameterError for one that torch does not know, or this machine lacks."""
    try:
        known = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ParameterError("device", f"found {device!r}, expected one of torch, such as cpu or cuda") from error
    try:
        torch.empty(0, device=known)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ParameterError("device", f"found {device!r}, but torch sees none here; expected cpu") from error
    return known


def given_weights(spec: RNNSpec, weights: Weights, count: int) -> Tensor:
    """Weights that a user gave, float32 [N, P]. Raises ParameterError for those that are not of so many models."""
    if not isinstance(weights, Mapping):
        problem = f"found {weights!r:.200}, expected name -> [{count}, *shape], as `batch` gives them"
        raise ParameterError("weights", problem)
    given = {}
    for parameter in spec.parameters:
        name, shape = parameter.name, [count, *parameter.shape]
        expected = f"{shape}, a model for each id"
        if name not in weights:
            raise ParameterError("weights", f"found no {name}, expected it with the shape {expected}")
        try:
            given[name] = torch.as_tensor(weights[name]).detach().cpu().float()
        except (TypeError, ValueError, RuntimeError) as error:
            problem = f"{name}: found {weights[name]!r:.200}, expected numbers of the shape {expected}"
            raise ParameterError("weights", problem) from error
        if (found := list(given[name].shape)) != shape:
            raise ParameterError("weights", f"{name}: found the shape {found}, expected {expected}")
    return flatten_weights(spec, given)


def given_sequences(sequences: Any, count: int) -> NDArray[np.uint8]:
    """Sequences that a user gave as they are stored, for so many RNNs: uint8 [N, B, F].

    Raises ParameterError for what is neither [B, F] nor [N, B, F], or empty.
    """
    try:
        given = np.asarray(_on_cpu(sequences))
    except ValueError as error:
        problem = f"found lists of several lengths, expected an array: {error}"
        raise ParameterError("stored", problem) from error
    of_shape = given.ndim in (2, 3) and given.shape[:-2] in ((), (count,)) and 0 not in given.shape
    if given.dtype != np.uint8 or not of_shape:
        found = f"{given.dtype} of shape {list(given.shape)}"
        expected = f"uint8 of shape [B, F], or [{count}, B, F] as `rollout_tensor` gives it"
        raise ParameterError("stored", f"found {found}, expected {expected}")
    return np.array(np.broadcast_to(given, (count, *given.shape[-2:])))


def encoded_sequences(family: type[TaskFamily[Any]], sequences: Any) -> NDArray[np.uint8]:
    """Sequences that a user gave, as a family encodes them: uint8 [B, F].

    Raises ParameterError where there are none, or they are no sequences, and RnnzooError for those that the family
    cannot read.
    """
    if (shape := getattr(sequences, "shape", None)) is not None and 0 in shape:
        raise ParameterError("sequences", f"found the shape {list(shape)}, expected one sequence or more")
    try:
        encoded = np.atleast_2d(family.encode(_on_cpu(sequences)))
    except RnnzooError:
        raise
    except (TypeError, ValueError) as error:
        raise ParameterError("sequences", f"found {sequences!r:.200}, which cannot be read: {error}") from error
    if encoded.ndim != 2:
        found = f"found the shape {list(np.shape(sequences))}, which has {encoded.ndim - 2} axes too many"
        raise ParameterError("sequences", f"{found}; expected [B, ...] of B sequences")
    return encoded


def _on_cpu(sequences: Any) -> Any:
    """Sequences as they are, but for those on a GPU, which NumPy cannot read."""
    return sequences.cpu() if isinstance(sequences, Tensor) else sequences


def log_probabilities(encoding: Encoding, weights: Weights, items: Tensor) -> Tensor:
    """Log-probabilities of N models, in nats, on sequences of their own.

    Args:
        encoding: What turns bytes into inputs.
        weights: Name -> [N, *shape].
        items: uint8 [N, B, F].

    Returns:
        float32 [N, B, T, O].
    """
    return _in_blocks(lambda logits: logits.log_softmax(dim=-1), encoding, weights, items)


def answers(encoding: Encoding, weights: Weights, items: Tensor) -> Tensor:
    """The likeliest answers of N models; for the arguments see `log_probabilities`.

    Returns:
        int64 [N, B], of the last step; [N, B, T] where sequences are answered at every step.
    """
    chosen = slice(None) if encoding.every_answer else -1
    return _in_blocks(lambda logits: logits.argmax(dim=-1)[..., chosen], encoding, weights, items)


@torch.no_grad()
def _in_blocks(
    function: Callable[[Tensor], Tensor], encoding: Encoding, weights: Weights, items: Tensor
) -> Tensor:
    """`function` of logits [N, B, T, O], of some models and sequences at a time."""
    models, sequences = items.shape[:2]
    found = []
    for some in torch.arange(models).split(max(1, SEQUENCES_AT_ONCE // max(1, sequences))):
        chosen = slice(int(some[0]), int(some[-1]) + 1)
        of_some = {name: tensor[chosen] for name, tensor in weights.items()}
        blocks = items[chosen].split(SEQUENCES_AT_ONCE, dim=1)
        found.append(
            torch.cat([function(rnn_forward(of_some, encoding.inputs(each))[0]) for each in blocks], dim=1)
        )
    return torch.cat(found)


@torch.no_grad()
def written_strings(weights: Weights, opening: int, uniforms: Tensor, given: Sequence[int] = ()) -> Tensor:
    """What N models write at temperature 1, see `write_tokens`.

    Args:
        weights: Name -> [N, *shape].
        opening: The byte that opens every string.
        uniforms: float32 [N, M, T] in [0, 1), which decide the draws.
        given: The bytes that follow it in all strings.

    Returns:
        uint8 [N, M, T + 1], `opening` first.
    """
    inputs = weights["head.weight"].shape[1]

    def step(token: Tensor, state: State | None) -> tuple[Tensor, State]:
        logits, state = rnn_forward(weights, token.unsqueeze(2), state)
        return logits.squeeze(2), state

    tokens = [token for token, _ in write_tokens(step, opening, inputs, uniforms, given)]
    first = torch.full_like(tokens[0], opening)
    return torch.stack([first, *tokens], dim=-1).to(torch.uint8)

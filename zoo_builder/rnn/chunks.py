"""Many models, a few at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnzoo.zoo_builder.rnn.functional import Weights

MODELS_AT_ONCE = 256


def in_chunks(function: Callable[[Weights], Tensor], weights: Weights, on_cpu: int = MODELS_AT_ONCE) -> Tensor:
    """`function` of N models, name -> [N, *shape] to [N, ...], applied to some of them at a time.

    on_cpu: how many. On a CPU few models stay in its cache; other devices take 256 at once.
    """
    models, device = weights["head.bias"].shape[0], weights["head.bias"].device.type
    at_once = on_cpu if device == "cpu" else MODELS_AT_ONCE
    return torch.cat(
        [
            function({name: tensor[n : n + at_once] for name, tensor in weights.items()})
            for n in range(0, models, at_once)
        ]
    )

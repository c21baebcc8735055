"""What an encoder is, how one is found by name, and a check that it keeps its word."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from zoo_builder.errors import RnnzooError
from zoo_builder.rnn import RNNSpec, Weights, init_parameters, unflatten_weights


class Encoder(Protocol):
    """Named weights of N models, name -> [N, *shape], to embeddings [N, E]; made from the models' spec.

    An `nn.Module` whose forward takes the weights is one. Row n of the result may depend on model n alone.
    """

    def __call__(self, weights: Weights) -> Tensor: ...


def load_encoder(name: str, registry: Mapping[str, Callable[[RNNSpec], Encoder]], spec: RNNSpec) -> Encoder:
    """The encoder called `name` in the registry, or the class of a user's own "module:Class"."""
    if name in registry:
        return registry[name](spec)
    module_name, colon, class_name = name.partition(":")
    if not colon:
        raise RnnzooError(f"--encoder: found {name!r}, expected one of {', '.join(registry)}, or module:Class")
    sys.path.insert(0, "")  # a user's encoder is a file in the folder they stand in
    try:
        return getattr(importlib.import_module(module_name), class_name)(spec)
    except (ImportError, AttributeError) as error:
        raise RnnzooError(f"--encoder: {name!r} could not be imported: {error}") from error
    finally:
        sys.path.remove("")


def check_encoder(encoder: Encoder, spec: RNNSpec) -> int:
    """Try an encoder on four fresh models; returns its width E.

    Raises RnnzooError when the result has the wrong shape, is not finite, or depends on a model's neighbours.
    """
    weights = unflatten_weights(spec, init_parameters(spec, range(4)))
    with torch.no_grad():
        together = encoder(weights)
        reversed_order = encoder({name: tensor.flip(0) for name, tensor in weights.items()}).flip(0)
    if together.dim() != 2 or len(together) != 4:
        raise RnnzooError(
            f"encoder: found an output of shape {list(together.shape)} for 4 models, expected [4, E]"
        )
    if not together.isfinite().all():
        raise RnnzooError("encoder: found values that are not finite in the output for fresh models")
    if not torch.allclose(together, reversed_order, rtol=1e-3, atol=1e-4):
        raise RnnzooError("encoder: a model's embedding depends on the other models of its batch")
    return together.shape[1]

"""How an encoder is made, anew for every seed: by its name, or from an object of the user's program."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from typing import Any, Protocol

import cloudpickle
from torch import nn

from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import Encoder, find_encoder, is_learned, load_encoder, make_encoder
from rnnzoo.loaders.encoders.names import encoder_names, location_of
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,79}")
"""Names of objects: they stand in file names."""


class Recipe(Protocol):
    """What encoders of one name are made from.

    Attributes:
        name: What results call the encoder.
        location: The "module:Class" that it is imported from; None for an object.
        given: The object that it is made from; None for an encoder that has a location.
    """

    @property
    def name(self) -> str: ...
    @property
    def location(self) -> str | None: ...
    @property
    def given(self) -> Any: ...

    def make(self, population: Population, seed: int = 0) -> Encoder:
        """An encoder whose parameters are initialised from a seed; errors as in `load_encoder`."""


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder by its name, with its options: see `load_encoder`."""

    name: str
    given: None = None

    @property
    def location(self) -> str:
        return location_of(self.name)

    def make(self, population: Population, seed: int = 0) -> Encoder:
        return load_encoder(self.name, population, seed)


@dataclass(frozen=True)
class GivenEncoder:
    """An encoder from an object: see `make_encoder`. Pickled, it holds all that no other process can import."""

    name: str
    given: Any
    location: None = None

    def make(self, population: Population, seed: int = 0) -> Encoder:
        return make_encoder(self.given, self.name, population, seed)

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _unpickled, (self.name, cloudpickle.dumps(self.given))
        except (pickle.PicklingError, TypeError) as error:
            raise RnnzooError(
                f"encoder: found {self.name}, which cannot be sent to other processes: {error}"
            ) from error


def _unpickled(name: str, pickled: bytes) -> GivenEncoder:
    return GivenEncoder(name, pickle.loads(pickled))


def recipe_of(encoder: Any, name: str | None = None) -> Recipe:
    """What an encoder is made from.

    Args:
        encoder: The name of one, as `load_encoder` takes it, or an object, as `make_encoder` takes it.
        name: What results call an object; None takes the name that it has in its program. A class or function that
            can be imported is called "module:Class", and is the same encoder as by that name.

    Returns:
        Its recipe.

    Raises:
        ParameterError: There is no such encoder, or the name does not fit.
    """
    if isinstance(encoder, str):
        if name is not None:
            raise ParameterError("name", f"found {name!r} for the encoder {encoder!r}, which has a name")
        return NamedEncoder(encoder)
    own = getattr(encoder, "__name__", type(encoder).__name__)
    importable = f"{getattr(encoder, '__module__', '__main__')}:{own}"
    if name is None and not importable.startswith("__main__:") and _is_at(importable, encoder):
        registered = {location: known for known, location in ENCODERS.items()}
        return NamedEncoder(registered.get(importable, importable))
    called = name if name is not None else own.strip("<>")
    if not NAME.fullmatch(called):
        raise ParameterError("name", f"found {called!r}, expected at most 80 letters, digits and _ . : -")
    if called in encoder_names():
        raise ParameterError("name", f"found {called!r}, the name of an installed encoder; expected another")
    return GivenEncoder(called, encoder)


def _is_at(location: str, encoder: Any) -> bool:
    """Whether an object is what other processes import from this place."""
    try:
        return find_encoder(location) is encoder
    except ParameterError:
        return False


def make_learned(recipe: Recipe, population: Population, seed: int) -> nn.Module:
    """An encoder that learns.

    Args:
        recipe: What it is made from.
        population: The RNNs it is made for.
        seed: For its parameters.

    Returns:
        The encoder.

    Raises:
        ParameterError: As in `load_encoder`, or the encoder has no parameters to train.
    """
    encoder = recipe.make(population, seed)
    if not isinstance(encoder, nn.Module) or not is_learned(encoder):
        raise ParameterError(
            "encoder", f"found {recipe.name!r}, which has no parameters; expected one that learns"
        )
    return encoder

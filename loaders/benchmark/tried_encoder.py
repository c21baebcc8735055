"""An encoder made and tried before any work: what a user's code does wrong is said with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import Encoder, Group, check_encoder, declared
from rnnzoo.loaders.encoders.names import parse_encoder_name
from rnnzoo.loaders.encoders.recipe import Recipe
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError, blaming, some_of
from rnnzoo.zoo_builder.rnn import RNNSpec, init_parameters, unflatten_weights

GROUPS = (*get_args(Group), "user")
_Found = TypeVar("_Found")


def try_encoder(recipe: Recipe, loaded: LoadedZoo) -> tuple[Encoder, int]:
    """Make an encoder, and try it on a few fresh models.

    Args:
        recipe: What it is made from.
        loaded: The zoo that it is made for.

    Returns:
        The encoder, and its width E.

    Raises:
        ParameterError: What it declares of itself is of no known kind, or it makes parameters when it is called.
        RnnzooError: As in `check_encoder`, or it changes the weights that it is given, or says something else of
            the same models when it is asked again, or it raises an exception, which is the error's cause.
    """
    with blaming(f"family {loaded.family.name!r}: reference_items"):
        population = loaded.population
    encoder = _of_users(recipe, loaded, "could not be made", lambda: recipe.make(population))
    _check_declared(recipe, encoder)
    _check_columns(recipe, encoder)
    before = _parameters(recipe, encoder)

    def check() -> int:
        _check_repeats(encoder, population.spec)
        return check_encoder(encoder, population)

    width = _of_users(recipe, loaded, "failed on fresh models", check)
    if late := sorted(_parameters(recipe, encoder) - before):
        raise ParameterError(
            "encoder",
            f"found {recipe.name}, which makes parameters when it is called: {some_of(late)}; expected them "
            "when it is made",
        )
    return encoder, width


def _of_users(recipe: Recipe, loaded: LoadedZoo, what: str, call: Callable[[], _Found]) -> _Found:
    """What a call of the user's code returns, that of a family too, or one with options of the user's; any
    exception of it becomes an error that says where it arose."""
    places = (recipe.location or "", loaded.family.__module__)
    if all(place.startswith("rnnzoo.") for place in places) and not parse_encoder_name(recipe.name)[1]:
        return call()
    try:
        with blaming(f"encoder: found {recipe.name}, which {what}"):
            return call()
    except RnnzooError as error:
        if not isinstance(error.__cause__, KeyError) or isinstance(error, ParameterError):
            raise
        names = ", ".join(each.name for each in loaded.zoo.spec.parameters)
        raise RnnzooError(f"{error}; names of weights are {names}") from error.__cause__


def _check_declared(recipe: Recipe, encoder: Encoder) -> None:
    """Raise ParameterError if an attribute in which an encoder describes itself is of no known kind."""

    def names(value: Any) -> bool:
        return isinstance(value, tuple | list) and all(isinstance(each, str) for each in value)

    expected: dict[str, tuple[Callable[[Any], bool], str]] = {
        "group": (lambda value: value in GROUPS, f"one of {', '.join(GROUPS)}"),
        **dict.fromkeys(("published", "answers", "uses_data"), (lambda value: isinstance(value, bool), "a bool")),
        "columns": (names, "a tuple of names"),
        "targets": (lambda value: value is None or names(value), "a tuple of names, or None"),
    }
    for attribute, (fits, what) in expected.items():
        if not fits(found := declared(encoder, attribute)):
            raise ParameterError(
                "encoder", f"found {recipe.name}, whose {attribute} is {found!r}; expected {what}"
            )


def _check_repeats(encoder: Encoder, spec: RNNSpec) -> None:
    """Raise RnnzooError if an encoder, asked twice of the same models, changes them or says something else."""
    weights = unflatten_weights(spec, init_parameters(spec, range(4)))
    given = {name: tensor.clone() for name, tensor in weights.items()}
    columns = {name: torch.arange(4.0) for name in declared(encoder, "columns")}
    was_training = isinstance(encoder, nn.Module) and encoder.training
    if isinstance(encoder, nn.Module):
        encoder.eval()  # augmentation and dropout are random
    with torch.no_grad():
        first = encoder(weights, **columns)
        first = first.clone() if isinstance(first, Tensor) else first
        if changed := [name for name, tensor in weights.items() if not torch.equal(tensor, given[name])]:
            names = some_of(changed)
            raise RnnzooError(f"encoder: it changes {names} of the weights that it is given, expected it not to")
        again = encoder(weights, **columns)
    if isinstance(encoder, nn.Module):
        encoder.train(was_training)
    if not isinstance(first, Tensor) or not isinstance(again, Tensor):
        return  # as `check_encoder` says
    if first.shape != again.shape or not torch.allclose(first, again, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise RnnzooError(
            "encoder: found another embedding of the same weights at its second call, expected the same one: what "
            "is drawn at random has to be drawn when it is made, or in training mode alone"
        )


def _check_columns(recipe: Recipe, encoder: Encoder) -> None:
    """Raise ParameterError if an encoder reads metadata, and is no control of this package."""
    columns = declared(encoder, "columns")
    is_control = parse_encoder_name(recipe.name)[0] in ENCODERS and declared(encoder, "group") == "control"
    if columns and not is_control:
        raise ParameterError(
            "encoder",
            f"found {recipe.name}, which reads the metadata {', '.join(columns)}, which only controls of rnnzoo "
            "may; expected one that reads weights",
        )


def _parameters(recipe: Recipe, encoder: Encoder) -> set[str]:
    """Names of an encoder's parameters. Raises ParameterError for one that has no numbers yet."""
    if not isinstance(encoder, nn.Module):
        return set()
    named = dict(encoder.named_parameters())
    for name, parameter in named.items():
        if is_lazy(parameter) or parameter.is_meta:
            raise ParameterError(
                "encoder",
                f"found {recipe.name}, whose parameter {name!r} has no numbers yet; expected them when it is made",
            )
    return set(named)

"""What an encoder is, how one is found by name, and a check that it keeps its word."""

from __future__ import annotations

import contextlib
import copy
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders import PUBLISHED_FORMS
from rnnzoo.loaders.encoders.names import encoder_location, parse_encoder_name, split_location
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import ParameterError, RnnzooError
from rnnzoo.zoo_builder.rnn import RNNSpec, Weights, init_parameters, unflatten_weights

EMBEDDING_SIZE = 16
"""E of every learned encoder, as in Herrmann et al. (2024)."""

Group = Literal["mechanistic", "functionalist", "hand-made", "control"]
Symmetry = Literal["permutation", "sign_flip", "bias_split", "head_gauge"]
EVERY_SYMMETRY: frozenset[Symmetry] = frozenset(get_args(Symmetry))


class Encoder(Protocol):
    """Named weights of N models, name -> [N, *shape], to embeddings [N, E]; made from a `Population`.

    An `nn.Module` whose forward takes the weights is an encoder. Row n of the result may depend on model n alone.
    An encoder with parameters is trained (tracks "frozen" and "supervised"); one without parameters is a fixed
    feature map (track "features"). `RegisteredEncoder` says what else an encoder may declare.
    """

    def __call__(self, weights: Weights) -> Tensor:
        """Embed N models.

        Args:
            weights: Parameter name -> [N, *shape].

        Returns:
            Embeddings [N, E].
        """
        ...


class RegisteredEncoder(nn.Module):
    """Base of the encoders in `ENCODERS`: the class attributes in which they describe themselves.

    A user's own encoder may leave out any of them, and need not have this base.

    Attributes:
        group: What it looks at, weights ("mechanistic") or behaviour ("functionalist"); "hand-made", if it was
            built to measure what tells one family's tasks apart, so that it does so untrained; or "control".
        published: Whether it is one of the encoders of Herrmann et al. (2024).
        invariant_to: Symmetries of the RNN that leave the embedding unchanged; the others change it. "head_gauge"
            shifts all logits by the same number: it preserves the function of an RNN that ends in a softmax.
        answers: Whether the embedding is the prediction itself, and no readout is fitted on it.
        targets: The only targets that it can predict; None for all.
        columns: Metadata that `forward` takes besides the weights, as keyword arguments [N]: for the controls of
            this package alone, which measure how much a nuisance variable explains.
        uses_data: Whether it needs labelled data of the RNNs' task, which the weights alone do not give.
    """

    group: ClassVar[Group]
    published: ClassVar[bool] = False
    invariant_to: ClassVar[frozenset[Symmetry]] = frozenset()
    answers: ClassVar[bool] = False
    targets: ClassVar[tuple[str, ...] | None] = None
    columns: ClassVar[tuple[str, ...]] = ()
    uses_data: ClassVar[bool] = False


def declared(encoder: Encoder, name: str) -> Any:
    """What an encoder declares of itself, or the default.

    Args:
        encoder: An encoder; a user's own may declare nothing.
        name: An attribute of `RegisteredEncoder`.

    Returns:
        The encoder's value; if it has none, "user" for "group" and the value of `RegisteredEncoder` for others.
    """
    if name == "group":
        return getattr(encoder, name, "user")
    return getattr(encoder, name, getattr(RegisteredEncoder, name))


class EmbeddingHead(nn.Module):
    """Features [N, F] to embeddings [N, E] of unit length: a linear map, or an MLP with `hidden` ReLU layers.

    Args:
        features: F.
        hidden: Widths of the hidden layers; none makes it a linear map.
        size: E.
    """

    def __init__(self, features: int, hidden: tuple[int, ...] = (), size: int = EMBEDDING_SIZE) -> None:
        super().__init__()
        widths = (features, *hidden)
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Linear(below, above), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], size))

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, F] to embeddings [N, E] of Euclidean length 1."""
        return nn.functional.normalize(self.layers(features), dim=-1)


def is_learned(encoder: Encoder) -> bool:
    """Whether an encoder has parameters to train."""
    return isinstance(encoder, nn.Module) and any(p.requires_grad for p in encoder.parameters())


def load_encoder(text: str, population: Population, seed: int = 0) -> Encoder:
    """An encoder by its name, with its options: "name(option=value)" of an installed one, or "module:Class".

    Args:
        text: The name and options. The paper's encoders have the option `form`, "own" or "published"; the other
            options are those of the form's class.
        population: What it is made from.
        seed: Its parameters are initialised from it; torch's global generator is left as it was.

    Returns:
        The encoder, on the CPU.

    Raises:
        ParameterError: The name is unknown, an import fails, or the options do not fit.
        RnnzooError: The encoder cannot be made for this population.
    """
    name, options = parse_encoder_name(text)
    form = options.pop("form", "own") if name in PUBLISHED_FORMS else "own"
    return make_encoder(find_encoder(name, form), text, population, seed, options)


def make_encoder(
    given: Any, name: str, population: Population, seed: int = 0, options: Mapping[str, Any] | None = None
) -> Encoder:
    """An encoder from whatever it can be made from.

    Args:
        given: A class, or another function that makes an encoder of a population; a module of torch, of which the
            encoder is a copy; or a function that is an encoder itself, from the weights of N models to [N, E].
        name: Its name, for errors.
        population: What it is made from.
        seed: Its parameters are initialised from it; torch's global generator is left as it was.
        options: Named arguments of what makes it.

    Returns:
        The encoder, on the CPU.

    Raises:
        ParameterError: No encoder can be made of what is given, or the options do not fit.
    """
    if isinstance(given, nn.Module) and not options:
        return copy.deepcopy(given)
    if not callable(given):
        raise ParameterError(
            "encoder",
            f"found {name}, a {type(given).__name__}; expected a name, a class, a module of torch, or a function "
            "of weights",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not isinstance(given, type) and not options:
            return _of_function(given, name, population)
        try:
            return given(population, **options or {})
        except TypeError as error:
            raise ParameterError("encoder", f"found {name!r}, which could not be made: {error}") from error


class FunctionEncoder:
    """A plain function from weights to an array or tensor [N, E], as an encoder."""

    def __init__(self, function: Callable[[Weights], Any]) -> None:
        self.function = function

    def __call__(self, weights: Weights) -> Tensor:
        return torch.as_tensor(self.function(weights))


def _of_function(given: Callable[..., Any], name: str, population: Population) -> Encoder:
    """The function itself if it makes a tensor of weights; else what it makes of a population."""
    cause: Exception | None = None
    try:
        found = given(_fresh_weights(population.spec, 2))
        if isinstance(found, Tensor | np.ndarray):
            return FunctionEncoder(given)
        first = f"a {type(found).__name__}"
    except Exception as error:  # of a function that expects something else, any
        first, cause = f"{type(error).__name__}: {error}", error
    try:
        made = given(population)
        if callable(made):
            return made
        second = f"a {type(made).__name__}"
    except Exception as error:
        second, cause = f"{type(error).__name__}: {error}", cause or error
    raise ParameterError(
        "encoder",
        f"found {name}; expected a tensor [N, E] of the weights of N models, but it gave {first}; or an encoder "
        f"of a Population, but it gave {second}",
    ) from cause


def _fresh_weights(spec: RNNSpec, models: int) -> dict[str, Tensor]:
    return unflatten_weights(spec, init_parameters(spec, range(models)))


def find_encoder(name: str, form: str = "own") -> Callable[..., Any]:
    """What an encoder is made from: its class, or whatever else a module of the user's has by that name.

    Args:
        name: The name of an installed encoder, or "module:Class" of a user's own, whose module may be a file in
            the current folder, or "folder/module.py:Class".
        form: "own", or "published" for one of the paper's encoders as its program builds it.

    Returns:
        The class, to be called with a `Population` and the options; see `make_encoder`.

    Raises:
        ParameterError: The name is unknown, the encoder has no such form, or the import fails.
    """
    location = split_location(encoder_location(name, form))
    try:
        with importing_from(location.folder):
            module = importlib.import_module(location.module)
            found = getattr(module, location.attribute)
    except (ImportError, AttributeError) as error:
        raise ParameterError("encoder", f"found {name!r}, which could not be imported: {error}") from error
    if location.file is not None and not _is_file(module.__file__, location.file):
        raise ParameterError(
            "encoder",
            f"found {name!r}, but the module {location.module!r} is {module.__file__ or 'built in'} in this "
            "process; expected another file name",
        )
    return found


def _is_file(found: str | None, expected: Path) -> bool:
    return found is not None and expected.exists() and Path(found).samefile(expected)


@contextlib.contextmanager
def importing_from(folder: str = "") -> Iterator[None]:
    """Within the block, modules are also found in a folder, by default the current one."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def check_encoder(encoder: Encoder, population: Population) -> int:
    """Try an encoder on four fresh models.

    Args:
        encoder: The encoder.
        population: What it was made from.

    Returns:
        Its width E.

    Raises:
        RnnzooError: The result has the wrong shape or kind, is not finite, or depends on other models of the
            batch; or torch cannot train the encoder: a parameter is no leaf, or gets no gradient.
    """
    spec = population.spec
    weights = _fresh_weights(spec, 4)
    columns = {name: torch.arange(4.0) for name in declared(encoder, "columns")}
    was_training = isinstance(encoder, nn.Module) and encoder.training
    if isinstance(encoder, nn.Module):
        encoder.eval()  # augmentation is random, and the check is of the function
    with torch.no_grad():
        together = encoder(weights, **columns)
        flipped = {name: tensor.flip(0) for name, tensor in weights.items()}
        reversed_order = encoder(flipped, **{name: column.flip(0) for name, column in columns.items()})
        first = {name: tensor[:1] for name, tensor in weights.items()}
        alone = encoder(first, **{name: column[:1] for name, column in columns.items()})
    if not isinstance(together, Tensor) or together.dim() != 2 or len(together) != 4:
        shape = list(together.shape) if isinstance(together, Tensor) else type(together).__name__
        raise RnnzooError(f"encoder: found an output of shape {shape} for 4 models, expected [4, E]")
    if not together.shape[1]:
        raise RnnzooError("encoder: found embeddings of width 0, expected at least 1")
    if together.is_complex():
        raise RnnzooError(f"encoder: found embeddings of {together.dtype}, expected real numbers")
    if not together.isfinite().all():
        raise RnnzooError("encoder: found values that are not finite in the output for fresh models")
    if not all(
        torch.allclose(one, together[: len(one)], rtol=1e-3, atol=1e-4) for one in (reversed_order.flip(0), alone)
    ):
        raise RnnzooError("encoder: a model's embedding depends on the other models of its batch")
    if isinstance(encoder, nn.Module) and is_learned(encoder):
        if together.dtype != torch.float32:
            raise RnnzooError(
                f"encoder: it learns, and its embeddings are {together.dtype}, expected torch.float32"
            )
        _check_gradients(encoder, weights, columns)
        encoder.train(was_training)
    return together.shape[1]


def _check_gradients(encoder: nn.Module, weights: Weights, columns: Mapping[str, Tensor]) -> None:
    named = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    for name, parameter in named.items():
        if not parameter.is_leaf:
            raise RnnzooError(
                f"encoder: found in {name!r} no parameter that torch can train, as in a copy of a compiled "
                "module (torch.jit); expected a class, or a function that makes the encoder of a Population"
            )
    embedded = encoder(weights, **columns)
    if not embedded.requires_grad:
        raise RnnzooError("encoder: its output takes no gradient; expected it to depend on its parameters")
    direction = torch.linspace(-1, 1, embedded.numel()).view_as(embedded)
    gradients = torch.autograd.grad((embedded * direction).sum(), list(named.values()), allow_unused=True)
    for name, gradient in zip(named, gradients, strict=True):
        if gradient is None:
            raise RnnzooError(f"encoder: parameter {name!r} takes no gradient; is it used?")

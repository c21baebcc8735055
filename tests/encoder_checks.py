"""What every encoder is held to: populations to try it on, changes of the weights, and one check a promise."""

import copy
import io
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.base import declared
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.rnn import RNNSpec, Weights, init_parameters, rnn_forward, unflatten_weights
from rnnzoo.zoo_builder.rnn.symmetry import flip_signs, permute_units, split_biases
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.sequential_images.family import SequentialImages

SMALL = Population(RNNSpec(6, 8, 6, 2), FormalLanguages.encoding, steps=9, family=FormalLanguages)
LANGUAGES = Population(RNNSpec(6, 32, 6, 2), FormalLanguages.encoding, steps=41, family=FormalLanguages)
IMAGES = Population(RNNSpec(16, 32, 10, 2), SequentialImages.encoding, steps=50, family=SequentialImages)

SYMMETRIES = ("permutation", "sign_flip", "bias_split", "head_gauge")


def fresh_weights(spec: RNNSpec, models: int, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Weights:
    """PyTorch's initialisation times `scale`: at 1 gates stay in their linear range and effects are small."""
    return unflatten_weights(spec, scale * init_parameters(spec, range(models)).to(dtype))


def random_orders(models: int, units: int, generator: torch.Generator) -> Tensor:
    """A permutation of the units for each model, [N, H]."""
    return torch.rand(models, units, generator=generator).argsort(dim=1)


def permute(spec: RNNSpec, weights: Weights, generator: torch.Generator) -> Weights:
    for layer in range(spec.num_layers):
        orders = random_orders(len(weights["head.bias"]), spec.hidden_size, generator)
        weights = permute_units(spec, weights, layer, orders)
    return weights


def half_permute(spec: RNNSpec, weights: Weights, generator: torch.Generator) -> Weights:
    """The rows of weight_hh_l0 alone, which breaks the function."""
    orders = random_orders(len(weights["head.bias"]), spec.hidden_size, generator)
    name = f"{spec.cell}.weight_hh_l0"
    by_gate = weights[name].unflatten(1, (-1, spec.hidden_size))
    return {**weights, name: torch.take_along_dim(by_gate, orders[:, None, :, None], dim=2).flatten(1, 2)}


def flip(spec: RNNSpec, weights: Weights, generator: torch.Generator) -> Weights:
    for layer in range(spec.num_layers):
        coins = torch.rand(len(weights["head.bias"]), spec.hidden_size, generator=generator) < 0.5
        weights = flip_signs(spec, weights, layer, 1 - 2 * coins.to(weights["head.bias"]))
    return weights


def split(spec: RNNSpec, weights: Weights, generator: torch.Generator) -> Weights:
    for layer in range(spec.num_layers):
        shift = torch.randn(weights[f"{spec.cell}.bias_ih_l0"].shape, generator=generator)
        weights = split_biases(spec, weights, layer, shift)
    return weights


def shift_logits(spec: RNNSpec, weights: Weights, generator: torch.Generator) -> Weights:
    """The head gauge: head.weight + 1 u^T and head.bias + c."""
    models, _, hidden = weights["head.weight"].shape
    shift = torch.randn(models, 1, hidden, generator=generator).to(weights["head.weight"])
    return {
        **weights,
        "head.weight": weights["head.weight"] + shift,
        "head.bias": weights["head.bias"] + torch.randn(models, 1, generator=generator).to(shift),
    }


CHANGES: dict[str, Callable[[RNNSpec, Weights, torch.Generator], Weights]] = {
    "permutation": permute,
    "sign_flip": flip,
    "bias_split": split,
    "head_gauge": shift_logits,
    "half_permutation": half_permute,
}


def embed(encoder: nn.Module, weights: Weights) -> Tensor:
    """The embeddings [N, E]; columns that the encoder asks for hold 0, 1, ..., N - 1."""
    columns = {name: torch.arange(len(weights["head.bias"])).float() for name in declared(encoder, "columns")}
    return encoder(weights, **columns)


def before_and_after(
    encoder: nn.Module, population: Population, change: str, dtype: torch.dtype = torch.float64, models: int = 4
) -> tuple[Tensor, Tensor]:
    """Embeddings [N, E] in eval mode, of fresh models and of the same after `change`, a key of `CHANGES`."""
    spec = population.spec
    weights = fresh_weights(spec, models, dtype=dtype)
    changed = CHANGES[change](spec, weights, torch.Generator().manual_seed(1))
    if change in SYMMETRIES:
        inputs = torch.rand(3, 5, spec.input_size, generator=torch.Generator().manual_seed(2)).to(dtype)
        outputs = [rnn_forward(w, inputs)[0].log_softmax(dim=-1) for w in (weights, changed)]
        assert torch.allclose(*outputs, rtol=1e-3, atol=1e-3), f"{change} is no symmetry of this RNN"
    trial = copy.deepcopy(encoder).to(dtype).eval()
    with torch.no_grad():
        return embed(trial, weights), embed(trial, changed)


def assert_invariant(
    encoder: nn.Module, population: Population, symmetry: str, dtype: torch.dtype = torch.float64
) -> None:
    """A change that leaves the function in place leaves the embedding in place."""
    before, after = before_and_after(encoder, population, symmetry, dtype)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    difference = (before - after).abs().max().item()
    assert difference < tolerance, f"{symmetry} moves the embedding by {difference:.1e}"


def assert_moved(
    encoder: nn.Module,
    population: Population,
    change: str,
    dtype: torch.dtype = torch.float64,
    at_least: float = 1e-4,
) -> None:
    """The change, a key of `CHANGES`, moves the embedding of every model."""
    before, after = before_and_after(encoder, population, change, dtype)
    distances = (before - after).norm(dim=1)
    assert distances.min() > at_least, f"{change} moves the embeddings by no more than {distances.tolist()}"


def assert_alone_equals_together(
    encoder: nn.Module, population: Population, dtype: torch.dtype = torch.float64
) -> None:
    """Model n of a batch of eight is embedded as it is alone."""
    weights = fresh_weights(population.spec, 8, dtype=dtype)
    trial = copy.deepcopy(encoder).to(dtype).eval()
    columns = {name: torch.arange(8.0) for name in declared(encoder, "columns")}
    with torch.no_grad():
        together = trial(weights, **columns)
        for n in range(8):
            alone = trial(
                {name: tensor[n : n + 1] for name, tensor in weights.items()},
                **{name: column[n : n + 1] for name, column in columns.items()},
            )
            assert torch.allclose(alone[0], together[n], rtol=1e-4, atol=1e-5), n


def assert_gradients_everywhere(encoder: nn.Module, population: Population) -> None:
    """Every parameter that learns takes a gradient that is finite and somewhere not zero."""
    trial = copy.deepcopy(encoder)
    embedded = embed(trial, fresh_weights(population.spec, 8, dtype=torch.float32))
    direction = torch.randn(embedded.shape, generator=torch.Generator().manual_seed(0))
    (embedded * direction).sum().backward()
    for name, parameter in trial.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"{name} takes no gradient"
        assert parameter.grad.isfinite().all(), f"{name} takes a gradient that is not finite"
        assert parameter.grad.abs().max() > 0, f"{name} takes a gradient of zero"


def assert_round_trip(make: Callable[[Population], nn.Module], population: Population) -> None:
    """Saved and loaded into another encoder of the same class, the state gives the same embeddings."""
    torch.manual_seed(0)
    encoder, other = make(population).eval(), make(population).eval()
    weights = fresh_weights(population.spec, 4, dtype=torch.float32)
    with torch.no_grad():
        expected = embed(encoder, weights)
        assert not torch.allclose(embed(other, weights), expected), "two encoders of the same class are alike"
        file = io.BytesIO()
        torch.save(encoder.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(embed(other, weights), expected)


def assert_learns_a_toy_target(
    encoder: nn.Module, population: Population, steps: int = 60, learning_rate: float = 3e-3, models: int = 32
) -> None:
    """Trained end to end, encoder and linear readout halve their error on how much a model was scaled.

    The scale, between 0.5 and 4, shows in the weights and in what the RNN does.
    """
    torch.manual_seed(0)
    trial = copy.deepcopy(encoder).train()
    scales = torch.linspace(0.5, 4, models)
    weights = fresh_weights(population.spec, models, scale=1, dtype=torch.float32)
    weights = {name: tensor * scales.view(-1, *[1] * (tensor.dim() - 1)) for name, tensor in weights.items()}
    target = (scales - scales.mean()) / scales.std()
    with torch.no_grad():
        readout = nn.Linear(embed(trial, weights).shape[1], 1)
    optimizer = torch.optim.Adam([*trial.parameters(), *readout.parameters()], lr=learning_rate)
    losses: list[float] = []
    while len(losses) < steps and not (losses and losses[-1] < 0.5 * losses[0]):
        loss = (readout(embed(trial, weights)).squeeze(1) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"

"""Statistics of what RNNs do: of strings they write, or of how they take images turned to many angles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from rnnzoo.loaders.encoders.base import RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rnn import Weights, rnn_forward
from rnnzoo.zoo_builder.tasks.encodings import TileEncoding
from rnnzoo.zoo_builder.tasks.formal_languages.family import FormalLanguages
from rnnzoo.zoo_builder.tasks.formal_languages.language import BEGIN, END, LETTERS
from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import turned

STRINGS = 64
ANGLES = tuple(range(0, 360, 15))
IMAGES = 10
"""Images shown at every angle, the labels in turn: one of each digit."""
SHARPNESS = 3
"""An angle weighs as much as the likelihood of this many images turned to it."""
MODELS_AT_ONCE = {"strings": 32, "images": 4}
"""On a CPU a few models stay in its cache; other devices take more at once."""
MODELS_AT_ONCE_ELSEWHERE = 256
LARGEST_DIFFERENCE = 8
"""Differences of letter counts beyond this count as this when their mode is taken."""


class BehaviourStatistics(RegisteredEncoder):
    """Statistics [N, E] of the RNN's own rollouts, with no look at a weight.

    Formal languages: `describe_strings` of 64 strings that the RNN writes at temperature 1, the same uniform
    numbers for every model. Images: `describe_answers` to ten labelled images, each turned to 24 angles; the
    labels are data that the weights do not give.
    Raises RnnzooError for RNNs that read images when the population has no labelled ones, and for other tokens
    than those of formal languages.
    """

    group = "control"
    invariant_to = frozenset({"permutation", "sign_flip", "bias_split", "head_gauge"})
    readouts = ("linear", "trees")

    def __init__(self, population: Population) -> None:
        super().__init__()
        self.uses_data = not population.reads_tokens  # type: ignore[misc]
        self.rollouts: TurnedImages | WrittenStrings
        if isinstance(population.encoding, TileEncoding):
            reference = population.reference
            if reference is None or reference.labels is None:
                raise RnnzooError("behaviour_statistics: found no labelled images (reference), expected some")
            self.rollouts = TurnedImages(population.encoding, reference.items, reference.labels)
        elif population.encoding == FormalLanguages.encoding:
            self.rollouts = WrittenStrings(population.steps)
        else:
            raise RnnzooError(
                f"behaviour_statistics: found RNNs that read {population.encoding}, "
                f"expected images or formal languages, {FormalLanguages.encoding}"
            )

    @torch.no_grad()
    def forward(self, weights: Weights) -> Tensor:
        """name -> [N, *shape] to [N, E]."""
        models, device = weights["head.bias"].shape[0], weights["head.bias"].device.type
        at_once = self.rollouts.models_at_once if device == "cpu" else MODELS_AT_ONCE_ELSEWHERE
        return torch.cat(
            [
                self.rollouts({name: tensor[n : n + at_once] for name, tensor in weights.items()})
                for n in range(0, models, at_once)
            ]
        )


class WrittenStrings(nn.Module):
    """Weights of N models to statistics of what they write, [N, 51]."""

    models_at_once = MODELS_AT_ONCE["strings"]
    uniforms: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        draws = uniform(0, Stream.STRINGS, 0, STRINGS * steps).reshape(STRINGS, steps)
        self.register_buffer("uniforms", torch.from_numpy(draws), persistent=False)

    def forward(self, weights: Weights) -> Tensor:
        # In double precision rounding decides no draw, so that a model writes the same alone and in a batch.
        doubled = {name: tensor.double() for name, tensor in weights.items()}
        tokens, entropy = write_strings(doubled, self.uniforms.double())
        return describe_strings(tokens, entropy).to(weights["head.bias"])


def write_strings(weights: Weights, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Strings of N models at temperature 1 from uniforms [B, T] in [0, 1), the same for all models.

    Returns tokens int64 [N, B, T], BEGIN left out, and the entropy in nats [N, B, T] of what each was drawn from.
    """
    models, vocabulary = weights["head.bias"].shape
    token = torch.full((models, len(uniforms)), BEGIN, device=uniforms.device)
    state, tokens, entropies = None, [], []
    for draws in uniforms.unbind(dim=1):
        inputs = one_hot(token, vocabulary).to(uniforms).unsqueeze(2)
        logits, state = rnn_forward(weights, inputs, state)
        probabilities = logits[:, :, 0].softmax(dim=-1)
        entropies.append(-torch.xlogy(probabilities, probabilities).sum(dim=-1))
        passed = probabilities.cumsum(dim=-1) <= draws[:, None]
        token = passed.sum(dim=-1).clamp_max(vocabulary - 1)
        tokens.append(token)
    return torch.stack(tokens, dim=-1), torch.stack(entropies, dim=-1)


def describe_strings(tokens: Tensor, entropy: Tensor) -> Tensor:
    """Statistics [N, 51] of strings: tokens int64 [N, B, T] without BEGIN, and predictive entropies [N, B, T].

    What follows the first END is ignored. In order: the share of each token (6) after each of a, b, c, d and BEGIN
    (5), row by row, a row of zeros for a token that never comes; means of the length, of the numbers of a, b, c, d
    in a string and of #b - #a, #c - #a, #d - #a; standard deviations of the same eight; modes of the three
    differences; mean entropy; share of strings with an END.
    """
    ended = (tokens == END).cumsum(dim=-1)
    letters_only = ended == 0
    up_to_end = letters_only | ((ended == 1) & (tokens == END))
    counts = torch.stack(
        [((tokens == letter) & letters_only).sum(dim=-1) for letter in range(len(LETTERS))], dim=-1
    )  # [N, B, 4]
    differences = counts[..., 1:] - counts[..., :1]
    lengths = letters_only.sum(dim=-1, keepdim=True)
    summed = torch.cat([lengths, counts, differences], dim=-1).to(entropy)
    deviation, mean = torch.std_mean(summed, dim=1, correction=0)
    return torch.cat(
        [
            _transitions(tokens, up_to_end).to(entropy),
            mean,
            deviation,
            _modes(differences).to(entropy),
            (entropy * up_to_end).sum(dim=(1, 2))[:, None] / up_to_end.sum(dim=(1, 2))[:, None],
            (ended[..., -1] > 0).to(entropy).mean(dim=1, keepdim=True),
        ],
        dim=1,
    )


def _transitions(tokens: Tensor, counted: Tensor) -> Tensor:
    """Shares [N, 5 * 6] of the next token, given the one before; those at `counted` places."""
    vocabulary = FormalLanguages.encoding.vocabulary
    previous = torch.cat([torch.full_like(tokens[..., :1], BEGIN), tokens[..., :-1]], dim=-1)
    pairs = (previous * vocabulary + tokens).flatten(1)
    table = counted.new_zeros(len(tokens), vocabulary**2, dtype=torch.float64)
    table.scatter_add_(1, pairs, counted.flatten(1).double())
    table = table.unflatten(1, (vocabulary, vocabulary))[:, :END]
    return (table / table.sum(dim=-1, keepdim=True).clamp_min(1)).flatten(1)


def _modes(values: Tensor) -> Tensor:
    """The most frequent of whole numbers [N, B, K], the least of several: [N, K]."""
    places = values.clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE) + LARGEST_DIFFERENCE
    return one_hot(places, 2 * LARGEST_DIFFERENCE + 1).sum(dim=1).argmax(dim=-1) - LARGEST_DIFFERENCE


class TurnedImages(nn.Module):
    """Weights of N models to statistics of their answers to turned images, [N, 60]."""

    models_at_once = MODELS_AT_ONCE["images"]
    inputs: Tensor
    labels: Tensor

    def __init__(self, encoding: TileEncoding, items: Tensor, labels: Tensor) -> None:
        super().__init__()
        if items.shape[1:] != (SIDE * SIDE,) or not len(items):
            raise RnnzooError(
                f"behaviour_statistics: found labelled images of shape {list(items.shape)}, "
                f"expected [I, {SIDE * SIDE}]"
            )
        chosen = labels_in_turn(labels)[:IMAGES]
        inputs = encoding.inputs(turn_images(items[chosen]))
        self.register_buffer("inputs", inputs.flatten(0, 1), persistent=False)
        self.register_buffer("labels", labels[chosen].long(), persistent=False)

    def forward(self, weights: Weights) -> Tensor:
        logits, _ = rnn_forward(weights, self.inputs.to(weights["head.bias"]))
        last = logits[:, :, -1].unflatten(1, (len(ANGLES), -1))
        return describe_answers(last.log_softmax(dim=-1), self.labels)


def labels_in_turn(labels: Tensor) -> Tensor:
    """Numbers of all items, int64 [I]: the first of every label, then the second of every label, and so on."""
    same = labels[:, None] == labels[None, :]
    occurrence = same.tril(diagonal=-1).sum(dim=1)
    return (occurrence * (int(labels.max()) + 1) + labels.long()).argsort()


def turn_images(items: Tensor) -> Tensor:
    """Upright images uint8 [B, 784] (tile after tile) turned by each of ANGLES: [angles, B, 784]."""
    return torch.from_numpy(np.stack([turned(items.cpu().numpy(), degrees) for degrees in ANGLES]))


def describe_answers(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Statistics [N, 2 angles + O + 2] of log-probabilities [N, angles, B, O] of the digits; labels are [B].

    In order: mean cross-entropy at each angle; mean probability of the right digit at each angle, which is the
    accuracy of answers drawn from the probabilities and knows no ties; mean probability of each digit; and the
    angle at which the RNN is at home, as sine and cosine: the mean direction of the angles, weighted by the
    likelihood of the labels.
    """
    models, angles, images, _ = log_probabilities.shape
    of_labels = labels.view(1, 1, -1, 1).expand(models, angles, images, 1)
    right = log_probabilities.gather(-1, of_labels).squeeze(-1)
    cross_entropy = -right.mean(dim=-1)
    radians = torch.deg2rad(torch.tensor(ANGLES).to(log_probabilities))
    likelihood = (-SHARPNESS * cross_entropy).softmax(dim=1)
    direction = torch.stack([likelihood @ radians.sin(), likelihood @ radians.cos()], dim=1)
    return torch.cat(
        [
            cross_entropy,
            right.exp().mean(dim=-1),
            log_probabilities.exp().mean(dim=(1, 2)),
            normalize(direction, dim=1),
        ],
        dim=1,
    )

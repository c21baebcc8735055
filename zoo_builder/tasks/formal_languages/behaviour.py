"""Statistics of the strings that an RNN writes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from rnnzoo.zoo_builder.random_streams import Stream, uniform
from rnnzoo.zoo_builder.rnn import Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.chunks import in_chunks
from rnnzoo.zoo_builder.rnn.functional import State
from rnnzoo.zoo_builder.rnn.sampling import write_tokens
from rnnzoo.zoo_builder.tasks.formal_languages.language import BEGIN, END, LETTERS

STRINGS = 64
VOCABULARY = len(LETTERS) + 2
MODELS_AT_ONCE = 32
LARGEST_DIFFERENCE = 8
"""Differences of letter counts beyond this count as this when their mode is taken."""


class WrittenStrings(nn.Module):
    """Weights of N models to statistics of what they write, [N, 51]: `describe_strings` of 64 strings.

    They are written at temperature 1, from the same uniform numbers for every model. steps: T of a string.
    """

    uses_data = False
    uniforms: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        draws = uniform(0, Stream.STRINGS, 0, STRINGS * steps).reshape(STRINGS, steps)
        self.register_buffer("uniforms", torch.from_numpy(draws), persistent=False)

    @torch.no_grad()
    def forward(self, weights: Weights) -> Tensor:
        return in_chunks(self._describe, weights, on_cpu=MODELS_AT_ONCE)

    def _describe(self, weights: Weights) -> Tensor:
        # In double precision rounding decides no draw, so that a model writes the same alone and in a batch.
        doubled = {name: tensor.double() for name, tensor in weights.items()}
        tokens, entropy = write_strings(doubled, self.uniforms.double())
        return describe_strings(tokens, entropy).to(weights["head.bias"])


def write_strings(weights: Weights, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Strings of N models at temperature 1 from uniforms [B, T] in [0, 1), the same for all models.

    Returns tokens int64 [N, B, T], BEGIN left out, and the entropy in nats [N, B, T] of what each was drawn from.
    """

    def step(inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        logits, state = rnn_forward(weights, inputs.unsqueeze(2), state)
        return logits[:, :, 0], state

    tokens, entropies = [], []
    same = uniforms.expand(len(weights["head.bias"]), -1, -1)
    for token, logits in write_tokens(step, BEGIN, VOCABULARY, same):
        probabilities = logits.softmax(dim=-1)
        tokens.append(token)
        entropies.append(-torch.xlogy(probabilities, probabilities).sum(dim=-1))
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
    previous = torch.cat([torch.full_like(tokens[..., :1], BEGIN), tokens[..., :-1]], dim=-1)
    pairs = (previous * VOCABULARY + tokens).flatten(1)
    table = counted.new_zeros(len(tokens), VOCABULARY**2, dtype=torch.float64)
    table.scatter_add_(1, pairs, counted.flatten(1).double())
    table = table.unflatten(1, (VOCABULARY, VOCABULARY))[:, :END]
    return (table / table.sum(dim=-1, keepdim=True).clamp_min(1)).flatten(1)


def _modes(values: Tensor) -> Tensor:
    """The most frequent of whole numbers [N, B, K], the least of several: [N, K]."""
    places = values.clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE) + LARGEST_DIFFERENCE
    return one_hot(places, 2 * LARGEST_DIFFERENCE + 1).sum(dim=1).argmax(dim=-1) - LARGEST_DIFFERENCE

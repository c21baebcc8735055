"""Statistics of how an RNN answers to images that are turned to many angles."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Weights, rnn_forward
from rnnzoo.zoo_builder.rnn.chunks import in_chunks
from rnnzoo.zoo_builder.tasks.data import LabelledItems
from rnnzoo.zoo_builder.tasks.encodings import Encoding
from rnnzoo.zoo_builder.tasks.sequential_images.images import SIDE
from rnnzoo.zoo_builder.tasks.sequential_images.rotation import turned

ANGLES = tuple(range(0, 360, 15))
IMAGES = 10
"""Images shown at every angle, the labels in turn: one of each digit."""
SHARPNESS = 3
"""An angle weighs as much as the likelihood of this many images turned to it."""
MODELS_AT_ONCE = 4


class TurnedImages(nn.Module):
    """Weights of N models to statistics of their answers to turned images, [N, 60].

    These are `describe_answers` to ten labelled images, each turned to 24 angles; the labels are data that the
    weights do not give.
    """

    uses_data = True
    inputs: Tensor
    labels: Tensor

    def __init__(self, encoding: Encoding, reference: LabelledItems | None) -> None:
        super().__init__()
        if reference is None or reference.labels is None:
            raise RnnzooError(
                "behaviour_statistics: found no labelled images (reference), expected a zoo with labels"
            )
        items, labels = reference.items, reference.labels
        if items.shape[1:] != (SIDE * SIDE,) or not len(items):
            raise RnnzooError(
                f"behaviour_statistics: found labelled images of shape {list(items.shape)}, "
                f"expected [I, {SIDE * SIDE}]"
            )
        chosen = labels_in_turn(labels)[:IMAGES]
        inputs = encoding.inputs(turn_images(items[chosen]))
        self.register_buffer("inputs", inputs.flatten(0, 1), persistent=False)
        self.register_buffer("labels", labels[chosen].long(), persistent=False)

    @torch.no_grad()
    def forward(self, weights: Weights) -> Tensor:
        return in_chunks(self._describe, weights, on_cpu=MODELS_AT_ONCE)

    def _describe(self, weights: Weights) -> Tensor:
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

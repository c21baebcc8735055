"""Parameter transformer as published: a token for every row of every matrix, and one that is read out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnzoo.loaders.encoders.augmentation import augment_units
from rnnzoo.loaders.encoders.base import EmbeddingHead, RegisteredEncoder
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import Weights


class PublishedParameterTransformer(RegisteredEncoder):
    """A post-norm transformer over the rows of all matrices, read at a last token that belongs to no row.

    From the program of Herrmann et al. (2024). A token is a row with its bias, through a linear map of its matrix,
    plus a learned embedding of its place: L layers with G gates of H units and O outputs make 2 L G H + O tokens.
    Blocks are torch's `nn.TransformerEncoderLayer` with its defaults, dropout 0.1 among them. Hidden units are
    permuted at random as in `PublishedFlatMLP`.

    Args:
        population: What it is made from.
        layers: Blocks of self-attention and feed-forward.
        width: Numbers in a token; a multiple of `heads`.
        heads: Attention heads of each block.

    Raises:
        RnnzooError: The width is no multiple of the heads.
    """

    group = "mechanistic"
    published = True

    def __init__(self, population: Population, layers: int = 6, width: int = 128, heads: int = 2) -> None:
        super().__init__()
        if width % heads:
            raise RnnzooError(f"width: found {width}, expected a multiple of heads, {heads}")
        self.spec = population.spec
        self.matrices = [parameter for parameter in self.spec.parameters if len(parameter.shape) == 2]
        self.embeddings = nn.ModuleList(nn.Linear(matrix.shape[1] + 1, width) for matrix in self.matrices)
        block = nn.TransformerEncoderLayer(width, heads, dim_feedforward=4 * width, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = EmbeddingHead(width)
        self.last = nn.Parameter(torch.zeros(1, 1, width))
        rows = sum(matrix.shape[0] for matrix in self.matrices)
        self.positions = nn.Parameter(torch.randn(1, rows + 1, width))

    def forward(self, weights: Weights) -> Tensor:
        """Weights, name -> [N, *shape], to embeddings [N, E] of unit length."""
        if self.training:
            weights = augment_units(self.spec, weights, "permutation", shared=True)
        tokens = []
        for matrix, embedding in zip(self.matrices, self.embeddings, strict=True):
            bias = weights[matrix.name.replace("weight", "bias")]
            tokens.append(embedding(torch.cat([weights[matrix.name], bias.unsqueeze(-1)], dim=-1)))
        tokens.append(self.last.expand(len(tokens[0]), -1, -1))
        return self.head(self.blocks(torch.cat(tokens, dim=1) + self.positions)[:, -1])

    def published_names(self) -> dict[str, str]:
        """See `load_published_weights`."""
        cells = [f"lstm_cells_{layer}_{part}" for layer in range(self.spec.num_layers) for part in ("i2h", "h2h")]
        embeddings = {
            f"input_transformations.{matrix}": f"embeddings.{number}"
            for number, matrix in enumerate([*cells, "linear"])
        }
        return embeddings | {
            "transformer": "blocks",
            "output_projection": "head.layers.0",
            "compression_token": "last",
            "positional_encoding": "positions",
        }

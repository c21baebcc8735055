"""Whether what is computed of a checkpoint depends on its weights alone, and on more of them than their function.

Everything is computed twice: first in an order that nobody can know, then in one that is a function of the seed.
An encoder that counts its calls, goes by a row's place, looks at the other rows of its batch or draws at random
cannot be the same in both. Some rows are also computed one by one, and as copies with the same function: hidden
units permuted and their signs flipped, biases split otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnzoo.loaders.encoders.augmentation import Augmentation, augment_units
from rnnzoo.loaders.loaded_zoo import LoadedZoo
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, Weights
from rnnzoo.zoo_builder.rnn.symmetry import split_biases

MODELS_AT_ONCE = 128
ALONE, COPIES = 32, 128
"""How many checkpoints are computed one by one, and as copies."""
TOLERANCE = 0.01
"""In spreads; what floating-point numbers differ by is far less."""
MOST = 0.01
"""Of the rows: an encoder that decides by comparing numbers may decide otherwise where two are all but equal."""
LARGEST_OUTPUT = 1e100
"""What readouts can still square and add up."""

Matrix = NDArray[np.float64]
Compute = Callable[[Weights, Tensor], Tensor]
"""Named weights of N models, and which rows of the zoo they are [N], to outputs [N, W]."""


@torch.no_grad()
def compute_soundly(
    loaded: LoadedZoo, compute: Compute, rows: NDArray[np.int64], seed: int
) -> tuple[Matrix, float]:
    """Outputs of some checkpoints, and how far they move when the RNN's units do.

    Args:
        loaded: The zoo.
        compute: What gives the outputs of a batch.
        rows: The M checkpoints, as rows of `loaded`.
        seed: For the second order.

    Returns:
        Outputs float64 [M, W]; and the mean distance between those of a checkpoint and those of a copy with the
            same function, in spreads: 0 for what depends on the function alone, about 1.4 for what is unrelated.

    Raises:
        RnnzooError: An output is not finite, or depends on more than the weights of its checkpoint.
    """
    unknown, drawn = np.random.default_rng(), np.random.default_rng(seed).permutation(len(rows))
    first = _in_order(loaded, compute, rows, unknown.permutation(len(rows)))
    outputs = _in_order(loaded, compute, rows, drawn)
    check_finite(loaded, rows, outputs)
    _check_same(outputs, first, outputs, "when they are computed again, in another order")
    few = unknown.permutation(len(rows))[:ALONE]
    alone = [_in_order(loaded, compute, rows[[place]], np.zeros(1, dtype=np.int64)) for place in few]
    _check_same(outputs, np.concatenate(alone), outputs[few], "when they are computed one by one")
    copied = drawn[:COPIES]
    moved = _in_order(loaded, _of_copies(loaded.zoo.spec, compute, seed), rows[copied], np.arange(len(copied)))
    return outputs, float(_distances(outputs, moved, outputs[copied]).mean())


def _in_order(loaded: LoadedZoo, compute: Compute, rows: NDArray[np.int64], order: NDArray[np.int64]) -> Matrix:
    """Outputs of rows that are computed in an order, but come back in their own."""
    return compute_rows(loaded, compute, rows[order])[np.argsort(order)]


@torch.no_grad()
def compute_rows(loaded: LoadedZoo, compute: Compute, rows: NDArray[np.int64]) -> Matrix:
    """Outputs float64 [M, W] of some rows, some at a time."""
    found = [
        compute(loaded.weights(chunk), chunk).double().cpu()
        for chunk in torch.from_numpy(rows).to(loaded.device).split(MODELS_AT_ONCE)
    ]
    return torch.cat(found).numpy()


def check_finite(loaded: LoadedZoo, rows: NDArray[np.int64], outputs: Matrix) -> None:
    """Raise RnnzooError if an output of these rows is not finite, or its square may not be."""
    broken = rows[~np.isfinite(outputs).all(axis=1)]
    if len(broken):
        raise RnnzooError(
            f"encoder: found values that are not finite in the embeddings of {len(broken)} checkpoints, "
            f"{loaded.metadata['checkpoint_id'][int(broken[0])].as_py()} among them"
        )
    if (largest := np.abs(outputs).max(initial=0)) > LARGEST_OUTPUT:
        found = f"found values of up to {largest:.3g} in the embeddings"
        raise RnnzooError(f"encoder: {found}, expected none beyond {LARGEST_OUTPUT:g}")


def _distances(all_outputs: Matrix, some: Matrix, others: Matrix) -> Matrix:
    """Distances [N] between outputs [N, W], in spreads: root mean squares over columns, each by its deviation."""
    scale = np.sqrt((all_outputs**2).mean(axis=0))
    spread = np.maximum(all_outputs.std(axis=0), 1e-3 * scale)  # of a column that is constant, rounding is no move
    return np.sqrt((((some - others) / np.where(spread > 0, spread, 1)) ** 2).mean(axis=1))


def _check_same(all_outputs: Matrix, found: Matrix, expected: Matrix, when: str) -> None:
    distances = _distances(all_outputs, found, expected)
    moved = ~(distances <= TOLERANCE)
    if moved.mean() > MOST:
        raise RnnzooError(
            f"encoder: found other outputs for {moved.sum()} of {len(moved)} checkpoints {when}, by up to "
            f"{distances[np.isfinite(distances)].max(initial=0):.3g} times their spread; expected a function of "
            "each checkpoint's weights alone"
        )


def _of_copies(spec: RNNSpec, compute: Compute, seed: int) -> Compute:
    """The outputs of copies of the models that have the same function."""
    kind: Augmentation = "permutation_and_sign" if CELLS[spec.cell].odd_gates else "permutation"

    def compute_copies(weights: Weights, rows: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in range(spec.num_layers):
                bias = weights[f"{spec.cell}.bias_ih_l{layer}"]
                weights = split_biases(spec, weights, layer, torch.randn(bias.shape).to(bias) * bias.std())
            weights = augment_units(spec, weights, kind)
        return compute(weights, rows)

    return compute_copies

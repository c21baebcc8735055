"""Whether compiled code computes the bits of `fma-1`: some steps of small RNNs, against stored digests.

Compilers can be told to contract, reorder or flush what the code says exactly, by `CXX`, a wrapper or their own
configuration, and no flag of ours has the last word everywhere. Such a compiler is found out here, before it
trains anything. The digests in self_test.json come from no compiler: `python tests/remake_self_test.py` computes
them from docs/arithmetic.md. For a cell that has none, a training step is compared with that of plain torch, so
that no header trains anything whose derivative is wrong.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import dataclass
from hashlib import sha256, shake_128
from pathlib import Path

import torch
from torch import Tensor

from rnnzoo.zoo_builder.compiled.compiler import KernelUnavailable, find_compiler
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import CELLS, RNNSpec, unflatten_weights
from rnnzoo.zoo_builder.storage.writing import write_single
from rnnzoo.zoo_builder.tasks.data import Data
from rnnzoo.zoo_builder.tasks.encodings import Encoding, encoding_of
from rnnzoo.zoo_builder.training.kernels.base import BETA1, EXACT_ARITHMETIC, Kernel, TrainState
from rnnzoo.zoo_builder.training.kernels.reference import TorchKernel

STORED = Path(__file__).with_suffix(".json")
ITEMS, HIDDEN = 48, 21
TOLERANCE = 1e-3
"""Of a gradient, as a share of the parameter's largest: sums in another order differ by some 1e-6."""


@dataclass(frozen=True)
class Problem:
    """What a kernel is to compute on.

    Attributes:
        name: Names its digest.
        state: N models; a kernel changes it.
        data: I items of theirs.
        item_ids: Of train steps, int32 [N, S, B].
        learning_rates: float32 [N, S].
        weight_decays: float32 [N].
        scored_ids: int32 [N, M].
        uniforms: For strings, float32 [N, M, T]; of no strings where models read no tokens.
    """

    name: str
    state: TrainState
    data: Data
    item_ids: Tensor
    learning_rates: Tensor
    weight_decays: Tensor
    scored_ids: Tensor
    uniforms: Tensor


def problem_of(
    cell: str, tokens: bool, hidden_size: int = HIDDEN, steps: int = 6, batch_size: int = 30, train_steps: int = 2
) -> Problem:
    """Three models of a cell, and what they see: the same on every machine.

    Hidden units fill no whole vectors. Batches have repeated items, items that begin alike, and more distinct ones
    than a group has rows. One model is calm, one saturates, and one is not finite. Moments are subnormal, and
    those of inputs that never come stay so.

    Args:
        cell: Name of the cell.
        tokens: Whether models read and write tokens. Otherwise they read pixels by views, and answer with a label.
        hidden_size: H.
        steps: T.
        batch_size: B.
        train_steps: S.
    """
    models, scored = 3, batch_size + 3
    encoding, spec = _shape(cell, tokens, hidden_size)
    weights = (_numbers("weights", models, spec.num_parameters) - 2**15).float() / 2**16
    weights[1] *= 4
    weights[2, -1] = float("inf")
    first, second = (_numbers(f"moment {k}", models, spec.num_parameters).float() * 2.0**-149 for k in (1, 2))
    return Problem(
        name=_name(cell, tokens),
        state=TrainState(spec, weights, first, second, step=5),
        data=_token_data(encoding, steps) if tokens else _pixel_data(encoding, models, steps),
        item_ids=(_numbers("item ids", models, train_steps, batch_size) % ITEMS).int(),
        learning_rates=(1 + _numbers("learning rates", models, train_steps)).float() / 2**20,
        weight_decays=torch.tensor([0.0, 0.01, 0.3]),
        scored_ids=(_numbers("scored ids", models, scored) % ITEMS).int(),
        uniforms=_numbers("uniforms", models, scored if tokens else 0, steps).float() / 2**16,
    )


def results_of(kernel: Kernel, problem: Problem) -> bytes:
    """What a kernel makes of a problem.

    Returns:
        The bits of weights, of both moments and of the losses of training; of losses and correctness of scoring;
        of strings, where models write some.
    """
    state, data = problem.state, problem.data
    losses = kernel.train_steps(state, data, problem.item_ids, problem.learning_rates, problem.weight_decays)
    results = [state.weights, state.first_moment, state.second_moment, losses]
    results += kernel.score_items(state.spec, state.weights, data, problem.scored_ids)
    if problem.uniforms.numel():
        results.append(kernel.sample_strings(state.spec, state.weights, 0, problem.uniforms))
    return b"".join(result.numpy().tobytes() for result in results)


def digest_of(results: bytes) -> str:
    """A short hash of the results of a problem, as self_test.json has them."""
    return sha256(results).hexdigest()[:32]


def stored_digests() -> dict[str, str]:
    """The digest of each problem's results in this arithmetic, by the problem's name."""
    digests: dict[str, str] = json.loads(STORED.read_text(encoding="utf-8"))[EXACT_ARITHMETIC]
    return digests


def self_test_spec(cell: str) -> RNNSpec:
    """The shape of RNN that says whether a compiler can be trusted with a cell.

    It reads pixels, for zoos of tokens too: what scales pixels is the code that shows contraction in every cell.
    For a cell without stored bits it is one of the first cell that there is.
    """
    return _shape(cell if has_bits(cell) else next(iter(CELLS)), tokens=False)[1]


def has_bits(cell: str) -> bool:
    """Whether the bits of a cell are stored."""
    return _name(cell, tokens=False) in stored_digests()


def check_step(cell: str, kernel: Kernel) -> None:
    """Compare a training step of a compiled kernel with that of plain torch, for a cell without stored bits.

    Raises:
        KernelUnavailable: The loss or a gradient is another one: the cell's header is not its equation.
    """
    if has_bits(cell):
        return
    found, expected = _gradients(cell, kernel), _gradients(cell, TorchKernel())
    for name, gradient in expected.items():
        off = (found[name] - gradient).abs().flatten()
        if not off.max() <= TOLERANCE * gradient.abs().max():  # which NaN is not either
            place = int(off.nan_to_num(torch.inf).argmax())
            raise KernelUnavailable(
                f"cell: {cell!r}: {name}: the compiled kernel found {found[name].flatten()[place]:.6g}, expected "
                f"{gradient.flatten()[place]:.6g} by the cell's equation; see compiled/cells/{cell}.h"
            )


def _gradients(cell: str, kernel: Kernel) -> dict[str, Tensor]:
    """The loss of a calm model's batch, and its gradients by the parameter."""
    problem = problem_of(cell, tokens=False, train_steps=1)
    whole = problem.state
    state = TrainState(whole.spec, whole.weights[:1], torch.zeros_like(whole.weights[:1]), whole.second_moment[:1])
    given = (problem.item_ids[:1], problem.learning_rates[:1], problem.weight_decays[:1])
    loss = kernel.train_steps(state, problem.data.of_runs(0, 1), *given)
    gradients = unflatten_weights(whole.spec, state.first_moment / (1 - BETA1))
    return {"loss": loss, **{f"gradient of {name}": gradient for name, gradient in gradients.items()}}


def check_problem(kernel: Kernel, problem: Problem, whose: str, advice: str = "") -> None:
    """Raise KernelUnavailable unless a kernel computes the stored bits of a problem. whose: what is to blame."""
    expected, found = stored_digests()[problem.name], digest_of(results_of(kernel, problem))
    if found != expected:
        raise KernelUnavailable(
            f"{whose}: fails the self-test {problem.name}: found bits {found}, expected {expected}{advice}"
        )


def check_bits(spec: RNNSpec, kernel: Kernel, library: Path) -> None:
    """Let a compiled kernel compute the problem of the self-test, unless the same library has passed before.

    Args:
        spec: What `self_test_spec` gives.
        kernel: A kernel that computes the problem without this check.
        library: The kernel's library for this shape. A file beside it remembers that it passed.

    Raises:
        KernelUnavailable: It has other bits than those of the arithmetic.
    """
    expected = stored_digests()[_name(spec.cell, tokens=False)]
    passed = library.with_suffix(".bits")
    with contextlib.suppress(OSError):
        if passed.read_bytes() == expected.encode():
            return
    advice = (
        "; expected a compiler that does as docs/arithmetic.md says, without -ffast-math or -ffp-contract=fast"
    )
    check_problem(kernel, problem_of(spec.cell, tokens=False), shlex.join(find_compiler()), advice)
    with contextlib.suppress(RnnzooError):  # a cache that is only read is tested each time
        write_single(passed, expected.encode())


def _name(cell: str, tokens: bool) -> str:
    return f"{cell}-{'tokens' if tokens else 'pixels'}"


def _shape(cell: str, tokens: bool, hidden_size: int = HIDDEN) -> tuple[Encoding, RNNSpec]:
    if tokens:
        encoding, outputs = encoding_of({"kind": "tokens", "vocabulary": 6, "begin": 0}), 6
    else:
        encoding, outputs = encoding_of({"kind": "tiles", "tile": 7, "scale": 1 / 127, "shift": -1.0}), 10
    return encoding, RNNSpec(encoding.input_size, hidden_size, outputs, num_layers=2, cell=cell)


def _numbers(name: str, *shape: int) -> Tensor:
    """Numbers of 16 random bits, int64, the same on every machine."""
    count = torch.Size(shape).numel()
    low_and_high = torch.tensor(list(shake_128(name.encode()).digest(2 * count))).view(*shape, 2)
    return low_and_high[..., 0] + 256 * low_and_high[..., 1]


def _token_data(encoding: Encoding, steps: int) -> Data:
    """Strings that begin alike; the last token never comes."""
    alphabets = torch.tensor([min(1 + (place + 1) // 2, encoding.input_size - 1) for place in range(steps + 1)])
    return Data(encoding, (_numbers("tokens", ITEMS, steps + 1) % alphabets).byte())


def _pixel_data(encoding: Encoding, models: int, steps: int) -> Data:
    """Images that begin alike: a model sees pixels in an order of its own, some of them black, a first tile among
    them, and then some of which few differ.
    """
    tile, width = encoding.input_size, (steps - 1) * encoding.input_size
    alike = 2 * tile
    values = torch.tensor([2 if pixel % 3 == 0 else 1 for pixel in range(alike)] + [256] * (width + 3 - alike))
    order = _numbers("views", models, width + 3)
    order[:, alike:] += 2**16
    views = order.argsort(dim=1, stable=True)[:, :width].to(torch.int16)
    views[:, ::9] = -1
    views[:, :tile] = -1
    items = (_numbers("pixels", ITEMS, width + 3) % values).byte()
    return Data(encoding, items, (_numbers("labels", ITEMS) % 10).byte(), views.contiguous())

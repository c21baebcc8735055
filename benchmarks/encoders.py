"""How long encoders take: forward and backward of a batch of RNNs, every learned encoder of the registry.

    python -m benchmarks.encoders                          # all, 64 RNNs
    python -m benchmarks.encoders --zoo sequential_digits --encoder interactive_probing

The two probing encoders of the paper are also timed in a per-model form: `functional_call` of one RNN as a module,
under `vmap`, with an `nn.LSTM` that reads. Contestants take turns; medians are printed, and ratios taken within a
turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rnnzoo.loaders.encoders import ENCODERS
from rnnzoo.loaders.encoders.base import Encoder, declared, is_learned, load_encoder
from rnnzoo.loaders.encoders.probing.base import READER_SIZE, centred, read_logits
from rnnzoo.loaders.encoders.probing.interactive_probing import InteractiveProbing
from rnnzoo.loaders.encoders.probing.noninteractive_probing import NoninteractiveProbing
from rnnzoo.loaders.population import Population
from rnnzoo.zoo_builder.errors import RnnzooError
from rnnzoo.zoo_builder.rnn import RNNModule, RNNSpec, Weights, init_parameters, unflatten_weights
from rnnzoo.zoo_builder.tasks import ZOOS
from rnnzoo.zoo_builder.tasks.data import LabelledItems

HIDDEN = 32
REFERENCES = 256
SUFFIX = ", per model"


def population_of(zoo: str) -> Population:
    """RNNs of the paper's sizes on the items of a named zoo; speed does not depend on what these show."""
    family, named = ZOOS[zoo]
    made = family.load(named.source)
    spec = RNNSpec(family.encoding.input_size, HIDDEN, family.output_size)
    items = torch.from_numpy(made.items[:REFERENCES])
    labels = None if made.labels is None else torch.from_numpy(made.labels[:REFERENCES])
    steps = family.encoding.steps(items.shape[1])
    return Population(spec, family.encoding, steps, LabelledItems(items, labels), family)


def noninteractive_per_model(encoder: NoninteractiveProbing, weights: Weights) -> Tensor:
    """What `NoninteractiveProbing` computes, one RNN's module mapped over the models."""
    module = _empty_module(encoder.population.spec)

    def answer(one: Weights, inputs: Tensor) -> Tensor:
        return functional_call(module, dict(one), (inputs,))[0]

    logits = vmap(answer, in_dims=(0, None))(dict(weights), encoder.input_range.forward(encoder.scores))
    answers = centred(read_logits(logits)).permute(2, 0, 1, 3).flatten(2)
    return encoder.read_out(encoder.reader.lstm(encoder.reader.read_in(answers))[0])


def interactive_per_model(encoder: InteractiveProbing, weights: Weights) -> Tensor:
    """Likewise `InteractiveProbing`, a step at a time."""
    spec, models = encoder.population.spec, len(weights["head.bias"])
    module = _empty_module(spec)

    def step(one: Weights, inputs: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return functional_call(module, dict(one), (inputs, (h, c)))

    step_all = vmap(step, in_dims=(0, 0, 1, 1), out_dims=(0, 1))
    h = c = encoder.scores.new_zeros(spec.num_layers, models, encoder.probes, spec.hidden_size)
    reader_state = None
    hidden: list[Tensor] = []
    for open_scores in encoder.scores.unbind(1):
        scores = open_scores.expand(models, -1, -1)
        if hidden:
            scores = scores + (hidden[-1] @ encoder.correction.T / READER_SIZE**0.5).view_as(scores)
        inputs = encoder.input_range.forward(scores).unsqueeze(2)
        logits, (h, c) = step_all(dict(weights), inputs, h, c)
        answers = centred(read_logits(logits.squeeze(2))).flatten(1)
        read, reader_state = encoder.reader.lstm(encoder.reader.read_in(answers)[None], reader_state)
        hidden.append(read[0])
    return encoder.read_out(torch.stack(hidden))


PER_MODEL: dict[type[nn.Module], Callable[..., Tensor]] = {
    NoninteractiveProbing: noninteractive_per_model,
    InteractiveProbing: interactive_per_model,
}


def _empty_module(spec: RNNSpec) -> RNNModule:
    return RNNModule(spec).requires_grad_(False)


@dataclass(frozen=True)
class Contestant:
    """An encoder, and a way to compute its embeddings of a batch."""

    encoder: nn.Module
    embed: Callable[[], Tensor]

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.encoder.parameters())

    def milliseconds(self) -> float:
        """Time of a forward and a backward pass."""
        self.encoder.zero_grad()
        began = _now()
        embedded = self.embed()
        embedded.backward(torch.linspace(-1, 1, embedded.numel(), device=embedded.device).view_as(embedded))
        return (_now() - began) * 1e3


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def fitting(population: Population) -> dict[str, Encoder]:
    """The registry's encoders that can be made for these RNNs, by name."""
    made = {}
    for name in ENCODERS:
        with suppress(RnnzooError):
            made[name] = load_encoder(name, population)
    return made


def contestants(names: Sequence[str], population: Population, models: int, device: str) -> dict[str, Contestant]:
    """Name -> what is timed; encoders without parameters are left out, per-model forms follow their encoders."""
    weights = unflatten_weights(population.spec, init_parameters(population.spec, range(models)).to(device))
    found: dict[str, Contestant] = {}
    for name in names:
        encoder = load_encoder(name, population)
        if not (isinstance(encoder, nn.Module) and is_learned(encoder)):
            continue
        encoder.to(device)
        columns = {column: torch.arange(float(models), device=device) for column in declared(encoder, "columns")}
        found[name] = Contestant(encoder, partial(encoder, weights, **columns))
        if type(encoder) in PER_MODEL:
            found[name + SUFFIX] = Contestant(encoder, partial(PER_MODEL[type(encoder)], encoder, weights))
    return found


def run(found: dict[str, Contestant], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of every contestant, one entry a turn; a first turn warms up and is dropped."""
    turns: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(repeats + 1):
        for name, contestant in found.items():
            turns[name].append(contestant.milliseconds())
    return {name: times[1:] for name, times in turns.items()}


def print_table(found: dict[str, Contestant], turns: dict[str, list[float]]) -> None:
    """Medians, and how many times faster an encoder is than its per-model form."""
    width = max(map(len, found))
    print(f"{'encoder':{width}}  {'parameters':>10}  {'ms':>8}  {'faster':>6}")
    for name, contestant in found.items():
        ratio = ""
        if name + SUFFIX in turns:
            ratio = f"{median(b / a for a, b in zip(turns[name], turns[name + SUFFIX], strict=True)):.2f}x"
        print(f"{name:{width}}  {contestant.parameters:>10}  {median(turns[name]):>8.1f}  {ratio:>6}")


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=64, help="RNNs of a batch (default 64)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default 2)")
    parser.add_argument("--encoder", nargs="+", help="names, with options as for zoo-bench; default: all learned")
    parser.add_argument("--zoo", default="formal_languages", help="a named zoo, whose items the RNNs read")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    arguments = parser.parse_args()
    if min(arguments.models, arguments.repeats, arguments.threads) < 1:
        parser.error("--models, --repeats, --threads: expected at least 1")
    torch.set_num_threads(arguments.threads)
    if arguments.zoo not in ZOOS:
        parser.error(f"--zoo: found {arguments.zoo!r}, expected one of {', '.join(ZOOS)}")
    try:
        population = population_of(arguments.zoo)
        found = contestants(
            arguments.encoder or list(fitting(population)), population, arguments.models, arguments.device
        )
    except RnnzooError as error:
        parser.error(str(error))
    if not found:
        parser.error("--encoder: found none that is learned")
    threads = f"{arguments.device}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"forward and backward of {arguments.models} RNNs ({arguments.zoo}); {threads}")
    print_table(found, run(found, arguments.repeats))


if __name__ == "__main__":
    main()

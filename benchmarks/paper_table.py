"""Losses of emulation beside those of the paper: one table a zoo, and every difference in how they were made.

    python -m benchmarks.paper_table FOLDER/results --zoo ZOO

Reads results of protocol "paper" and what was trained for them, and measures this again on validation, over all
checkpoints, in the loss that the paper reports: the reverse KL divergence, its sum over the outputs divided by
their number (docs/paper.md says how we know). Herrmann, Faccio & Schmidhuber (ICML 2024).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from rnnzoo.loaders.benchmark.protocol import partition, zoo_digest
from rnnzoo.loaders.benchmark.results.content import Emulation, Rows
from rnnzoo.loaders.benchmark.results.files import emulation_path
from rnnzoo.loaders.benchmark.results.kept import KEPT, read_kept
from rnnzoo.loaders.benchmark.results.leaderboard import Leaderboard, board_folders, read_results
from rnnzoo.loaders.emulation import EncoderEmulator, make_emulator
from rnnzoo.loaders.emulation.emulator import LOSSES
from rnnzoo.loaders.emulation.training import MODELS_AT_ONCE
from rnnzoo.loaders.encoders.names import parse_encoder_name
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.recipe import make_learned, recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo, RowNumbers
from rnnzoo.loaders.training_config import PRESETS, TrainingConfig
from rnnzoo.zoo_builder.errors import RnnzooError

PUBLISHED = {
    "formal_languages": (
        ".051 (.050–.053)",
        ".045 (.045–.046)",
        ".043 (.042–.044)",
        ".046 (.046–.046)",
        ".023 (.019–.029)",
        ".015 (.008–.022)",
    ),
    "sequential_mnist": (
        ".039 (.038–.039)",
        ".024 (.024–.024)",
        ".067 (.067–.067)",
        ".024 (.023–.025)",
        ".017 (.016–.017)",
        ".017 (.017–.018)",
    ),
}
"""Of each zoo, in the order of `ENCODERS`: the mean over 15 seeds, and a 95 % interval for other seeds."""
PUBLISHED_SEEDS = 15
ENCODERS = (
    "layer_statistics",
    "flat_mlp",
    "parameter_transformer",
    "neural_functional",
    "noninteractive_probing",
    "interactive_probing",
)
ZOO = {"runs": 1000, "steps": 20_000}
"""Of the zoos of the paper: what a zoo's config has to say to be one."""
MEASURED = ("published_reverse_kl", "published_forward_kl", "total_variation")
"""Keys of `LOSSES`; the first is the one that the paper reports."""


def trained_emulation(loaded: LoadedZoo, training: Emulation, board: Path) -> EncoderEmulator:
    """The encoder and emulator that a training by emulation kept.

    Args:
        loaded: The zoo that they were trained on.
        training: The training.
        board: The folder of its results.

    Returns:
        Encoder and emulator on the zoo's device, in evaluation mode.

    Raises:
        RnnzooError: They are not there, or are of another training.
    """
    config = TrainingConfig(**training.training)
    kept = read_kept(emulation_path(board, training.encoder, training.seed).with_suffix(KEPT), training.key)
    encoder = make_learned(recipe_of(training.encoder), loaded.population, training.seed)
    emulator = make_emulator(loaded.zoo.spec, config, kept["emulator.read_embedding.weight"].shape[1])
    emulation = EncoderEmulator(encoder, emulator)
    emulation.load_state_dict(kept)
    return emulation.to(loaded.device).eval()


@torch.no_grad()
def measured_losses(
    loaded: LoadedZoo, emulation: EncoderEmulator, rnns: RowNumbers, items_of: RowNumbers, rollouts: int
) -> dict[str, Tensor]:
    """What an emulation comes to on rollouts, which may be those of other checkpoints.

    Args:
        loaded: The zoo.
        emulation: Encoder and emulator, in evaluation mode.
        rnns: The N checkpoints that are emulated.
        items_of: N checkpoints; on the first rollouts of each the RNN in its place is emulated.
        rollouts: How many of these, at most.

    Returns:
        A loss of `MEASURED` -> its mean over rollouts and positions, [N]. KL divergences are in nats an output.
    """
    losses: dict[str, list[Tensor]] = {name: [] for name in MEASURED}
    chunks = (torch.from_numpy(rows).split(MODELS_AT_ONCE) for rows in (rnns, items_of))
    for chunk, heads in zip(*chunks, strict=True):
        weights = loaded.weights(chunk)
        inputs = loaded.zoo.encoding.inputs(loaded.rollouts[loaded.rollout_group[heads], :rollouts])
        original = FrozenRNNs(weights).run(inputs).log_softmax(dim=-1)
        emulated = emulation(weights, inputs, **loaded.columns(emulation.columns, chunk))
        for name, found in losses.items():
            found.append(LOSSES[name](original, emulated).mean(dim=(1, 2)))
    return {name: torch.cat(found).double() for name, found in losses.items()}


def validation_losses(loaded: LoadedZoo, training: Emulation, board: Path) -> dict[str, float]:
    """What an encoder and emulator come to on validation.

    Args:
        loaded: The zoo.
        training: A training by emulation on it, under the protocol "paper".
        board: The folder of its results, in which its encoder and emulator are kept.

    Returns:
        A loss of `MEASURED` -> its mean over all checkpoints, positions, and as many rollouts as validations of
            the training had. KL divergences are in nats an output.

    Raises:
        RnnzooError: Encoder and emulator are not there, or are of another training.
    """
    rows, rollouts = partition(loaded, "paper").validation, training.training["validation_rollouts"]
    found = measured_losses(loaded, trained_emulation(loaded, training, board), rows, rows, rollouts)
    return {name: float(losses.mean()) for name, losses in found.items()}


def trainings_of_paper(results: Path, zoos: Sequence[str]) -> Iterator[tuple[LoadedZoo, Path, Leaderboard]]:
    """The boards under the protocol "paper" on which encoders were trained by emulation, each with its zoo.

    Args:
        results: What `zoo-bench run` wrote.
        zoos: Folders of zoos, or repositories.

    Returns:
        Zoo, folder and content of each board.

    Raises:
        RnnzooError: There is no such board, or the zoo of one is not among those named.
    """
    boards = [
        (folder, board)
        for folder, board in zip(board_folders(results), read_results(results), strict=True)
        if board.rows.protocol == "paper" and board.emulations
    ]
    if not boards:
        raise RnnzooError("found no training by emulation under the protocol paper")
    known = {zoo_digest(loaded.zoo.manifest): loaded for loaded in map(LoadedZoo, zoos)}
    for folder, board in boards:
        loaded = known.get(board.rows.zoo_digest)
        if loaded is None:
            expected = f"{board.rows.zoo_digest}, which results are of"
            raise RnnzooError(f"--zoo: found {', '.join(known)}, expected {expected}")
        yield loaded, folder, board


def table(rows: Rows, emulations: Sequence[Emulation], measured: Sequence[dict[str, float]]) -> str:
    """The table of a zoo in Markdown, and under it what differs from the paper.

    Args:
        rows: Of the board; they say which zoo it is.
        emulations: Its trainings by emulation, the paper's encoders in any form, and others.
        measured: The `validation_losses` of each.

    Returns:
        Lines of Markdown. Encoders that the paper does not have stand last.
    """
    published = dict(zip(ENCODERS, PUBLISHED.get(rows.zoo, ()), strict=False))
    found: dict[str, list[Emulation]] = defaultdict(list)
    losses: dict[str, list[dict[str, float]]] = defaultdict(list)
    for emulation, of_one in zip(emulations, measured, strict=True):
        found[emulation.encoder].append(emulation)
        losses[emulation.encoder].append(of_one)
    names = sorted(found, key=lambda name: (_place(name), name))
    lines = [
        f"{rows.zoo}, `{rows.zoo_digest}`",
        "",
        "| encoder | paper | reverse KL: mean | least and most | forward KL | total variation | seeds | steps |",
        f"| --- |{' --: |' * 7}",
    ]
    for name in names:
        reverse, *others = ([of_one[loss] for of_one in losses[name]] for loss in MEASURED)
        cells = [
            f"`{name}`",
            published.get(parse_encoder_name(name)[0]) or "",
            f"{mean(reverse):.4f}",
            f"{min(reverse):.4f} to {max(reverse):.4f}",
            *(f"{mean(values):.4f}" for values in others),
            str(len(reverse)),
            str(found[name][0].training["steps"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    seeds = sorted({len(of_one) for of_one in found.values()})
    same = [
        "- zoo: ours, with its own initial weights and batches",
        f"- seeds: {' or '.join(map(str, seeds))} of an encoder, in the paper {PUBLISHED_SEEDS}",
    ]
    return "\n".join([*lines, "", *same, *differences(rows, emulations)])


def differences(rows: Rows, emulations: Sequence[Emulation]) -> list[str]:
    """What was done otherwise than in the paper, a line of Markdown each."""
    config = {name: rows.zoo_config.get(name) for name in ZOO}
    found = [
        f"- zoo: {name} is {config[name]}, in the paper {value}"
        for name, value in ZOO.items()
        if config[name] != value
    ]
    expected = PRESETS["frozen"]["paper"].to_dict()
    otherwise: dict[tuple[str, Any], list[str]] = defaultdict(list)
    for emulation in emulations:
        for name, value in emulation.training.items():
            if value != expected[name] and emulation.encoder not in otherwise[name, value]:
                otherwise[name, value].append(emulation.encoder)
    count = len({emulation.encoder for emulation in emulations})
    for (name, value), names in otherwise.items():
        which = "" if len(names) == count else f" ({', '.join(f'`{one}`' for one in names)})"
        found.append(f"- training: {name} is {value}, in the paper {expected[name]}{which}")
    named = {emulation.encoder: parse_encoder_name(emulation.encoder) for emulation in emulations}
    own = sorted(
        text for text, (name, options) in named.items() if name in ENCODERS and options.get("form") != "published"
    )
    found += [f"- form: `{name}` is our form" for name in own]
    missing = [name for name in ENCODERS if name not in {plain for plain, _ in named.values()}]
    return found + [f"- not trained here: `{name}`" for name in missing]


def _place(name: str) -> int:
    plain, _ = parse_encoder_name(name)
    return ENCODERS.index(plain) if plain in ENCODERS else len(ENCODERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what `zoo-bench run --protocol paper` wrote")
    parser.add_argument("--zoo", action="append", required=True, help="a zoo they are of; again for another")
    chosen = parser.parse_args(arguments)
    try:
        tables = []
        for loaded, folder, board in trainings_of_paper(chosen.results, chosen.zoo):
            found = [validation_losses(loaded, emulation, folder) for emulation in board.emulations]
            tables.append(table(board.rows, board.emulations, found))
    except RnnzooError as error:
        sys.exit(f"paper_table: {error}")
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()

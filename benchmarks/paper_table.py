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
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from rnnzoo.loaders.benchmark.protocol import partition, zoo_digest
from rnnzoo.loaders.benchmark.results.content import Emulation, Rows
from rnnzoo.loaders.benchmark.results.files import emulation_path
from rnnzoo.loaders.benchmark.results.kept import KEPT, read_kept
from rnnzoo.loaders.benchmark.results.leaderboard import board_folders, read_results
from rnnzoo.loaders.emulation import EncoderEmulator, make_emulator
from rnnzoo.loaders.emulation.emulator import LOSSES
from rnnzoo.loaders.emulation.training import MODELS_AT_ONCE
from rnnzoo.loaders.encoders.names import parse_encoder_name
from rnnzoo.loaders.encoders.probing.frozen_rnn import FrozenRNNs
from rnnzoo.loaders.encoders.recipe import make_learned, recipe_of
from rnnzoo.loaders.loaded_zoo import LoadedZoo
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
    config = TrainingConfig(**training.training)
    kept = read_kept(emulation_path(board, training.encoder, training.seed).with_suffix(KEPT), training.key)
    encoder = make_learned(recipe_of(training.encoder), loaded.population, training.seed)
    emulator = make_emulator(loaded.zoo.spec, config, kept["emulator.read_embedding.weight"].shape[1])
    emulation = EncoderEmulator(encoder, emulator)
    emulation.load_state_dict(kept)
    emulation.to(loaded.device).eval()
    losses: dict[str, list[Tensor]] = {name: [] for name in MEASURED}
    for chunk in torch.from_numpy(partition(loaded, "paper").validation).split(MODELS_AT_ONCE):
        weights = loaded.weights(chunk)
        items = loaded.rollouts[loaded.rollout_group[chunk], : config.validation_rollouts]
        inputs = loaded.zoo.encoding.inputs(items)
        with torch.no_grad():
            original = FrozenRNNs(weights).run(inputs).log_softmax(dim=-1)
            emulated = emulation(weights, inputs, **loaded.columns(emulation.columns, chunk))
        for name, found in losses.items():
            found.append(LOSSES[name](original, emulated).mean(dim=(1, 2)))
    return {name: float(torch.cat(found).double().mean()) for name, found in losses.items()}


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
        found_boards = zip(board_folders(chosen.results), read_results(chosen.results), strict=True)
        boards = [
            (folder, board)
            for folder, board in found_boards
            if board.rows.protocol == "paper" and board.emulations
        ]
        if not boards:
            raise RnnzooError("found no training by emulation under the protocol paper")
        tables = []
        zoos = {zoo_digest(loaded.zoo.manifest): loaded for loaded in map(LoadedZoo, chosen.zoo)}
        for folder, board in boards:
            loaded = zoos.get(board.rows.zoo_digest)
            if loaded is None:
                expected = f"{board.rows.zoo_digest}, which results are of"
                raise RnnzooError(f"--zoo: found {', '.join(zoos)}, expected {expected}")
            found = [validation_losses(loaded, emulation, folder) for emulation in board.emulations]
            tables.append(table(board.rows, board.emulations, found))
    except RnnzooError as error:
        sys.exit(f"paper_table: {error}")
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()

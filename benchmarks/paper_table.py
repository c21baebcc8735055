"""Losses of emulation beside those of the paper: one table a zoo, and every difference in how they were made.

    python -m benchmarks.paper_table FOLDER/results

Reads results of protocol "paper". Losses are total variation on validation, over all checkpoints, as published:
Herrmann, Faccio & Schmidhuber (ICML 2024).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rnnzoo.loaders.benchmark.results.content import Emulation, Rows
from rnnzoo.loaders.benchmark.results.leaderboard import read_results
from rnnzoo.loaders.encoders.names import parse_encoder_name
from rnnzoo.loaders.training_config import PRESETS
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


def table(rows: Rows, emulations: Sequence[Emulation]) -> str:
    """The table of a zoo in Markdown, and under it what differs from the paper.

    Args:
        rows: Of the board; they say which zoo it is.
        emulations: Its trainings by emulation, the paper's encoders in any form, and others.

    Returns:
        Lines of Markdown. Encoders that the paper does not have stand last.
    """
    published = dict(zip(ENCODERS, PUBLISHED.get(rows.zoo, ()), strict=False))
    found = defaultdict(list)
    for emulation in emulations:
        found[emulation.encoder].append(emulation)
    names = sorted(found, key=lambda name: (_place(name), name))
    lines = [
        f"{rows.zoo}, `{rows.zoo_digest}`",
        "",
        "| encoder | paper | here: mean | least and most | seeds | steps |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name in names:
        losses = [loss for emulation in found[name] if (loss := emulation.losses["validation"]) is not None]
        theirs = published.get(parse_encoder_name(name)[0])
        cells = [
            f"`{name}`",
            theirs or "",
            f"{mean(losses):.4f}",
            f"{min(losses):.4f} to {max(losses):.4f}",
            str(len(losses)),
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
    try:
        boards = read_results(parser.parse_args(arguments).results)
    except RnnzooError as error:
        sys.exit(f"paper_table: {error}")
    boards = [board for board in boards if board.rows.protocol == "paper" and board.emulations]
    if not boards:
        sys.exit("paper_table: found no training by emulation under the protocol paper")
    print("\n\n".join(table(board.rows, board.emulations) for board in boards))


if __name__ == "__main__":
    main()
